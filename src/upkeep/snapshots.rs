//! Which snapshots may go.

use std::collections::HashMap;
use std::time::Duration;

use super::report::{Kind, Report};
use super::{Inner, Order};
use crate::domain::client::Client;
use crate::domain::id::{JobId, JobRef};
use crate::domain::job::{Job, pushed_by};
use crate::domain::time::Timestamp;
use crate::git::{CommitId, KEPT_REFS, Repository, Snapshot};
use crate::store::StoreError;

/// What is known about the job of a snapshot.
#[derive(Clone, Debug)]
struct Facts {
    job: Job,
    /// Some job of its chain is live: it may go on with what is kept.
    chain_is_live: bool,
    /// What the jobs of its chain have pushed.
    pushed: Vec<CommitId>,
}

impl Inner {
    /// True if any has gone, or would.
    pub(super) async fn prune_snapshots(
        &self,
        client: &Client,
        repository: &Repository,
        order: Order,
        report: &mut Report,
    ) -> Result<bool, StoreError> {
        let found = match repository.find_snapshots(KEPT_REFS).await {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(%error, repository = %client.repository, "the snapshots could not be looked at");
                return Ok(false);
            }
        };
        let mut pruned = false;
        let mut known: HashMap<String, Option<Facts>> = HashMap::new();
        for snapshot in found {
            let Some((job, name)) =
                snapshot.name.strip_prefix(KEPT_REFS).and_then(|rest| rest.split_once('/'))
            else {
                continue;
            };
            if !known.contains_key(job) {
                known.insert(job.to_owned(), self.facts(job).await?);
            }
            let facts = known.get(job).and_then(Option::as_ref);
            let pushed = facts.map_or(&[][..], |facts| &facts.pushed);
            let is_pushed = match repository.is_held_by(&snapshot.commit, pushed).await {
                Ok(is_pushed) => is_pushed,
                Err(error) => {
                    tracing::warn!(%error, snapshot = %snapshot.name, "a snapshot could not be looked at");
                    continue;
                }
            };
            let held = Held { is_result: name == "head", is_pushed };
            let Some(why) = may_go(&snapshot, held, facts, self.now(), self.settings.snapshots) else {
                continue;
            };
            if !order.dry_run
                && let Err(error) = repository.delete_ref(&snapshot.name).await
            {
                tracing::warn!(%error, snapshot = %snapshot.name, "a snapshot could not be pruned yet");
                continue;
            }
            pruned = true;
            report.add(Kind::Snapshot, &format!("{}: {}", client.repository, snapshot.name), why, None);
        }
        Ok(pruned)
    }

    async fn facts(&self, job: &str) -> Result<Option<Facts>, StoreError> {
        let Ok(id) = JobId::parse(job) else { return Ok(None) };
        let Some(name) = JobRef::parse(id.as_str()) else { return Ok(None) };
        let job = match self.store.get_job(&name).await {
            Ok(view) => view.job,
            Err(StoreError::NotFound(_) | StoreError::Ambiguous) => return Ok(None),
            Err(error) => return Err(error),
        };
        let chain = self.store.chain_of(&job.chain.root).await?;
        let chain_is_live = chain.iter().any(|job| job.status.is_live());
        let pushed = pushed_by(&chain).filter_map(|commit| commit.parse().ok()).collect();
        Ok(Some(Facts { job, chain_is_live, pushed }))
    }
}

/// Where else the work of a snapshot is.
#[derive(Clone, Copy, Debug)]
struct Held {
    /// It is the job's result, whose diff is shown.
    is_result: bool,
    /// All of it is in a commit that was pushed.
    is_pushed: bool,
}

