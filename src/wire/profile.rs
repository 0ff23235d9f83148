//! Profiles: what callers send and read, and how a job names one.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::fields::{Fields, Reading};
use super::options::{self, Options};
use super::request::{clearable, read_options};
use super::time::UtcTime;
use crate::domain::options::RunOptions;
use crate::domain::profile::{self, Source};
use crate::domain::template::VARIABLES_MAX;

/// Of the name of a variable in a pointer, in characters: real ones have 64 at most.
const NAME_SHOWN_MAX: usize = 80;

/// Run options and a prompt template under a name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Profile {
    pub name: String,
    /// The template; `null`: the job brings its prompt as it is.
    pub prompt: Option<String>,
    /// The variables of the template; `prompt` stands for the prompt of the job.
    pub variables: Vec<String>,
    pub options: Options,
    /// Whether a token that may only submit can use it.
    pub submit: bool,
    /// `configuration` (read only) or `api`.
    pub source: String,
    /// `null` for one of the configuration, as is `updatedAt`.
    pub created_at: Option<UtcTime>,
    pub updated_at: Option<UtcTime>,
}

impl From<&profile::Profile> for Profile {
    fn from(profile: &profile::Profile) -> Self {
        let template = profile.template.as_ref();
        let (source, created_at, updated_at) = match profile.source {
            Source::Configuration => ("configuration", None, None),
            Source::Api { created_at, updated_at } => ("api", Some(created_at), Some(updated_at)),
        };
        Self {
            name: profile.name.clone(),
            prompt: template.map(|template| template.as_str().to_owned()),
            variables: template
                .map(|template| template.variables().into_iter().map(str::to_owned).collect())
                .unwrap_or_default(),
            options: Options::from(&profile.options),
            submit: profile.submit,
            source: source.to_owned(),
            created_at: created_at.map(UtcTime),
            updated_at: updated_at.map(UtcTime),
        }
    }
}

/// All profiles, by name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ProfileList {
    pub profiles: Vec<Profile>,
}

/// The answer to a new or a changed profile.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ProfileSaved {
    #[serde(flatten)]
    pub profile: Profile,
    pub warnings: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProfileDeleted {
    pub deleted: bool,
}

/// `POST /profiles`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
#[schema(example = json!(
    {"name": "review", "prompt": "Review {{path}}. {{prompt}}", "options": {"draft": true}}
))]
pub struct ProfileRequest {
    /// 1 to 64 characters of a-z, 0-9, - and _, a letter or digit first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// A template of at most 64 KiB: `{{name}}` is a variable, `{{prompt}}` the prompt of the job, `{{{{` two braces.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Options>)]
    pub options: Option<Value>,
    /// Whether a token that may only submit can use it; `false` when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub submit: Option<bool>,
}

/// A new profile as it was read: types are right, rules are not checked yet.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Draft {
    pub name: Option<String>,
    pub prompt: Option<String>,
    pub options: RunOptions,
    pub submit: bool,
}

impl Draft {
    /// Reads the body of `POST /profiles`.
    pub fn read(value: &Value, reading: &mut Reading) -> Self {
        let Some(mut f) = Fields::of(value, "", reading) else { return Self::default() };
        let draft = Self {
            name: f.text("name"),
            prompt: f.text("prompt"),
            options: read_options(&mut f),
            submit: f.flag("submit").unwrap_or_default(),
        };
        f.finish();
        draft
    }
}

/// `PATCH /profiles/:name`, a JSON merge patch (RFC 7396): what is absent stays, `null` clears.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
#[schema(example = json!({"submit": true}))]
pub struct ProfilePatchRequest {
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub prompt: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Options>)]
    pub options: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub submit: Option<bool>,
}

/// A change of a profile as it was read: `Some(None)` clears.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProfileChange {
    pub prompt: Option<Option<String>>,
    pub options: Option<RunOptions>,
    pub submit: Option<bool>,
}

impl ProfileChange {
    /// Reads the body of `PATCH /profiles/:name` over the profile's present options.
    pub fn read(value: &Value, current: &RunOptions, reading: &mut Reading) -> Self {
        let Some(mut f) = Fields::of(value, "", reading) else { return Self::default() };
        if value.get("submit").is_some_and(Value::is_null) {
            f.fault("submit", "cannot be cleared");
        }
        if f.value("name").is_some() {
            f.fault("name", "cannot be changed: make another profile and delete this one");
        }
        let change = Self {
            prompt: clearable(&mut f, "prompt"),
            options: {
                f.value("options");
                let pointer = f.at("options");
                value.get("options").map(|patch| options::patched(current, patch, &pointer, f.reading()))
            },
            submit: f.flag("submit"),
        };
        f.finish();
        change
    }
}

