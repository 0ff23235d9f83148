//! `offshoot profile`

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::Value;

use super::Context;
use crate::cli::error::{CliError, Ended};
use crate::cli::human;
use crate::domain::template::TEMPLATE_BYTES_MAX;
use crate::wire::profile::{Profile, ProfileList, ProfilePatchRequest, ProfileRequest, ProfileSaved};

/// Of a template in a list, in characters.
const TEMPLATE_SHOWN_MAX: usize = 40;

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum ProfileVerb {
    /// Make a profile: run options and a prompt template under a name.
    Add(ProfileAddFlags),
    /// List the profiles, those of the configuration file too.
    Ls,
    /// Show one profile with its template and options.
    Show {
        /// The name of a profile.
        #[arg(value_name = "NAME")]
        name: String,
    },
    /// Change a profile; jobs that were submitted with it stay as they are.
    Set(ProfileSetFlags),
    /// Delete a profile; jobs that were submitted with it stay as they are.
    Rm {
        /// The name of a profile.
        #[arg(value_name = "NAME")]
        name: String,
    },
}

#[derive(Debug, Args)]
#[command(
    after_help = "A template is a text with {{name}} for a variable and {{prompt}} for the prompt of the job; {{{{ stands for \
                  two braces. Use it with: offshoot submit --profile NAME --var KEY=VALUE"
)]
pub(in crate::cli) struct ProfileAddFlags {
    /// Call it this: a-z, 0-9, - and _.
    #[arg(value_name = "NAME")]
    name: String,
    /// Use this text as the prompt template.
    #[arg(short, long, value_name = "TEMPLATE", conflicts_with = "file")]
    prompt: Option<String>,
    /// Read the prompt template from this file.
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Set run options: a JSON object as in the API, for example '{"model": "opus", "setEnv": {"NPM_TOKEN": "npm"}}'.
    #[arg(long, value_name = "JSON", value_parser = json_object)]
    options: Option<Value>,
    /// Let tokens use it that may only submit.
    #[arg(long)]
    submit: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "What is left out stays as it is.")]
pub(in crate::cli) struct ProfileSetFlags {
    /// The name of a profile.
    #[arg(value_name = "NAME")]
    name: String,
    /// Use this text as the prompt template.
    #[arg(short, long, value_name = "TEMPLATE", conflicts_with_all = ["file", "no_prompt"])]
    prompt: Option<String>,
    /// Read the prompt template from this file.
    #[arg(short, long, value_name = "FILE", conflicts_with = "no_prompt")]
    file: Option<PathBuf>,
    /// Have no prompt template any more.
    #[arg(long)]
    no_prompt: bool,
    /// Change these run options: a JSON object as in the API, in which null takes an option back.
    #[arg(long, value_name = "JSON", value_parser = json_object)]
    options: Option<Value>,
    /// Say whether tokens may use it that may only submit.
    #[arg(long, value_name = "BOOL")]
    submit: Option<bool>,
}

pub(super) async fn run(verb: ProfileVerb, context: &mut Context<'_>) -> Result<Ended, CliError> {
    match verb {
        ProfileVerb::Add(flags) => add(flags, context).await,
        ProfileVerb::Ls => list(context).await,
        ProfileVerb::Show { name } => show(&name, context).await,
        ProfileVerb::Set(flags) => set(flags, context).await,
        ProfileVerb::Rm { name } => remove(&name, context).await,
    }
}

async fn add(flags: ProfileAddFlags, context: &mut Context<'_>) -> Result<Ended, CliError> {
    let request = ProfileRequest {
        prompt: template(flags.prompt, flags.file.as_deref())?,
        options: flags.options,
        submit: flags.submit.then_some(true),
        name: Some(flags.name),
    };
    let made = context.api.create_profile(&request, &context.clock.random_uuid()).await;
    saved("Made", &made.map_err(which_profile)?, context)
}

async fn set(flags: ProfileSetFlags, context: &mut Context<'_>) -> Result<Ended, CliError> {
    let prompt = template(flags.prompt, flags.file.as_deref())?;
    let request = ProfilePatchRequest {
        prompt: if flags.no_prompt { Some(Value::Null) } else { prompt.map(Value::String) },
        options: flags.options,
        submit: flags.submit,
    };
    if request == ProfilePatchRequest::default() {
        return Err(CliError::usage("there is nothing to change").hint("see", "offshoot profile set --help"));
    }
    let changed = context.api.update_profile(&flags.name, &request).await;
    saved("Changed", &changed.map_err(which_profile)?, context)
}

fn saved(what: &str, saved: &ProfileSaved, context: &mut Context<'_>) -> Result<Ended, CliError> {
    if context.out.is_json() {
        context.out.json(saved)?;
        return Ok(Ended::Done);
    }
    context.out.line(&format!("{what} the profile {}", saved.profile.name))?;
    for warning in &saved.warnings {
        context.out.say(&format!("warning: {}", human::printable(warning)));
    }
    context.out.say(&format!("  use it:  {}", example(&saved.profile)));
    Ok(Ended::Done)
}

