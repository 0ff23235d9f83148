//! What callers send. Each shape is written by the command line and read leniently by the server.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::attachment::{self, AttachmentRequest};
use super::fields::{Fields, Reading};
use super::options::{self, Options};
use super::profile::read_variables;
use super::words;
use crate::domain::attachment::AttachedFile;
use crate::domain::options::RunOptions;
use crate::domain::retry::RetryMode;

/// `POST /jobs`. Either `clientId`, or `githubOrg` and `githubRepo`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!(
    {"githubOrg": "acme", "githubRepo": "widgets", "prompt": "Fix the flaky test of the parser"}
))]
pub struct SubmitRequest {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub github_org: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub github_repo: Option<String>,
    /// 1 byte to 256 KiB after trimming.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub branch_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub os_feature_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub os_callback_url: Option<String>,
    /// An object of at most 16 KiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base_branch: Option<String>,
    /// −10…10, higher first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<i64>,
    /// RFC 3339, at most a year ahead: the job is not started before it; in the past: at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_at: Option<String>,
    /// Ids or numbers of at most 20 jobs: the job waits until all have completed, and fails when one does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub depends_on: Option<Vec<String>>,
    /// At most 20 files, 10 MiB together, for the agent to read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attachments: Option<Vec<AttachmentRequest>>,
    /// The name of a profile: its options, and its template for the prompt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// A text for each variable of the template.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variables: Option<BTreeMap<String, String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub options: Option<Options>,
}

/// A submission as it was read: types are right, rules are not checked yet.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Submission {
    pub client_id: Option<String>,
    pub github_org: Option<String>,
    pub github_repo: Option<String>,
    pub prompt: Option<String>,
    pub branch_name: Option<String>,
    pub title: Option<String>,
    pub body: Option<String>,
    pub os_feature_id: Option<String>,
    pub callback_url: Option<String>,
    pub metadata: Option<Value>,
    pub labels: Vec<String>,
    pub base_branch: Option<String>,
    pub priority: Option<i64>,
    pub run_at: Option<String>,
    /// Each as text; empty for what can be no name of a job.
    pub depends_on: Vec<String>,
    /// A gap for each that could not be read.
    pub attachments: Vec<Option<AttachedFile>>,
    pub profile: Option<String>,
    pub variables: BTreeMap<String, String>,
    pub options: RunOptions,
}

impl Submission {
    /// Reads the body of `POST /jobs`.
    pub fn read(value: &Value, reading: &mut Reading) -> Self {
        let Some(mut f) = Fields::of(value, "", reading) else { return Self::default() };
        let submission = Self {
            client_id: f.text("clientId"),
            github_org: f.text("githubOrg"),
            github_repo: f.text("githubRepo"),
            prompt: f.text("prompt"),
            branch_name: f.text("branchName"),
            title: f.text("title"),
            body: f.text("body"),
            os_feature_id: f.text("osFeatureId"),
            callback_url: f.text("osCallbackUrl"),
            metadata: f.value("metadata").cloned(),
            labels: f.texts("labels").unwrap_or_default(),
            base_branch: f.text("baseBranch"),
            priority: f.integer("priority"),
            run_at: f.text("runAt"),
            depends_on: f
                .items("dependsOn", "must be an array of job ids or numbers", "", |item| Some(job_name(item)))
                .unwrap_or_default(),
            attachments: attachment::read(&mut f),
            profile: f.text("profile"),
            variables: read_variables(&mut f),
            options: read_options(&mut f),
        };
        f.finish();
        submission
    }
}

/// An id as it is, a number as its digits.
fn job_name(item: &Value) -> String {
    item.as_str()
        .map(str::to_owned)
        .or_else(|| item.as_u64().map(|number| number.to_string()))
        .unwrap_or_default()
}

/// `POST /clients`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({"githubOrg": "acme", "githubRepo": "widgets", "options": {"maxTurns": 50}}))]
pub struct ClientRequest {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub os_client_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub github_org: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub github_repo: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_branch: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clone_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub options: Option<Options>,
}

/// A registration as it was read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Registration {
    pub os_client_id: Option<String>,
    pub name: Option<String>,
    pub github_org: Option<String>,
    pub github_repo: Option<String>,
    pub default_branch: Option<String>,
    pub clone_url: Option<String>,
    pub options: RunOptions,
}

