//! The rules about work that somebody may still want: in worktrees, snapshots and bundles, of retries and of clients that go.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use crate::audit::is_of_deaths;
use crate::evidence::{Accepted, Age, Evidence, Removed};
use crate::jobs::{Kind, report_text};

/// Job and client write down the time before their turn in the database comes.
const SAME_MOMENT: SignedDuration = SignedDuration::from_millis(100);

/// The client of this job was deleted with its clone.
fn is_removed(evidence: &Evidence, job: &Accepted) -> bool {
    evidence.removed.iter().any(|client| client.with_clone && client.repo == job.repo)
}

pub(crate) fn removals_are_whole(evidence: &Evidence) -> Vec<String> {
    evidence
        .removed
        .iter()
        .flat_map(|client| half_removed(client).into_iter().chain(lost_commits(evidence, client)))
        .collect()
}

fn half_removed(client: &Removed) -> Option<String> {
    // whoever has registered the repository again has a clone of it as soon as a job needs one
    let clone_is_right = client.clone_is_there != client.with_clone || !client.heirs.is_empty();
    (client.deleted_at.is_none() || !clone_is_right).then(|| {
        format!(
            "{} is half removed: deleted at {:?}, its clone is there: {}, and was to go: {}",
            client.id, client.deleted_at, client.clone_is_there, client.with_clone
        )
    })
}

fn lost_commits(evidence: &Evidence, client: &Removed) -> Vec<String> {
    let jobs = evidence.accepted.iter().filter(|job| job.repo == client.repo);
    jobs.filter_map(|job| {
        let told = evidence.job_told(&job.id);
        let is_published = matches!(told["outcome"].as_str(), Some("branch_pushed" | "pull_request"));
        let head = told["headSha"].as_str().filter(|head| !is_published && !client.kept.contains(*head))?;
        Some(format!("{head} of {} was kept nowhere when {} was removed", job.id, client.id))
    })
    .collect()
}

/// An agent that leaves a file of each attempt, or a commit that its HEAD does not lead to, and dies, and that nobody killed: the
/// files are in snapshots, in a worktree that is kept, or in the bundle of a deleted client, whatever its retries have published,
/// and the commits in the history of these.
pub(crate) fn unpublished_work_is_kept(evidence: &Evidence) -> Vec<String> {
    let own_end = |job: &&Accepted| {
        let code = &evidence.job_told(&job.id)["reason"]["code"];
        job.kind.leaves_files() && code == "crashed" && !evidence.hurt.contains_key(&job.number)
    };
    let jobs = evidence.accepted.iter().filter(own_end);
    jobs.flat_map(|job| {
        let bundled = evidence.removed.iter().filter(|client| client.repo == job.repo);
        let mut places: Vec<&BTreeSet<String>> = bundled.map(|client| &client.kept_files).collect();
        places.extend(evidence.snapshots.get(&job.id));
        places.extend(evidence.worktrees.get(&job.root));
        let of_job = |run: &&String| Evidence::marker(run).is_some_and(|(number, _)| number == job.number);
        let left = evidence.runs.iter().filter(of_job).map(|run| format!("left-{run}"));
        let lost = left.filter(move |file| !places.iter().any(|files| files.contains(file)));
        lost.chain(lost_of_branch(evidence, job))
            .map(|what| format!("{what} of {} ({:?}) is nowhere", job.id, job.kind))
    })
    .collect()
}

fn lost_of_branch(evidence: &Evidence, job: &Accepted) -> Vec<String> {
    let is_bundled = |commit: &String| {
        evidence.removed.iter().any(|client| client.repo == job.repo && client.kept.contains(commit))
    };
    let is_kept =
        |commit: &String| evidence.kept_commits.get(&job.id).is_some_and(|kept| kept.contains(commit));
    let made = evidence.commits.iter();
    let made = made.filter(|(run, _)| Evidence::marker(run).is_some_and(|(number, _)| number == job.number));
    let lost = made.filter(|(_, commit)| !is_kept(commit) && !is_bundled(commit));
    lost.map(|(run, commit)| format!("commit {commit} by {run}")).collect()
}

/// The chain's worktree has to be there at the end.
fn stays(evidence: &Evidence, root: &str) -> bool {
    let mut jobs = evidence.accepted.iter().filter(|job| job.root == root);
    jobs.any(|job| job.keeps && job.age.is_none() && !is_removed(evidence, job))
}

pub(crate) fn kept_worktrees_stay(evidence: &Evidence) -> Vec<String> {
    let mut faults = Vec::new();
    let roots: BTreeSet<&String> = evidence.accepted.iter().map(|job| &job.root).collect();
    for root in roots {
        let chain: Vec<_> = evidence.accepted.iter().filter(|job| job.root == *root).collect();
        let told = chain.iter().filter_map(|job| evidence.job_told(&job.id)["worktreePath"].as_str());
        let told: Vec<_> = told.collect();
        // servers that died before it was made have ended the job
        let of_deaths = chain.iter().any(|job| is_of_deaths(&evidence.job_told(&job.id)["reason"]));
        let is_there = evidence.worktrees.contains_key(root);
        let is_told = told.len() == 1 && told.iter().all(|path| path.ends_with(root.as_str()));
        if stays(evidence, root) {
            if !(of_deaths || is_there && is_told) {
                faults.push(format!("the worktree of {root} is there: {is_there}, and is told as {told:?}"));
            }
        } else if !told.is_empty() {
            faults.push(format!("{root} tells the worktrees {told:?}, and none is kept"));
        }
    }
    faults
}

