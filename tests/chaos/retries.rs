//! Jobs that are not over with their end: what their callers have done again, or nearly.

use serde_json::{Value, json};

use crate::caller::Caller;
use crate::evidence::Accepted;
use crate::jobs::Kind;

impl Caller {
    /// A retry of what was not published. The agent is not needed for it.
    pub(crate) async fn publish(&self, job: &Accepted) {
        let over = self.wait_until_over(&job.id).await;
        let failed_at = over["reason"]["code"].as_str().unwrap_or_default();
        if over["outcome"] != "dry_run" && !matches!(failed_at, "push_rejected" | "branch_moved") {
            return; // its agent was killed too often, or it is published by now
        }
        let path = format!("/jobs/{}/retry", job.id);
        let key = format!("retry-{}", job.number);
        // the work of one that is torn has to be done anew, which only `auto` allows
        let modes: &[&str] = if job.kind == Kind::Torn { &["auto"] } else { &["auto", "publish"] };
        let mode = self.roll(|dice| dice.pick(modes));
        if let Some(answer) = self.post(&path, json!({"mode": mode}), &key, 201).await {
            // it inherits the address, and with it what the receiver still has to say there
            self.write_down(&answer, job.kind, &job.repo, job.hook, job.kind != Kind::Torn);
        }
    }

    /// A retry that goes on where the agent was cut off.
    pub(crate) async fn go_on(&self, job: &Accepted) {
        let over = self.wait_until_over(&job.id).await;
        if over["reason"]["code"] != "api_error" {
            return; // its agent was killed too often
        }
        if job.kind == Kind::Forgotten {
            std::fs::write(self.places().once(&format!("forgotten-{}", job.root)), "").unwrap();
        }
        let prompt = format!("[[scenario:write path=rest-{}.txt]]", job.number);
        let body = json!({"mode": "resume", "prompt": prompt});
        self.retry(job, Kind::Resumed, body).await;
    }

    /// A retry that does the work anew, of which the files of the attempts before are no part.
    pub(crate) async fn renew(&self, job: &Accepted) {
        let over = self.wait_until_over(&job.id).await;
        if over["reason"]["code"] != "crashed" {
            return; // its agent was killed too often
        }
        let remote = self.stand.remote_of(&job.repo);
        let prompt = self.places().prompt(Kind::Anew, job.number.unsigned_abs(), 50, &remote);
        let body = json!({"mode": self.roll(|dice| dice.pick(&["fresh", "auto"])), "prompt": prompt});
        self.retry(job, Kind::Anew, body).await;
    }

    /// A retry that waits because its client is paused, and is cancelled there.
    pub(crate) async fn retry_in_vain(&self, job: &Accepted) {
        let over = self.wait_until_over(&job.id).await;
        if over["reason"]["code"] != "crashed" {
            return; // its agent was killed too often
        }
        self.pause_client(&over, true).await;
        let body = json!({"mode": self.roll(|dice| dice.pick(&["fresh", "auto", "resume"]))});
        if let Some(retry) = self.retry(job, Kind::InVain, body).await {
            let after = self.roll(|dice| dice.below(300));
            self.pause(after).await;
            self.cancel(&retry).await;
        }
        self.pause_client(&over, false).await;
    }

    /// A retry that becomes a job of this kind; `None` when the request came to nothing.
    async fn retry(&self, job: &Accepted, kind: Kind, body: Value) -> Option<Accepted> {
        let (path, key) = (format!("/jobs/{}/retry", job.id), format!("{kind:?}-{}", job.number));
        let answer = self.post(&path, body, &key, 201).await?;
        Some(self.write_down(&answer, kind, &job.repo, job.hook, false))
    }

    /// Nothing is done to the chain any more: its worktree may grow old.
    pub(crate) async fn leave_chain_alone(&self, root: &str) {
        for job in self.accepted().into_iter().filter(|job| job.root == root) {
            self.wait_until_over(&job.id).await;
        }
        for job in self.accepted().into_iter().filter(|job| job.root == root) {
            let told = self.job(&job.id).await;
            self.note(&job.id, |job| job.over = Some(told.clone()));
        }
    }
}
