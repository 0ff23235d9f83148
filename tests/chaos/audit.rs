//! The rules that a world must have kept, each a function from the evidence to its faults.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Value, json};

use crate::audit_work::{
    kept_files_are_whole, kept_worktrees_stay, none_between, nothing_in_vain, old_worktrees,
    removals_are_whole, unpublished_work_is_kept,
};
use crate::evidence::{Accepted, Age, Evidence};
use crate::jobs::Hook;
use crate::stand::Callback;
use crate::world::CALLBACK_WAITS;

/// From the last start of the server.
pub(crate) const SETTLED_MAX: Duration = Duration::from_secs(5);

pub(crate) type Rule = fn(&Evidence) -> Vec<String>;

/// Every rule with its name, in the order in which a reader wants to know.
pub(crate) const RULES: &[(&str, Rule)] = &[
    ("every accepted job ended", every_job_ended),
    ("no job is lost or there twice", none_lost_none_twice),
    ("each ended as it had to", ended_as_it_had_to),
    ("one pull request per chain", one_pull_request),
    ("the remote has the recorded commit", remote_has_what_is_recorded),
    ("every callback was accepted, or given up with a reason", callbacks_arrived),
    ("what is old is forgotten, and nothing else", only_the_old_is_forgotten),
    ("a removed client is gone whole, its work kept", removals_are_whole),
    ("what a failed job left is kept", unpublished_work_is_kept),
    ("a kept worktree stays its time, and is told", kept_worktrees_stay),
    ("what is kept of a job is whole, and told", kept_files_are_whole),
    ("a job that comes while its client is deleted is refused or ends", none_between),
    ("what is cancelled before it begins does nothing", nothing_in_vain),
    ("never more running than may", not_too_many),
    ("one live attempt", one_live_attempt),
    ("an agent runs once per attempt", agents_run_once),
    ("a kill of the server costs no attempt", attempts_are_not_used_up),
    ("no process is left", no_process),
    ("no worktree, half clone or lock is left", nothing_on_disk),
    ("the database is whole", database_is_whole),
    ("the repositories are whole", repositories_are_whole),
    ("no secret is anywhere", no_secret),
    ("settled in time", settled),
    ("nothing complained", nothing_complained),
];

/// What is wrong, with the name of the rule before it.
pub(crate) fn audit(evidence: &Evidence) -> Vec<String> {
    let faults = |(name, rule): &(&str, Rule)| {
        rule(evidence).into_iter().map(|fault| format!("{name}: {fault}")).collect::<Vec<_>>()
    };
    RULES.iter().flat_map(faults).collect()
}

fn every_job_ended(evidence: &Evidence) -> Vec<String> {
    let live = |job: &&Accepted| {
        !matches!(evidence.job_told(&job.id)["status"].as_str(), Some("completed" | "failed" | "cancelled"))
    };
    let open = evidence.accepted.iter().filter(live);
    let open =
        open.map(|job| format!("{} ({:?}) is {}", job.id, job.kind, evidence.job_told(&job.id)["status"]));
    open.chain(evidence.unfinished.iter().cloned()).collect()
}

fn none_lost_none_twice(evidence: &Evidence) -> Vec<String> {
    let accepted: BTreeSet<_> = evidence.accepted.iter().map(|job| &job.id).collect();
    let accepted: BTreeSet<_> = accepted.into_iter().filter(|id| !evidence.forgotten.contains(*id)).collect();
    let mut faults = Vec::new();
    let mut listed = BTreeSet::new();
    for id in &evidence.listed {
        if !listed.insert(id) {
            faults.push(format!("{id} is listed twice"));
        }
        if !accepted.contains(id) {
            faults.push(format!("{id} is a job that nobody was told of"));
        }
    }
    faults.extend(accepted.difference(&listed).map(|id| format!("{id} is lost")));
    faults
}