/// The member `variables` of a job: texts by name. Numbers and truth values are refused, for they could be written in more
/// than one way.
pub(super) fn read_variables(f: &mut Fields<'_>) -> BTreeMap<String, String> {
    let Some(value) = f.value("variables") else { return BTreeMap::new() };
    let pointer = f.at("variables");
    let Some(members) = value.as_object() else {
        f.fault("variables", "must be an object of strings");
        return BTreeMap::new();
    };
    if members.len() > VARIABLES_MAX {
        f.fault("variables", format!("must have at most {VARIABLES_MAX} members"));
        return BTreeMap::new();
    }
    let mut variables = BTreeMap::new();
    for (name, value) in members {
        match value.as_str() {
            Some(text) => drop(variables.insert(name.clone(), text.to_owned())),
            None => f.reading().fault(variable_pointer(&pointer, name), "must be a string"),
        }
    }
    variables
}

/// The place of a variable whose name comes from outside; `members` is that of the object.
#[must_use]
pub fn variable_pointer(members: &str, name: &str) -> String {
    let name: String = name.chars().take(NAME_SHOWN_MAX).collect();
    format!("{members}/{}", name.replace('~', "~0").replace('/', "~1"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_the_command_line_writes_the_server_reads() {
        let request = ProfileRequest {
            name: Some("review".to_owned()),
            prompt: Some("Review {{path}}".to_owned()),
            options: Some(json!({"maxTurns": 3})),
            submit: Some(true),
        };
        let mut reading = Reading::default();
        let read = Draft::read(&serde_json::to_value(&request).unwrap(), &mut reading);
        assert_eq!(reading, Reading::default());
        assert_eq!((read.name, read.prompt, read.submit), (request.name, request.prompt, true));
        assert_eq!(read.options.max_turns, Some(3));
        let patch = ProfilePatchRequest {
            prompt: Some(Value::Null),
            options: Some(json!({"maxTurns": null, "draft": true})),
            submit: None,
        };
        let change = ProfileChange::read(&serde_json::to_value(&patch).unwrap(), &read.options, &mut reading);
        assert_eq!(reading, Reading::default());
        let options = change.options.unwrap();
        assert_eq!((change.prompt, options.max_turns, options.draft), (Some(None), None, Some(true)));
    }

    #[test]
    fn a_profile_keeps_its_name_and_always_says_who_may_use_it() {
        let mut reading = Reading::default();
        let body = json!({"name": "other", "submit": null});
        let change = ProfileChange::read(&body, &RunOptions::default(), &mut reading);
        let places: Vec<_> = reading.faults.iter().map(|fault| fault.pointer.as_str()).collect();
        assert_eq!((places, change), (vec!["/submit", "/name"], ProfileChange::default()));
    }

    #[test]
    fn variables_are_texts_and_few() {
        let read = |variables: Value| {
            let (body, mut reading) = (json!({ "variables": variables }), Reading::default());
            let mut fields = Fields::of(&body, "", &mut reading).unwrap();
            let read = read_variables(&mut fields);
            fields.finish();
            assert_eq!(reading.warnings, Vec::<String>::new());
            (read.len(), reading.faults.into_iter().map(|fault| fault.pointer).collect::<Vec<_>>())
        };
        assert_eq!(read(json!({"a": "", "b": "x"})), (2, vec![]));
        assert_eq!(read(Value::Null), (0, vec![]));
        assert_eq!(read(json!(["a"])), (0, vec!["/variables".to_owned()]));
        let places = ["/variables/n", "/variables/o", "/variables/t", "/variables/x~1y~0", "/variables/z"];
        assert_eq!(
            read(json!({"a": "x", "n": 1, "o": {}, "t": true, "x/y~": [], "z": null})),
            (1, places.map(str::to_owned).to_vec())
        );
        let many: serde_json::Map<_, _> =
            (0..=VARIABLES_MAX).map(|at| (at.to_string(), "x".into())).collect();
        assert_eq!(read(Value::Object(many)), (0, vec!["/variables".to_owned()]));
        assert_eq!(variable_pointer("/variables", &"ü".repeat(500)).chars().count(), 11 + NAME_SHOWN_MAX);
    }
}
