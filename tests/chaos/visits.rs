//! Jobs that are taken over: what was done by hand is in the work, and what was left running is gone when it is over.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::caller::{ANSWERED_MAX, Caller};
use crate::evidence::Accepted;
use crate::git_fixture::command;

impl Caller {
    /// Takes the job over at some moment, writes a file by hand, and hands it back to the agent or to be published.
    pub(crate) async fn visit(&self, job: &Accepted) {
        let (before, meanwhile, goes_on) =
            self.roll(|dice| (dice.below(2_500), dice.below(800), dice.pick(&["publish", "agent"])));
        self.pause(before).await;
        let key = format!("visitor-of-job-{}", job.number);
        let Some(attached) = self.take_over(job, &key).await else { return };
        let file = format!("by-hand-{}.txt", job.number);
        let worktree = Path::new(attached["worktreePath"].as_str().unwrap_or_default());
        if let Err(error) = std::fs::write(worktree.join(&file), "by hand\n") {
            self.complain(format!("the worktree of {} is not there: {error}", job.id));
        }
        let left = leave_running(&attached);
        self.pause(meanwhile).await;
        let (path, body) = (format!("/jobs/{}/attach/prolong", job.id), json!({"key": key}));
        let prolonged = self.ask("POST", &path, Some(&body), None).await;
        if prolonged.status != 200 {
            self.complain(format!("{} was taken from its visitor: {}", job.id, prolonged.body));
        }
        let body = json!({"key": key, "goesOn": goes_on});
        let detached = self.ask("POST", &format!("/jobs/{}/detach", job.id), Some(&body), None).await;
        // gone: the answer to the first request was lost
        if detached.status != 200 && detached.body["code"] != "not_attached" {
            self.complain(format!("handing {} back: {}", job.id, detached.body));
        }
        let over = self.wait_until_over(&job.id).await;
        if let Some(mut left) = left
            && !matches!(left.try_wait(), Ok(Some(_)))
        {
            self.complain(format!("what was started by hand outlived {}", job.id));
            let _ = left.kill().and_then(|()| left.wait());
        }
        self.check_published(job, &over, &file, "was done by hand");
    }

    /// Complains when the job has published, and not this file. One whose agent was killed too often has not.
    pub(crate) fn check_published(&self, job: &Accepted, over: &Value, file: &str, what: &str) {
        if over["outcome"] != "branch_pushed" {
            return;
        }
        let place = format!("{}:{file}", over["branchName"].as_str().unwrap_or_default());
        let remote = self.stand.remote_of(&job.repo);
        if !command(&remote, &["cat-file", "-e", &place]).output().unwrap().status.success() {
            self.complain(format!("{} was published without what {what}", job.id));
        }
    }

    /// `None`: it came too late.
    async fn take_over(&self, job: &Accepted, key: &str) -> Option<Value> {
        let until = Instant::now() + ANSWERED_MAX;
        loop {
            let path = format!("/jobs/{}/attach", job.id);
            let answered = self.ask("POST", &path, Some(&json!({"key": key})), None).await;
            match (answered.status, answered.body["code"].as_str().unwrap_or_default()) {
                (200, _) => return Some(answered.body),
                (409, "job_over" | "job_publishing") => return None,
                (409, "agent_not_begun") if Instant::now() < until => self.pause(100).await,
                (status, _) => {
                    self.complain(format!("taking {} over: {status} {}", job.id, answered.body));
                    return None;
                }
            }
        }
    }
}

/// As the command line starts it.
fn leave_running(attached: &Value) -> Option<Child> {
    let env = attached["env"].as_object()?;
    let env = env.iter().filter_map(|(name, value)| Some((name, value.as_str()?)));
    Command::new("/bin/sleep")
        .arg("300")
        .current_dir(attached["worktreePath"].as_str()?)
        .env_clear()
        .envs(env)
        .stdin(Stdio::null())
        .spawn()
        .ok()
}