fn ended_as_it_had_to(evidence: &Evidence) -> Vec<String> {
    let mut faults = Vec::new();
    for job in &evidence.accepted {
        let told = evidence.job_told(&job.id);
        let outcome = told["outcome"].as_str().unwrap_or("none");
        let reason = told["reason"]["code"].as_str().unwrap_or("none");
        let end = if outcome == "failed" { reason } else { outcome };
        let ends = if job.publishes { &["branch_pushed", "pull_request"][..] } else { job.kind.ends() };
        let was_hurt = evidence.hurt.contains_key(&job.number);
        // what fails once may have had its once in an attempt that was cut off
        let by_kill = was_hurt && (matches!(reason, "interrupted" | "crashed") || end == "branch_pushed");
        let died_over = |attempts: &Vec<Value>| attempts.iter().any(|one| is_of_deaths(&one["reason"]));
        let by_deaths = is_of_deaths(&told["reason"])
            || (end == "branch_pushed" && told["attempts"].as_array().is_some_and(died_over));
        let by_caller = job.cancelled && matches!(end, "cancelled");
        if !ends.contains(&end) && !by_kill && !by_deaths && !by_caller {
            faults.push(format!("{} ({:?}) ended {outcome}, {}", job.id, job.kind, told["reason"]));
        }
    }
    faults
}

/// Servers that die one after the other over what an agent left end its attempt, as promised.
pub(crate) fn is_of_deaths(reason: &Value) -> bool {
    let message = reason["message"].as_str().unwrap_or_default();
    reason["code"] == "poisoned" || message.contains("servers in a row died")
}

fn one_pull_request(evidence: &Evidence) -> Vec<String> {
    let mut faults = Vec::new();
    let mut count: BTreeMap<_, usize> = BTreeMap::new();
    for pull in &evidence.pulls {
        *count.entry((&pull.repo, &pull.head)).or_default() += 1;
    }
    faults.extend(
        count.iter().filter(|(_, count)| **count > 1).map(|(head, count)| format!("{head:?} has {count}")),
    );
    let mut claimed = BTreeSet::new();
    for job in &evidence.accepted {
        let told = evidence.job_told(&job.id);
        let (branch, number) = (told["branchName"].as_str().unwrap_or_default(), told["prNumber"].as_u64());
        if let Some(number) = number {
            let is_it = |pull: &&crate::fake_github::FakePull| pull.repo == job.repo && pull.number == number;
            match evidence.pulls.iter().find(is_it) {
                Some(pull)
                    if pull.head == branch
                        && pull.body.contains(&format!("<!-- offshoot:{} -->", job.id)) =>
                {
                    claimed.insert((&pull.repo, pull.number));
                }
                found => faults.push(format!("{} claims {number}, and the forge has {found:?}", job.id)),
            }
        }
    }
    // one that was opened before its job was cancelled has its job too
    let unclaimed = evidence.pulls.iter().filter(|pull| !claimed.contains(&(&pull.repo, pull.number)));
    faults.extend(
        unclaimed.map(|pull| format!("nobody knows of pull request {} of {}", pull.number, pull.head)),
    );
    faults
}

fn remote_has_what_is_recorded(evidence: &Evidence) -> Vec<String> {
    let mut faults = Vec::new();
    let mut recorded: BTreeSet<(String, String, String)> = BTreeSet::new();
    for job in &evidence.accepted {
        let told = evidence.job_told(&job.id);
        let branch = told["branchName"].as_str().unwrap_or_default().to_owned();
        let head = told["headSha"].as_str().unwrap_or_default().to_owned();
        let place = (job.repo.clone(), branch.clone());
        if matches!(told["outcome"].as_str(), Some("pull_request" | "branch_pushed")) {
            match evidence.tips.get(&place) {
                Some(tip) if *tip == head => {}
                tip => faults.push(format!("{} recorded {head} on {branch}, the remote has {tip:?}", job.id)),
            }
        }
        recorded.insert((place.0, branch, head));
    }
    for ((repo, branch), tip) in &evidence.tips {
        let ours = recorded.contains(&(repo.clone(), branch.clone(), tip.clone()));
        if !ours && branch != "main" && !evidence.foreign.contains(&(repo.clone(), branch.clone())) {
            faults.push(format!("{repo} has {branch} at {tip}, and no job recorded that"));
        }
    }
    faults
}

