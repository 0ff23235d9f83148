//! What the audience sees: one job from the request to the verified callback.

use std::time::Duration;

use anyhow::{Context as _, ensure};

use super::stage::{ORG, REPO, Stage};
use crate::cli::Output;
use crate::wire::job::Job;
use crate::wire::request::SubmitRequest;

const BRANCH: &str = "feature/say-goodbye";
const PROMPT: &str = "Add a function that says goodbye, with a test and a line in the README.";
/// Messages of the agent in one look.
const MESSAGES: u32 = 200;

pub(super) async fn tell(stage: &Stage, keep: bool, out: &mut Output) -> anyhow::Result<()> {
    let url = stage.client.base_url().to_owned();
    out.line("offshoot demo: a scripted agent, a local repository, the real pipeline.")?;
    out.line(&format!("\n1. The server listens on {url}. A system sends it work:\n"))?;
    out.line("   POST /jobs")?;
    let request = SubmitRequest {
        github_org: Some(ORG.to_owned()),
        github_repo: Some(REPO.to_owned()),
        prompt: Some(PROMPT.to_owned()),
        branch_name: Some(BRANCH.to_owned()),
        title: Some("Say goodbye".to_owned()),
        os_feature_id: Some("DEMO-1".to_owned()),
        os_callback_url: Some(stage.receiver.url()),
        ..SubmitRequest::default()
    };
    for line in serde_json::to_string_pretty(&shown(&request))?.lines() {
        out.line(&format!("   {line}"))?;
    }
    let job = stage.client.submit_job(&request, "demo-1").await?;
    out.line(&format!("\n2. Answered 201: job #{} ({}) is on disk.\n", job.summary.number, job.summary.id))?;
    let job = follow(stage, out, job).await?;
    ensure!(job.summary.error.is_none(), "the job failed: {}", job.summary.error.unwrap_or_default());
    show_result(stage, out, &job).await?;
    show_callback(stage, out).await?;
    out.line("\nNext:")?;
    if !keep {
        out.line("   the same, and the server goes on for you to try:")?;
        out.line(&format!("      {} demo --keep", stage.program))?;
    }
    out.line("   for real, with your repositories and your own agent login: README.md")?;
    Ok(())
}

/// The request as a caller would write it: without what is not said.
fn shown(request: &SubmitRequest) -> serde_json::Value {
    match serde_json::to_value(request) {
        Ok(serde_json::Value::Object(members)) => members
            .into_iter()
            .filter(|(_, value)| !value.is_null() && *value != serde_json::json!([]))
            .collect(),
        Ok(other) => other,
        Err(_) => serde_json::Value::Null,
    }
}

/// Prints each phase and each message as they come, until the job is over.
async fn follow(stage: &Stage, out: &mut Output, job: Job) -> anyhow::Result<Job> {
    let id = job.summary.id.clone();
    let mut phase = None;
    let mut after = 0;
    let mut seen = stage.client.get_job(&id).await?;
    loop {
        if phase.as_ref() != Some(&seen.value.summary.phase) {
            phase = Some(seen.value.summary.phase);
            out.line(&format!("   [{}]", seen.value.summary.phase))?;
        }
        let page = stage.client.list_messages(&id, after, MESSAGES).await?;
        for message in &page.messages {
            after = message.seq;
            for line in message.content.lines() {
                out.line(&format!("      {line}"))?;
            }
        }
        if seen.value.summary.completed_at.is_some() && page.messages.is_empty() {
            return Ok(seen.value);
        }
        // phases without a word are short: look again soon, but only when there was nothing new
        if let Some(newer) = stage
            .client
            .wait_job(&id, seen.etag.as_deref().unwrap_or_default(), Duration::from_secs(1))
            .await?
        {
            seen = newer;
        }
    }
}

async fn show_result(stage: &Stage, out: &mut Output, job: &Job) -> anyhow::Result<()> {
    let summary = &job.summary;
    let pulls = stage.forge.pull_requests(&stage.repository())?;
    let pull = pulls.first().context("no pull request was recorded")?;
    out.line(&format!(
        "\n3. Pull request #{} \"{}\": {} -> {}, {} files, +{} -{}\n",
        pull.number,
        pull.title,
        pull.head,
        pull.base,
        summary.files_changed.unwrap_or(0),
        summary.insertions.unwrap_or(0),
        summary.deletions.unwrap_or(0),
    ))?;
    let patch = stage.client.get_patch(&summary.id).await?;
    for line in String::from_utf8_lossy(&patch.bytes).lines() {
        out.line(&format!("   {line}"))?;
    }
    Ok(())
}

async fn show_callback(stage: &Stage, out: &mut Output) -> anyhow::Result<()> {
    let received = stage.receiver.wait().await.context("the receiver stopped")?;
    out.line("\n4. The callback arrived, and both signatures are right:\n")?;
    out.line(&format!("   webhook-id:        {}", received.id))?;
    out.line(&format!("   x-agent-signature: {}", received.signature))?;
    for field in ["type", "status", "outcome", "prNumber", "filesChanged", "headSha"] {
        out.line(&format!("   {field}: {}", received.body[field]))?;
    }
    Ok(())
}