async fn list(context: &mut Context<'_>) -> Result<Ended, CliError> {
    let profiles = context.api.list_profiles().await?;
    if context.out.is_json() {
        context.out.json(&ProfileList { profiles })?;
        return Ok(Ended::Done);
    }
    if profiles.is_empty() {
        context
            .out
            .say("No profiles yet.\n  make one:  offshoot profile add NAME --prompt \"Review {{path}}\"");
        return Ok(Ended::Done);
    }
    let rows = profiles.iter().map(|profile| {
        let template = profile.prompt.as_deref().map(|text| human::one_line(text, TEMPLATE_SHOWN_MAX));
        vec![
            profile.name.clone(),
            profile.source.clone(),
            if profile.submit { "submit" } else { "operate" }.to_owned(),
            or_dash(&profile.variables.join(", ")),
            or_dash(&options(profile).into_iter().map(|(name, _)| name).collect::<Vec<_>>().join(", ")),
            template.unwrap_or_else(|| "-".to_owned()),
        ]
    });
    context.out.table(&["NAME", "FROM", "SCOPE", "VARIABLES", "OPTIONS", "TEMPLATE"], rows.collect(), &[])?;
    Ok(Ended::Done)
}

async fn show(name: &str, context: &mut Context<'_>) -> Result<Ended, CliError> {
    let profile = context.api.get_profile(name).await.map_err(which_profile)?;
    if context.out.is_json() {
        context.out.json(&profile)?;
        return Ok(Ended::Done);
    }
    context.out.line(&human::printable(&sheet(&profile)))?;
    Ok(Ended::Done)
}

async fn remove(name: &str, context: &mut Context<'_>) -> Result<Ended, CliError> {
    let deleted = context.api.delete_profile(name).await.map_err(which_profile)?;
    if context.out.is_json() {
        context.out.json(&deleted)?;
    } else {
        context.out.line(&format!("Deleted the profile {}", human::printable(name)))?;
    }
    Ok(Ended::Done)
}

fn sheet(profile: &Profile) -> String {
    let scope = if profile.submit { "whoever may submit" } else { "whoever may operate" };
    let mut text = format!("{}  from the {}, for {scope}", profile.name, profile.source);
    for (name, value) in options(profile) {
        text.push_str(&format!("\n  {:<9} {name} = {value}", "option"));
    }
    if let Some(prompt) = &profile.prompt {
        text.push_str(&format!(
            "\n  {:<9} {}",
            "template",
            prompt.trim_end().replace('\n', "\n            ")
        ));
    }
    text.push_str(&format!("\n  {:<9} {}", "next", example(profile)));
    text
}

/// A command that uses it.
fn example(profile: &Profile) -> String {
    let mut command = format!("offshoot submit --profile {}", profile.name);
    let own = |name: &&String| *name != "prompt";
    for variable in profile.variables.iter().filter(own) {
        command.push_str(&format!(" --var {variable}=VALUE"));
    }
    if profile.prompt.is_none() || profile.variables.iter().any(|name| name == "prompt") {
        command.push_str(" \"what to do\"");
    }
    command
}

/// What is set, each with its value as JSON, by name.
fn options(profile: &Profile) -> Vec<(String, String)> {
    let Ok(Value::Object(members)) = serde_json::to_value(&profile.options) else { return Vec::new() };
    let set = members.into_iter().filter(|(_, value)| !value.is_null());
    set.map(|(name, value)| (name, value.to_string())).collect::<BTreeMap<_, _>>().into_iter().collect()
}

fn or_dash(text: &str) -> String {
    if text.is_empty() { "-".to_owned() } else { text.to_owned() }
}

fn template(prompt: Option<String>, file: Option<&Path>) -> Result<Option<String>, CliError> {
    let Some(path) = file else { return Ok(prompt) };
    let mut text = String::new();
    // one byte more than there may be is enough for the server to refuse it
    let bytes_max = TEMPLATE_BYTES_MAX as u64 + 1;
    std::fs::File::open(path)
        .and_then(|file| file.take(bytes_max).read_to_string(&mut text))
        .map_err(|error| CliError::file(path, &error))?;
    Ok(Some(text))
}

fn json_object(text: &str) -> Result<Value, String> {
    match serde_json::from_str(text) {
        Ok(value @ Value::Object(_)) => Ok(value),
        Ok(_) => Err("options are one JSON object, such as {\"model\": \"opus\"}".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

fn which_profile(error: crate::api_client::ApiError) -> CliError {
    CliError::from(error).hint_if_none("see which there are", "offshoot profile ls")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::options::Options;

    fn review() -> Profile {
        Profile {
            name: "review".to_owned(),
            prompt: Some("Review {{path}}.\n{{prompt}}\n".to_owned()),
            variables: vec!["path".to_owned(), "prompt".to_owned()],
            options: Options { max_turns: Some(9), draft: Some(true), ..Options::default() },
            submit: true,
            source: "api".to_owned(),
            created_at: None,
            updated_at: None,
        }
    }

    #[test]
    fn a_profile_is_shown_with_what_to_type_next() {
        insta::assert_snapshot!(sheet(&review()), @r#"
        review  from the api, for whoever may submit
          option    draft = true
          option    maxTurns = 9
          template  Review {{path}}.
                    {{prompt}}
          next      offshoot submit --profile review --var path=VALUE "what to do"
        "#);
        let fixed = Profile { prompt: Some("Tidy up".to_owned()), variables: Vec::new(), ..review() };
        assert_eq!(example(&fixed), "offshoot submit --profile review");
    }

    #[test]
    fn options_are_an_object() {
        assert!(json_object(r#"{"draft": true}"#).is_ok());
        for wrong in ["", "true", "[]", "{", "model=opus"] {
            assert!(json_object(wrong).is_err(), "{wrong}");
        }
    }
}