fn callbacks_arrived(evidence: &Evidence) -> Vec<String> {
    let mut faults = Vec::new();
    for job in &evidence.accepted {
        let told = evidence.job_told(&job.id);
        let sent: Vec<_> =
            evidence.callbacks.iter().filter(|one| one.body["jobId"] == job.id.as_str()).collect();
        let state = told["callback"]["state"].as_str().unwrap_or("none");
        let told_to_stop = |one: &&Callback| one.status == 410 && one.body["jobId"] == job.root.as_str();
        let stopped = job.hook == Hook::Gone
            && state == "suspended"
            && evidence.callbacks.iter().any(|one| told_to_stop(&one));
        let Some(first) = sent.first() else {
            if stopped {
                continue; // the address was suspended before this job ended
            }
            faults.push(format!("{} ({:?}) never called back; its callback is {state}", job.id, job.kind));
            continue;
        };
        if sent.iter().any(|one| one.id != first.id || one.bytes != first.bytes) {
            faults.push(format!("the callbacks of {} differ", job.id));
        }
        let accepted = sent.iter().any(|one| (200..300).contains(&one.status));
        let delivered = accepted && state == "delivered";
        let given_up = job.hook == Hook::Broken && state == "dead";
        if given_up {
            faults.extend(without_reason(evidence, job, &sent));
        }
        if !stopped && !delivered && !given_up {
            let statuses: Vec<_> = sent.iter().map(|one| one.status).collect();
            faults.push(format!("{} was answered {statuses:?}; its callback is {state}", job.id));
        }
        for field in ["status", "outcome", "prNumber", "headSha", "branchName"] {
            if first.body[field] != told[field] {
                faults.push(format!(
                    "{}: {field} is {} and was called back as {}",
                    job.id, told[field], first.body[field]
                ));
            }
        }
    }
    faults.extend(evidence.unwanted.iter().map(|request| format!("an unsigned or stray request: {request}")));
    faults
}

/// A callback that was given up is listed, with each of its tries and why it failed.
fn without_reason(evidence: &Evidence, job: &Accepted, sent: &[&Callback]) -> Option<String> {
    let delivery = &evidence.deliveries.get(&job.id).unwrap_or(&Value::Null)["deliveries"][0];
    let history = delivery["history"].as_array().cloned().unwrap_or_default();
    let explained = |one: &Value| one["error"].as_str().is_some_and(|error| !error.is_empty());
    let is_told = delivery["state"] == "dead"
        && explained(&json!({"error": delivery["lastError"]}))
        && history.len() == CALLBACK_WAITS.len() + 1
        && history.iter().all(explained)
        // one that was cut off by a kill is made again
        && sent.len() >= history.len()
        && evidence.dead.contains(&job.id);
    (!is_told).then(|| format!("{} was given up after {} requests: {delivery}", job.id, sent.len()))
}

fn only_the_old_is_forgotten(evidence: &Evidence) -> Vec<String> {
    let mut faults = Vec::new();
    for job in &evidence.accepted {
        let is_known = !evidence.forgotten.contains(&job.id);
        if is_known == (job.age == Some(Age::Forgotten)) {
            faults.push(format!("{} is of age {:?} and known: {is_known}", job.id, job.age));
        }
        let ran = evidence
            .runs
            .iter()
            .any(|run| Evidence::marker(run).is_some_and(|(job_run, _)| job_run == job.number));
        let has_output = evidence.outputs.contains(&job.number);
        let is_to_go = job.age.is_some_and(|age| age != Age::Unkept);
        if has_output && is_to_go || !has_output && !is_to_go && ran {
            faults.push(format!("{} is of age {:?} and has its output: {has_output}", job.id, job.age));
        }
    }
    if evidence.old_events > 0 {
        faults.push(format!("{} old events are there", evidence.old_events));
    }
    faults
}