impl Registration {
    /// Reads the body of `POST /clients`.
    pub fn read(value: &Value, reading: &mut Reading) -> Self {
        let Some(mut f) = Fields::of(value, "", reading) else { return Self::default() };
        let registration = Self {
            os_client_id: f.text("osClientId"),
            name: f.text("name"),
            github_org: f.text("githubOrg"),
            github_repo: f.text("githubRepo"),
            default_branch: f.text("defaultBranch"),
            clone_url: f.text("cloneUrl"),
            options: read_options(&mut f),
        };
        f.finish();
        registration
    }
}

/// `PATCH /clients/:id`, a JSON merge patch (RFC 7396): what is absent stays, `null` clears.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({"paused": false, "options": {"maxTurns": null}}))]
pub struct ClientPatchRequest {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub os_client_id: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_branch: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clone_url: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paused: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub options: Option<Value>,
}

/// A change of a client as it was read: `Some(None)` clears.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClientChange {
    pub name: Option<String>,
    pub os_client_id: Option<Option<String>>,
    pub default_branch: Option<Option<String>>,
    pub clone_url: Option<Option<String>>,
    pub paused: Option<bool>,
    pub options: Option<RunOptions>,
}

impl ClientChange {
    /// Reads the body of `PATCH /clients/:id` over the client's present options.
    pub fn read(value: &Value, current: &RunOptions, reading: &mut Reading) -> Self {
        let Some(mut f) = Fields::of(value, "", reading) else { return Self::default() };
        for name in ["name", "paused"] {
            if value.get(name).is_some_and(Value::is_null) {
                f.fault(name, "cannot be cleared");
            }
        }
        let change = Self {
            name: f.text("name"),
            os_client_id: clearable(&mut f, "osClientId"),
            default_branch: clearable(&mut f, "defaultBranch"),
            clone_url: clearable(&mut f, "cloneUrl"),
            paused: f.flag("paused"),
            options: {
                f.value("options");
                let pointer = f.at("options");
                value.get("options").map(|patch| options::patched(current, patch, &pointer, f.reading()))
            },
        };
        f.finish();
        change
    }
}

/// `POST /jobs/:id/retry`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({"prompt": "Fix it, and do not touch the tests"}))]
pub struct RetryRequest {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<words::RetryMode>,
    /// A new prompt; the agent runs again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// Fingerprints, from the reason `secret_detected`, of what may be pushed all the same. Without `mode` and `prompt` the commit
    /// is published and the agent does not run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow_secrets: Option<Vec<String>>,
}

/// A retry as it was read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Retry {
    pub mode: Option<RetryMode>,
    pub prompt: Option<String>,
    pub allow_secrets: Vec<String>,
}

impl Retry {
    /// Reads the body of `POST /jobs/:id/retry`; an absent body is an empty one.
    pub fn read(value: &Value, reading: &mut Reading) -> Self {
        let Some(mut f) = Fields::of(value, "", reading) else { return Self::default() };
        let words: Vec<_> = RetryMode::ALL.iter().map(|mode| mode.as_str()).collect();
        let retry = Self {
            mode: f.word("mode", &words, RetryMode::parse),
            prompt: f.text("prompt"),
            allow_secrets: f.texts("allowSecrets").unwrap_or_default(),
        };
        f.finish();
        retry
    }
}

/// `POST /jobs/:id/follow-up`. What is left out is as it was in the job that is followed up.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({"prompt": "Now the other one"}))]
pub struct FollowUpRequest {
    /// 1 byte to 256 KiB after trimming.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub os_feature_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub os_callback_url: Option<String>,
    /// An object of at most 16 KiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<Vec<String>>,
    /// −10…10, higher first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<i64>,
    /// RFC 3339, at most a year ahead: the job is not started before it. Not taken over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_at: Option<String>,
    /// At most 20 files, 10 MiB together, for the agent to read. Those of the job before are not taken over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attachments: Option<Vec<AttachmentRequest>>,
    /// The name of a profile, in place of that of the job before: its options, and its template for the prompt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// A text for each variable of the template.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variables: Option<BTreeMap<String, String>>,
    /// Each that is set replaces that of the job before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub options: Option<Options>,
}

/// A follow-up as it was read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FollowUp {
    pub prompt: Option<String>,
    pub title: Option<String>,
    pub body: Option<String>,
    pub os_feature_id: Option<String>,
    pub callback_url: Option<String>,
    pub metadata: Option<Value>,
    pub labels: Option<Vec<String>>,
    pub priority: Option<i64>,
    pub run_at: Option<String>,
    /// A gap for each that could not be read.
    pub attachments: Vec<Option<AttachedFile>>,
    pub profile: Option<String>,
    pub variables: BTreeMap<String, String>,
    pub options: RunOptions,
}

