//! The queue: what runs, what waits, and whether anything new starts.

use serde_json::Value;

use super::App;
use super::caller::Caller;
use super::error::AppError;
use crate::domain::token::Scope;
use crate::store::{self, QueuePage, QueuePlace};
use crate::wire::fields::Reading;
use crate::wire::job::prompt_line;
use crate::wire::queue::{Queue, QueuedJob, RunningJob, running_for};
use crate::wire::request::{read_nothing, read_only_text};

/// A reason is read on one screen line or two.
const REASON_BYTES_MAX: usize = 500;

impl App {
    /// `after` is the cursor of the page before.
    ///
    /// # Errors
    /// [`AppError::Invalid`] for another cursor.
    pub async fn queue(&self, caller: &Caller, after: Option<&str>) -> Result<Queue, AppError> {
        let place = |text| {
            QueuePlace::parse(text)
                .ok_or_else(|| AppError::invalid("?after", "must be a nextCursor of an earlier page"))
        };
        self.queue_page(caller, after.map(place).transpose()?, Vec::new()).await
    }

    /// Who runs, and the first `count` of those who wait. A token that is limited to some clients gets a whole page, since what
    /// it may see of the head can be nothing.
    ///
    /// # Errors
    /// What the store said.
    pub async fn queue_head(&self, caller: &Caller, count: usize) -> Result<Queue, AppError> {
        if !caller.reach.is_whole() {
            return self.queue(caller, None).await;
        }
        Ok(self.shown_queue(self.0.store.queue_head(count).await?, Vec::new()))
    }

    /// Starts nothing new until it is resumed; survives a restart.
    ///
    /// # Errors
    /// [`AppError::Invalid`] for a bad reason.
    pub async fn pause_queue(&self, caller: &Caller, body: &Value) -> Result<Queue, AppError> {
        caller.needs(Scope::Operate)?;
        caller.needs_all_clients()?;
        let mut reading = Reading::default();
        let reason = read_only_text(body, "reason", &mut reading);
        let plain = |reason: &str| reason.len() <= REASON_BYTES_MAX && !reason.chars().any(char::is_control);
        if !reason.as_deref().is_none_or(plain) {
            reading.fault("/reason", format!("must be one line of at most {REASON_BYTES_MAX} bytes"));
        }
        AppError::of_reading(&reading)?;
        self.0.store.pause_queue(reason.as_deref()).await?;
        tracing::info!(by = caller.name, "queue paused");
        self.queue_page(caller, None, reading.warnings).await
    }

    /// # Errors
    /// [`AppError::Invalid`] for a body that is no object.
    pub async fn resume_queue(&self, caller: &Caller, body: &Value) -> Result<Queue, AppError> {
        caller.needs(Scope::Operate)?;
        caller.needs_all_clients()?;
        let mut reading = Reading::default();
        read_nothing(body, &mut reading);
        AppError::of_reading(&reading)?;
        self.0.store.resume_queue().await?;
        tracing::info!(by = caller.name, "queue resumed");
        self.queue_page(caller, None, reading.warnings).await
    }

    /// Lets one job of each held login go out as a probe, or of the one that the body names.
    ///
    /// # Errors
    /// [`AppError::Invalid`] for a login that is not configured.
    pub async fn try_now(&self, caller: &Caller, body: &Value) -> Result<Queue, AppError> {
        caller.needs(Scope::Operate)?;
        caller.needs_all_clients()?;
        let mut reading = Reading::default();
        let login = read_only_text(body, "login", &mut reading);
        if login.as_ref().is_some_and(|login| !self.0.settings.agents.contains_key(login)) {
            reading.fault("/login", "must be the name of a configured agent");
        }
        AppError::of_reading(&reading)?;
        let logins = self.0.store.try_now(login.as_deref()).await?;
        tracing::info!(by = caller.name, ?logins, "holds lifted");
        let holds = self.0.store.accounts_within(&caller.reach).await?.holds;
        for hold in holds.iter().filter(|hold| login.as_ref().is_none_or(|login| *login == hold.login)) {
            if let Some(probe) = hold.probe.filter(|_| !logins.contains(&hold.login)) {
                let text = format!(
                    "the login \"{}\" is being tried already, by job #{probe}: the others wait for its end; to try another one: \
                     offshoot cancel {probe}",
                    hold.login
                );
                reading.warnings.push(text);
            }
        }
        self.queue_page(caller, None, reading.warnings).await
    }

    async fn queue_page(
        &self,
        caller: &Caller,
        after: Option<QueuePlace>,
        warnings: Vec<String>,
    ) -> Result<Queue, AppError> {
        let page = self.0.store.queue_page_within(after, &caller.reach).await?;
        Ok(self.shown_queue(page, warnings))
    }

    fn shown_queue(&self, page: QueuePage, warnings: Vec<String>) -> Queue {
        Queue {
            running: page.running.into_iter().map(running).collect(),
            queued: page.queued.into_iter().map(queued).collect(),
            max_concurrent: self.0.settings.max_concurrent_jobs,
            paused: page.state.paused,
            paused_reason: page.state.reason,
            next_cursor: page.next.map(|next| next.to_string()),
            warnings,
        }
    }
}

fn running(job: store::RunningJob) -> RunningJob {
    let seconds = job.running_for.as_secs();
    RunningJob {
        id: job.id.to_string(),
        number: job.number.0,
        client_name: job.client_name,
        branch_name: job.branch,
        title: job.title,
        prompt_line: prompt_line(&job.prompt),
        started_at: job.started_at.map(Into::into),
        running_for: running_for(seconds),
        running_for_seconds: seconds,
        phase: job.phase.into(),
        last_output_at: job.last_output_at.map(Into::into),
    }
}

fn queued(job: store::QueuedJob) -> QueuedJob {
    QueuedJob {
        id: job.id.to_string(),
        number: job.number.0,
        client_name: job.client_name,
        branch_name: job.branch,
        title: job.title,
        prompt_line: prompt_line(&job.prompt),
        position: Some(job.position),
        created_at: job.created_at.into(),
        waiting: Some(job.waiting.into()),
    }
}