fn not_too_many(evidence: &Evidence) -> Vec<String> {
    let most = evidence.watched.most;
    if most > evidence.allowed { vec![format!("{most} ran, {} may", evidence.allowed)] } else { Vec::new() }
}

fn one_live_attempt(evidence: &Evidence) -> Vec<String> {
    evidence.watched.twins.iter().map(|job| format!("two attempts lived at once: {job}")).collect()
}

fn agents_run_once(evidence: &Evidence) -> Vec<String> {
    let mut faults = Vec::new();
    let mut seen: BTreeSet<&String> = BTreeSet::new();
    let mut runs: BTreeMap<i64, usize> = BTreeMap::new();
    for marker in &evidence.runs {
        if !seen.insert(marker) {
            faults.push(format!("{marker} was started twice"));
        }
        match Evidence::marker(marker) {
            Some((job, _)) => *runs.entry(job).or_default() += 1,
            None => faults.push(format!("an agent without a marker: {marker:?}")),
        }
    }
    for job in &evidence.accepted {
        let attempts = evidence.job_told(&job.id)["attempts"].as_array().map_or(0, Vec::len);
        let ran = runs.remove(&job.number).unwrap_or(0);
        if ran > attempts * job.kind.turns() {
            faults.push(format!("{} ran {ran} agents in {attempts} attempts", job.id));
        }
        if job.publishes && ran > 0 {
            faults.push(format!("{} only publishes and ran an agent", job.id));
        }
    }
    faults.extend(runs.keys().map(|number| format!("an agent of job {number}, which nobody sent")));
    faults
}

fn attempts_are_not_used_up(evidence: &Evidence) -> Vec<String> {
    let mut faults = Vec::new();
    for job in &evidence.accepted {
        let attempts = evidence.job_told(&job.id)["attempts"].as_array().cloned().unwrap_or_default();
        let counted = attempts
            .iter()
            .filter(|attempt| attempt["counted"] == true && !is_of_deaths(&attempt["reason"]))
            .count();
        let own = if job.publishes { 0 } else { job.kind.own_faults() };
        let explained = own + evidence.hurt.get(&job.number).copied().unwrap_or(0);
        if counted > explained as usize {
            let reasons: Vec<&Value> = attempts.iter().map(|attempt| &attempt["reason"]["code"]).collect();
            faults.push(format!("{} ({:?}) counts {counted} attempts: {reasons:?}", job.id, job.kind));
        }
    }
    faults
}

fn no_process(evidence: &Evidence) -> Vec<String> {
    evidence.processes.clone()
}

fn nothing_on_disk(evidence: &Evidence) -> Vec<String> {
    evidence.leftovers.iter().cloned().chain(old_worktrees(evidence)).collect()
}

fn database_is_whole(evidence: &Evidence) -> Vec<String> {
    if evidence.integrity == "ok" { Vec::new() } else { vec![evidence.integrity.clone()] }
}

fn repositories_are_whole(evidence: &Evidence) -> Vec<String> {
    evidence.broken.clone()
}

fn no_secret(evidence: &Evidence) -> Vec<String> {
    evidence.secrets.iter().chain(&evidence.watched.leaks).cloned().collect()
}

fn settled(evidence: &Evidence) -> Vec<String> {
    let took = evidence.settled;
    if took > SETTLED_MAX { vec![format!("only after {took:?}")] } else { Vec::new() }
}

fn nothing_complained(evidence: &Evidence) -> Vec<String> {
    evidence.complaints.clone()
}

#[cfg(test)]
#[path = "audit_tests.rs"]
mod tests;