impl FollowUp {
    /// Reads the body of `POST /jobs/:id/follow-up`. What would lead away from the job before is a fault.
    pub fn read(value: &Value, reading: &mut Reading) -> Self {
        let Some(mut f) = Fields::of(value, "", reading) else { return Self::default() };
        let follow_up = Self {
            prompt: f.text("prompt"),
            title: f.text("title"),
            body: f.text("body"),
            os_feature_id: f.text("osFeatureId"),
            callback_url: f.text("osCallbackUrl"),
            metadata: f.value("metadata").cloned(),
            labels: f.texts("labels"),
            priority: f.integer("priority"),
            run_at: f.text("runAt"),
            attachments: attachment::read(&mut f),
            profile: f.text("profile"),
            variables: read_variables(&mut f),
            options: read_options(&mut f),
        };
        for name in ["clientId", "githubOrg", "githubRepo", "branchName", "baseBranch", "dependsOn"] {
            if f.value(name).is_some() {
                f.fault(name, "is that of the job that is followed up; to choose it, submit another job");
            }
        }
        f.finish();
        follow_up
    }
}

/// `POST /gc`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct GcRequest {
    /// Only tell what would go.
    #[schema(value_type = Option<bool>)]
    pub dry_run: bool,
}

/// A wish to clear up as it was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gc {
    pub dry_run: bool,
}

impl Gc {
    /// Reads the body of `POST /gc`; an absent body is an empty one.
    pub fn read(value: &Value, reading: &mut Reading) -> Self {
        let Some(mut f) = Fields::of(value, "", reading) else { return Self::default() };
        let gc = Self { dry_run: f.flag("dryRun").unwrap_or(false) };
        f.finish();
        gc
    }
}

/// `POST /queue/pause`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct PauseRequest {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// `POST /queue/try-now`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct TryNowRequest {
    /// Only this login; all when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub login: Option<String>,
}

/// Reads a body whose only member is an optional text.
pub fn read_only_text(value: &Value, name: &'static str, reading: &mut Reading) -> Option<String> {
    let mut f = Fields::of(value, "", reading)?;
    let text = f.text(name);
    f.finish();
    text
}

/// Reads a body of which nothing is wanted.
pub fn read_nothing(value: &Value, reading: &mut Reading) {
    if let Some(f) = Fields::of(value, "", reading) {
        f.finish();
    }
}

pub(super) fn read_options(f: &mut Fields<'_>) -> RunOptions {
    let pointer = f.at("options");
    match f.value("options") {
        Some(value) => options::read(value, &pointer, f.reading()),
        None => RunOptions::default(),
    }
}

pub(super) fn clearable(f: &mut Fields<'_>, name: &'static str) -> Option<Option<String>> {
    if !f.has(name) {
        return None;
    }
    match f.value(name) {
        None => Some(None),
        Some(_) => f.text(name).map(Some),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_the_command_line_writes_the_server_reads() {
        let request = SubmitRequest {
            client_id: Some("cli-abcd".to_owned()),
            prompt: Some("go".to_owned()),
            labels: Some(vec!["x".to_owned()]),
            options: Some(Options { max_turns: Some(3), ..Options::default() }),
            ..SubmitRequest::default()
        };
        let mut reading = Reading::default();
        let read = Submission::read(&serde_json::to_value(&request).unwrap(), &mut reading);
        assert_eq!(reading, Reading::default());
        assert_eq!((read.client_id.as_deref(), read.prompt.as_deref()), (Some("cli-abcd"), Some("go")));
        assert_eq!((read.labels, read.options.max_turns), (vec!["x".to_owned()], Some(3)));
    }

    #[test]
    fn a_merge_patch_tells_absent_from_null() {
        let mut reading = Reading::default();
        let body =
            json!({"osClientId": null, "defaultBranch": "dev", "options": {"draft": true}, "name": null});
        let change = ClientChange::read(&body, &RunOptions::default(), &mut reading);
        assert_eq!(change.os_client_id, Some(None));
        assert_eq!(change.default_branch, Some(Some("dev".to_owned())));
        assert_eq!((change.clone_url, change.options.unwrap().draft), (None, Some(true)));
        assert_eq!(reading.faults[0].pointer, "/name");
    }

    #[test]
    fn a_body_that_is_no_object_is_one_fault() {
        let mut reading = Reading::default();
        Retry::read(&json!([1]), &mut reading);
        assert_eq!(reading.faults.len(), 1);
        assert_eq!(reading.faults[0].pointer, "");
    }
}
