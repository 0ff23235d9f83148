//! What stays to be looked at when the server goes on: jobs in every state, each brought about by the pipeline itself.

use std::time::Duration;

use anyhow::Context as _;

use super::stage::{LIMITED, ORG, REPO, Stage};
use crate::clock::Clock;
use crate::wire::job::Job;
use crate::wire::options::{Command, Options};
use crate::wire::request::{FollowUpRequest, SubmitRequest};

/// One look that the server may answer late.
const LOOK: Duration = Duration::from_secs(10);
/// Longer than anybody looks at a demonstration; the agent says something every second.
const TALKS_SECONDS: u32 = 3_000;
/// Nobody listens at the discard port, so that one webhook is seen on its way.
const NOBODY: &str = "http://127.0.0.1:9/hook";
const HOURS_MS: i64 = 3_600_000;

/// Sends one job for each state. Those that end have ended when this returns.
pub(super) async fn fill(stage: &Stage) -> anyhow::Result<()> {
    let filling = Filling { stage };
    filling.ended().await?;
    filling.running().await?;
    filling.waiting().await
}

struct Filling<'s> {
    stage: &'s Stage,
}

fn asked(title: &str, branch: &str, prompt: &str) -> SubmitRequest {
    SubmitRequest {
        github_org: Some(ORG.to_owned()),
        github_repo: Some(REPO.to_owned()),
        title: Some(title.to_owned()),
        branch_name: Some(branch.to_owned()),
        prompt: Some(prompt.to_owned()),
        labels: Some(vec!["demo".to_owned()]),
        ..SubmitRequest::default()
    }
}

fn publish(how: &str) -> Option<Options> {
    Some(Options { publish: Some(how.to_owned()), ..Options::default() })
}

impl Filling<'_> {
    /// The key is the branch: each has one of its own.
    async fn submit(&self, request: SubmitRequest) -> anyhow::Result<Job> {
        let key = format!("fill-{}", request.branch_name.as_deref().unwrap_or_default());
        self.stage.client.submit_job(&request, &key).await.with_context(|| format!("sending {key}"))
    }

    async fn ended(&self) -> anyhow::Result<()> {
        let lock = r#"Update what it depends on. [[scenario:edit]] [[scenario:write path=Cargo.lock content="a lock file\n"]]"#;
        let question = "Translate it. [[scenario:look]] [[scenario:asks tool=WebFetch]]";
        let jobs = [
            SubmitRequest {
                os_callback_url: Some(NOBODY.to_owned()),
                options: publish("branch"),
                ..asked("Update dependencies", "chore/dependencies", lock)
            },
            SubmitRequest {
                options: publish("none"),
                ..asked("Try out a farewell", "spike/farewell", "Only try it.")
            },
            asked("Check the spelling", "chore/spelling", "[[scenario:look]] [[scenario:no-change]]"),
            asked("Protect the settings", "fix/settings", "Write the settings. [[scenario:denied]]"),
            asked("Translate the greeting", "feature/translate", question),
            SubmitRequest {
                options: Some(Options {
                    verify: Some(vec![Command::Argv(vec!["false".to_owned()])]),
                    verify_rounds: Some(0),
                    ..Options::default()
                }),
                ..asked("Rewrite the tests", "feature/tests", "Rewrite the tests.")
            },
        ];
        let mut sent = Vec::new();
        for job in jobs {
            sent.push(self.submit(job).await?);
        }
        for job in sent {
            self.until(&job.summary.id, |job| job.summary.completed_at.is_some()).await?;
        }
        let stopped = asked("Spike: a new parser", "spike/parser", "[[scenario:look]] [[scenario:hang]]");
        let stopped = self.submit(stopped).await?;
        self.until(&stopped.summary.id, |job| job.summary.pid.is_some()).await?;
        self.stage.client.cancel_job(&stopped.summary.id).await?;
        Ok(())
    }

    async fn running(&self) -> anyhow::Result<()> {
        let prompt = format!("Think about it. [[scenario:look]] [[scenario:slow seconds={TALKS_SECONDS}]]");
        let running = self.submit(asked("Greet in verse", "feature/verse", &prompt)).await?;
        self.until(&running.summary.id, |job| job.summary.pid.is_some()).await?;
        let next = FollowUpRequest {
            prompt: Some("And now in rhyme".to_owned()),
            title: Some("Greet in rhyme".to_owned()),
            ..FollowUpRequest::default()
        };
        self.stage.client.follow_up_job(&running.summary.id, &next, "fill-follow-up").await?;
        let after = SubmitRequest {
            depends_on: Some(vec![running.summary.id]),
            ..asked("Announce the verses", "docs/verses", "Announce them.")
        };
        self.submit(after).await?;
        Ok(())
    }

    async fn waiting(&self) -> anyhow::Result<()> {
        let tonight = jiff::Timestamp::from_millisecond(Clock::system().now_ms() + 9 * HOURS_MS)?;
        let later = SubmitRequest {
            run_at: Some(tonight.to_string()),
            ..asked("Nightly check", "chore/nightly", "Check everything.")
        };
        self.submit(later).await?;
        let limited = SubmitRequest {
            options: Some(Options { agent: Some(LIMITED.to_owned()), ..Options::default() }),
            ..asked("Explain the greetings", "docs/greetings", "Explain. [[scenario:usage-limit in=5400]]")
        };
        let limited = self.submit(limited).await?;
        self.until(&limited.summary.id, |job| {
            job.summary.waiting.is_some_and(|waiting| waiting.until.is_some())
        })
        .await
    }

    /// Until the job is so.
    async fn until(&self, id: &str, is_so: impl Fn(&Job) -> bool) -> anyhow::Result<()> {
        let client = &self.stage.client;
        let mut seen = client.get_job(id).await?;
        while !is_so(&seen.value) {
            let etag = seen.etag.unwrap_or_default();
            seen = match client.wait_job(id, &etag, LOOK).await? {
                Some(newer) => newer,
                None => client.get_job(id).await?,
            };
        }
        Ok(())
    }
}