/// A job that came to its commit has its report, whole, and a retry that published that has it too; no job has half a copy, or
/// files of two attempts; what is past its time is gone.
pub(crate) fn kept_files_are_whole(evidence: &Evidence) -> Vec<String> {
    let mut faults = Vec::new();
    let mut left = evidence.kept.clone();
    for job in &evidence.accepted {
        let told = evidence.job_told(&job.id);
        let files = left.remove(&job.number).unwrap_or_default();
        let named = told["artifacts"].as_array().cloned().unwrap_or_default();
        let reason = told["reason"]["code"].as_str().unwrap_or_default();
        let has_commit = told["outcome"] == "branch_pushed" || reason == "push_rejected";
        let is_past = matches!(job.age, Some(Age::Silent | Age::Forgotten));
        if is_past {
            let still_told = job.age == Some(Age::Silent) && !named.is_empty();
            if still_told || !files.is_empty() {
                faults.push(format!(
                    "{} is of age {:?} and has {} files, told {named:?}",
                    job.id,
                    job.age,
                    files.len()
                ));
            }
            continue;
        }
        let lengths: Vec<_> = files.iter().map(|(_, content)| Some(content.len() as u64)).collect();
        let as_told: Vec<_> = named.iter().map(|one| one["bytes"].as_u64()).collect();
        if lengths != as_told {
            faults.push(format!("{} tells {named:?} and has files of {lengths:?}", job.id));
        }
        if job.kind.keeps_a_report() && has_commit {
            let report = report_text(told["metadata"]["n"].as_u64().unwrap_or_default());
            let is_it = |(_, content): &(String, Vec<u8>)| *content == report.as_bytes();
            if files.len() != 1
                || !files.iter().all(is_it)
                || named.iter().any(|one| one["path"] != "out/report.txt")
            {
                faults.push(format!("{} ({:?}) has not kept its report: {named:?}", job.id, job.kind));
            }
        }
    }
    faults.extend(left.keys().map(|number| format!("files of job {number}, which nobody sent")));
    faults
}

/// Worktrees that nobody keeps, or not any more.
pub(crate) fn old_worktrees(evidence: &Evidence) -> Vec<String> {
    let all = evidence.worktrees.keys().filter(|root| !stays(evidence, root));
    all.map(|root| format!("the worktree of {root}")).collect()
}

/// A submission is refused as documented, or its job ends: as others do, or cancelled with its client.
pub(crate) fn none_between(evidence: &Evidence) -> Vec<String> {
    let mut faults = Vec::new();
    for client in &evidence.removed {
        for (status, refusal) in &client.refused {
            let problem = &refusal["problem"];
            let names_client = problem["errors"][0]["pointer"] == "/clientId";
            if *status != 422 || problem["code"] != "invalid" || !names_client || refusal["by"] != "id" {
                faults.push(format!("beside the deletion of {}: {status} {refusal}", client.id));
            }
        }
        let late = evidence.accepted.iter().filter(|job| job.kind == Kind::Late && job.repo == client.repo);
        let late: Vec<_> = late.map(|job| (job, evidence.job_told(&job.id))).collect();
        for (job, told) in &late {
            let is_its = told["clientId"] == client.id.as_str();
            if told["status"] == "cancelled" && !(client.forced && is_its) {
                faults.push(format!("{} of {} was cancelled with {}", job.id, told["clientId"], client.id));
            }
            let completed_at = told["completedAt"].as_str().and_then(|at| at.parse::<Timestamp>().ok());
            let behind = completed_at.zip(client.deleted_at).map(|(job, client)| job.duration_since(client));
            if let Some(behind) = behind.filter(|behind| is_its && *behind > SAME_MOMENT) {
                faults.push(format!("{} went on for {behind:?} without its client {}", job.id, client.id));
            }
        }
        let is_known = |heir: &&String| late.iter().any(|(_, told)| told["clientId"] == heir.as_str());
        let unknown = client.heirs.iter().filter(|heir| !is_known(heir));
        faults.extend(
            unknown.map(|heir| format!("{heir} is registered in place of {}, for no job", client.id)),
        );
    }
    faults
}

/// A retry that was cancelled where it waited: no attempt, no agent, and one callback, the cancellation's.
pub(crate) fn nothing_in_vain(evidence: &Evidence) -> Vec<String> {
    let mut faults = Vec::new();
    for job in evidence.accepted.iter().filter(|job| job.kind == Kind::InVain) {
        let told = evidence.job_told(&job.id);
        let attempts = told["attempts"].as_array().map_or(0, Vec::len);
        let of_job = |run: &&String| Evidence::marker(run).is_some_and(|(number, _)| number == job.number);
        let runs = evidence.runs.iter().filter(of_job).count();
        if told["status"] != "cancelled" || attempts + runs > 0 || !told["startedAt"].is_null() {
            faults
                .push(format!("{} made {attempts} attempts with {runs} agents: {}", job.id, told["status"]));
        }
        let deliveries = evidence.deliveries.get(&job.id).map(|all| &all["deliveries"]);
        let deliveries = deliveries.and_then(|all| all.as_array()).map_or(0, Vec::len);
        let sent = evidence.callbacks.iter().filter(|one| one.body["jobId"] == job.id.as_str());
        let others = sent.filter(|one| one.body["type"] != "job.cancelled").count();
        if deliveries != 1 || others > 0 {
            faults.push(format!("{} has {deliveries} callbacks, {others} of something else", job.id));
        }
    }
    faults
}