/// Why a snapshot may go; `None`: it stays.
fn may_go(
    snapshot: &Snapshot,
    held: Held,
    facts: Option<&Facts>,
    now: Timestamp,
    kept: Duration,
) -> Option<&'static str> {
    let taken_at = Timestamp::from_ms(snapshot.taken_at.saturating_mul(1_000));
    let Some(Facts { job, chain_is_live, .. }) = facts else {
        return (now.since(taken_at) > kept).then_some("its job is not listed any more");
    };
    // the diff of a job is shown from its result as long as the job is listed
    if *chain_is_live || held.is_result {
        return None;
    }
    if held.is_pushed {
        return Some("the work is published");
    }
    let since = job.completed_at.map_or(taken_at, |ended| ended.max(taken_at));
    (now.since(since) > kept).then_some("older than git.snapshot_days")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::branch::BranchName;
    use crate::domain::id::{ClientId, JobNumber};
    use crate::domain::job::{Chain, Effects, JobRequest, Outcome, Phase, Start, Status, Usage};
    use crate::domain::options::RunOptions;

    const DAY_MS: i64 = 86_400_000;

    fn job(outcome: Outcome, ended_days_ago: i64) -> Job {
        let id = JobId::from_random("aaaabbbbccccdddd");
        let at = Timestamp::from_ms(100 * DAY_MS);
        Job {
            id: id.clone(),
            number: JobNumber(1),
            client_id: ClientId::from_random("aaaabbbb"),
            request: JobRequest {
                prompt: String::new(),
                branch: BranchName::parse("b").unwrap(),
                title: None,
                body: None,
                os_feature_id: None,
                callback_url: None,
                metadata: None,
                labels: Vec::new(),
                base_branch: None,
                priority: 0,
                run_at: None,
                depends_on: Vec::new(),
                attachments: Vec::new(),
                options: RunOptions::default(),
                profile: None,
                submitted_by: String::new(),
            },
            chain: Chain { root: id, original: None, parent: None },
            start: Start::Agent,
            login: String::new(),
            status: Status::Failed,
            phase: Phase::Done,
            outcome: Some(outcome),
            reason: None,
            attempt: 1,
            attempts_counted: 0,
            backoff_tries: 0,
            effects: Effects::default(),
            handed_back: None,
            usage: Usage::default(),
            verify: Vec::new(),
            artifacts: None,
            warnings: Vec::new(),
            cancel_requested_at: None,
            created_at: at,
            started_at: None,
            completed_at: Some(Timestamp::from_ms((100 - ended_days_ago) * DAY_MS)),
            updated_at: at,
        }
    }

    #[test]
    fn what_goes_is_published_or_past_its_days() {
        use Outcome::{BranchPushed, Cancelled, DryRun, Failed, NoChanges, PullRequest};
        // how it ended, all of it pushed, days since, its result, chain live: does it go?
        let table = [
            (PullRequest, true, 0, false, false, true),
            (BranchPushed, true, 0, false, false, true),
            // beside what its job has published there is other work: of an attempt before, or of a person
            (PullRequest, false, 29, false, false, false),
            (PullRequest, false, 31, false, false, true),
            (PullRequest, true, 0, false, true, false),
            (PullRequest, true, 99, true, false, false),
            // pushed, and refused after that, or published by a retry
            (Failed, true, 0, false, false, true),
            (Failed, false, 29, false, false, false),
            (Failed, false, 31, false, false, true),
            (Failed, false, 31, false, true, false),
            (Cancelled, false, 29, false, false, false),
            (Cancelled, false, 31, false, false, true),
            (NoChanges, false, 29, false, false, false),
            (NoChanges, false, 31, false, false, true),
            (DryRun, false, 29, false, false, false),
            (DryRun, false, 31, true, false, false),
        ];
        let commit = "a".repeat(40).parse().unwrap();
        let snapshot = Snapshot { name: String::new(), commit, taken_at: 0, notes: Vec::new() };
        let (now, kept) = (Timestamp::from_ms(100 * DAY_MS), Duration::from_secs(30 * 86_400));
        for row in table {
            let (outcome, is_pushed, days, is_result, chain_is_live, expected) = row;
            let facts = Facts { job: job(outcome, days), chain_is_live, pushed: Vec::new() };
            let held = Held { is_result, is_pushed };
            assert_eq!(may_go(&snapshot, held, Some(&facts), now, kept).is_some(), expected, "{row:?}");
        }
        let held = Held { is_result: true, is_pushed: false };
        for (days, expected) in [(29, false), (31, true)] {
            let old = Snapshot { taken_at: (100 - days) * DAY_MS / 1_000, ..snapshot.clone() };
            assert_eq!(may_go(&old, held, None, now, kept).is_some(), expected, "without its job, {days}");
        }
    }
}
