//! A sound world has no fault; each rule is shown a broken one and finds it.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::*;
use crate::evidence::Removed;
use crate::fake_github::FakePull;
use crate::jobs::{Kind, report_text};

const REPO: &str = "acme/widgets";

fn accepted(id: &str, number: i64, kind: Kind) -> Accepted {
    Accepted {
        id: id.to_owned(),
        number,
        root: id.to_owned(),
        repo: REPO.to_owned(),
        kind,
        publishes: false,
        hook: Hook::Fine,
        keeps: false,
        cancelled: false,
        over: None,
        age: None,
    }
}

fn told(branch: &str, outcome: &str, head: Option<&str>) -> Value {
    let status = match outcome {
        "failed" | "cancelled" => outcome,
        _ => "completed",
    };
    json!({"status": status, "outcome": outcome, "branchName": branch, "headSha": head, "prNumber": null,
        "reason": null, "clientId": "cli-a", "startedAt": "then", "worktreePath": null, "attempts": [{"number": 1, "counted": false, "reason": null}],
        "callback": {"state": "delivered", "tries": 1, "lastStatus": 204}})
}

fn callback(id: &str, told: &Value, status: u16) -> Callback {
    let mut body = told.clone();
    body["jobId"] = id.into();
    let bytes = body.to_string().into_bytes();
    Callback { place: String::new(), id: format!("evt-{id}"), bytes, body, status }
}

fn pull(number: u64, head: &str, job: &str) -> FakePull {
    FakePull {
        repo: REPO.to_owned(),
        number,
        head: head.to_owned(),
        base: "main".to_owned(),
        title: String::new(),
        body: format!("Made here.\n\n<!-- offshoot:{job} -->\n"),
        draft: false,
        open: true,
        labels: Vec::new(),
        reviewers: Vec::new(),
    }
}

/// One whose unpublished work is in a bundle, and one that was deleted without its clone, beside which a job was refused.
fn removed() -> Vec<Removed> {
    let gone = Removed {
        id: "cli-gone".to_owned(),
        repo: "acme/gone".to_owned(),
        with_clone: true,
        deleted_at: Some(Timestamp::UNIX_EPOCH),
        kept: BTreeSet::from(["ff66".to_owned()]),
        ..Removed::default()
    };
    let problem = json!({"code": "invalid", "errors": [{"pointer": "/clientId"}]});
    let late = Removed {
        id: "cli-late".to_owned(),
        repo: "acme/late".to_owned(),
        forced: true,
        deleted_at: Some(Timestamp::UNIX_EPOCH),
        clone_is_there: true,
        refused: vec![(422, json!({"by": "id", "problem": problem}))],
        ..Removed::default()
    };
    vec![gone, late]
}

/// A pull request, a branch, jobs without changes, whose receiver wants no more, or never works, or that are old, one that
/// failed and left a file, the unpublished work of a client that was removed, one whose worktree is kept, its retry that was
/// cancelled before it began, one that was sent while its client was deleted, and one that kept a report.
fn sound() -> Evidence {
    let mut with_pull = told("c/1", "pull_request", Some("aa11"));
    with_pull["prNumber"] = 1.into();
    let mut suspended = told("c/4", "no_changes", None);
    suspended["callback"]["state"] = "suspended".into();
    let mut given_up = told("c/5", "no_changes", None);
    given_up["callback"]["state"] = "dead".into();
    let unpublished = told("c/6", "dry_run", Some("ff66"));
    let old = told("c/7", "no_changes", None);
    let mut crashed = told("c/8", "failed", None);
    crashed["reason"] = json!({"code": "crashed"});
    let mut kept = crashed.clone();
    (kept["branchName"], kept["worktreePath"]) = ("c/9".into(), "/w/job-k".into());
    let mut cancelled = told("c/9", "cancelled", None);
    (cancelled["attempts"], cancelled["startedAt"]) = (json!([]), Value::Null);
    cancelled["type"] = "job.cancelled".into();
    let in_vain = Accepted { root: "job-k".to_owned(), keeps: true, ..accepted("job-l", 10, Kind::InVain) };
    let mut late = told("c/11", "cancelled", None);
    (late["clientId"], late["completedAt"]) = ("cli-late".into(), "1970-01-01T00:00:00.050Z".into());
    let mut with_report = told("c/12", "branch_pushed", Some("ee12"));
    let report = report_text(7).into_bytes();
    with_report["metadata"] = json!({"n": 7});
    with_report["artifacts"] = json!([{"path": "out/report.txt", "bytes": report.len()}]);
    let all = [
        (accepted("job-a", 1, Kind::PullRequest), with_pull, 204),
        (accepted("job-b", 2, Kind::Edit), told("c/2", "branch_pushed", Some("bb22")), 204),
        (accepted("job-c", 3, Kind::NoChange), told("c/3", "no_changes", None), 204),
        (Accepted { hook: Hook::Gone, ..accepted("job-d", 4, Kind::NoChange) }, suspended, 410),
        (Accepted { hook: Hook::Broken, ..accepted("job-e", 5, Kind::NoChange) }, given_up, 500),
        (Accepted { repo: "acme/gone".to_owned(), ..accepted("job-f", 6, Kind::DryRun) }, unpublished, 204),
        (Accepted { age: Some(Age::Forgotten), ..accepted("job-g", 7, Kind::NoChange) }, old, 204),
        (accepted("job-h", 8, Kind::Crash), crashed.clone(), 204),
        (Accepted { keeps: true, ..accepted("job-k", 9, Kind::Forsaken) }, kept, 204),
        (in_vain, cancelled, 204),
        (Accepted { repo: "acme/late".to_owned(), ..accepted("job-m", 11, Kind::Late) }, late, 204),
        (accepted("job-n", 12, Kind::Keeps), with_report, 204),
    ];
    let mut evidence = Evidence { allowed: 3, integrity: "ok".to_owned(), ..Evidence::default() };
    for (job, told, status) in all {
        evidence.callbacks.push(callback(&job.id, &told, status));
        evidence.listed.push(job.id.clone());
        if job.kind != Kind::InVain {
            evidence.runs.push(format!("x1-{}-1-agent-1", job.number));
        }
        evidence.told.insert(job.id.clone(), told);
        evidence.accepted.push(job);
    }
    let broken: Vec<_> = evidence.callbacks.iter().filter(|one| one.status == 500).cloned().collect();
    evidence.callbacks.extend(std::iter::repeat_n(broken, CALLBACK_WAITS.len()).flatten());
    let history = vec![json!({"status": 500, "error": "answered 500"}); CALLBACK_WAITS.len() + 1];
    let listed = json!({"state": "dead", "lastError": "answered 500", "history": history});
    evidence.deliveries.insert("job-e".to_owned(), json!({"deliveries": [listed]}));
    evidence.dead.insert("job-e".to_owned());
    evidence.snapshots.insert("job-h".to_owned(), BTreeSet::from(["left-x1-8-1-agent-1".to_owned()]));
    evidence.commits.push(("x1-8-1-agent-1".to_owned(), "c0ffee".to_owned()));
    evidence.kept_commits.insert("job-h".to_owned(), BTreeSet::from(["c0ffee".to_owned()]));
    evidence.worktrees.insert("job-k".to_owned(), BTreeSet::from(["left-x1-9-1-agent-1".to_owned()]));
    evidence.deliveries.insert("job-l".to_owned(), json!({"deliveries": [{"state": "delivered"}]}));
    evidence.kept.insert(12, vec![("1/0".to_owned(), report)]);
    evidence.outputs.extend((1..=12).filter(|number| *number != 7 && *number != 10));
    evidence.forgotten.insert("job-g".to_owned());
    evidence.listed.retain(|id| id != "job-g");
    evidence.removed = removed();
    evidence.pulls.push(pull(1, "c/1", "job-a"));
    for (branch, commit) in [("main", "0000"), ("c/1", "aa11"), ("c/2", "bb22"), ("c/12", "ee12")] {
        evidence.tips.insert((REPO.to_owned(), branch.to_owned()), commit.to_owned());
    }
    evidence.watched.most = 3;
    evidence
}

fn tell<'a>(evidence: &'a mut Evidence, id: &str) -> &'a mut Value {
    evidence.told.get_mut(id).unwrap()
}

fn given_up(evidence: &mut Evidence) -> &mut Value {
    &mut evidence.deliveries.get_mut("job-e").unwrap()["deliveries"][0]
}

type Break = fn(&mut Evidence);

/// Each breaks the world in one way, and the named rule has to find it.
const BROKEN: &[(&str, Break)] = &[
    ("every accepted job ended", |e| tell(e, "job-b")["status"] = "running".into()),
    ("every accepted job ended", |e| drop(e.told.remove("job-b"))),
    ("every accepted job ended", |e| e.unfinished.push("not over".to_owned())),
    ("no job is lost or there twice", |e| drop(e.listed.pop())),
    ("no job is lost or there twice", |e| e.listed.push("job-a".to_owned())),
    ("no job is lost or there twice", |e| e.listed.push("job-z".to_owned())),
    ("each ended as it had to", |e| tell(e, "job-c")["outcome"] = "cancelled".into()),
    ("each ended as it had to", |e| {
        let job = tell(e, "job-b");
        job["outcome"] = "failed".into();
        job["reason"] = json!({"code": "interrupted"});
    }),
    ("one pull request per chain", |e| e.pulls.push(pull(2, "c/1", "job-a"))),
    ("one pull request per chain", |e| e.pulls.push(pull(2, "c/2", "job-b"))),
    ("one pull request per chain", |e| e.pulls.clear()),
    ("one pull request per chain", |e| e.pulls[0].body.clear()),
    ("the remote has the recorded commit", |e| tell(e, "job-b")["headSha"] = "cc33".into()),
    ("the remote has the recorded commit", |e| drop(e.tips.remove(&(REPO.to_owned(), "c/2".to_owned())))),
    ("the remote has the recorded commit", |e| {
        e.tips.insert((REPO.to_owned(), "c/3".to_owned()), "dd44".to_owned());
    }),
    ("every callback was accepted, or given up with a reason", |e| {
        e.callbacks.retain(|one| one.body["jobId"] != "job-b");
    }),
    ("every callback was accepted, or given up with a reason", |e| e.callbacks[0].status = 500),
    ("every callback was accepted, or given up with a reason", |e| {
        tell(e, "job-a")["callback"]["state"] = "dead".into();
    }),
    ("every callback was accepted, or given up with a reason", |e| {
        let mut twin = e.callbacks[0].clone();
        twin.bytes.push(b' ');
        e.callbacks.push(twin);
    }),
    ("every callback was accepted, or given up with a reason", |e| {
        let twin = Callback { id: "evt-other".to_owned(), ..e.callbacks[0].clone() };
        e.callbacks.push(twin);
    }),
    ("every callback was accepted, or given up with a reason", |e| {
        e.callbacks[1].body["headSha"] = "0".into();
    }),
    ("every callback was accepted, or given up with a reason", |e| e.callbacks[3].status = 204),
    ("every callback was accepted, or given up with a reason", |e| drop(e.callbacks.remove(7))),
    ("every callback was accepted, or given up with a reason", |e| e.dead.clear()),
    ("every callback was accepted, or given up with a reason", |e| {
        given_up(e)["lastError"] = Value::Null;
    }),
    ("every callback was accepted, or given up with a reason", |e| {
        given_up(e)["history"][1]["error"] = Value::Null;
    }),
    ("every callback was accepted, or given up with a reason", |e| {
        given_up(e)["history"].as_array_mut().unwrap().truncate(2);
    }),
    ("every callback was accepted, or given up with a reason", |e| {
        tell(e, "job-a")["callback"]["state"] = "dead".into();
        e.dead.insert("job-a".to_owned());
    }),
    ("what is old is forgotten, and nothing else", |e| e.forgotten.extend(["job-b".to_owned()])),
    ("what is old is forgotten, and nothing else", |e| e.forgotten.clear()),
    ("what is old is forgotten, and nothing else", |e| e.outputs.extend([7])),
    ("what is old is forgotten, and nothing else", |e| e.outputs.retain(|job| *job != 2)),
    ("what is old is forgotten, and nothing else", |e| e.accepted[1].age = Some(Age::Silent)),
    ("what is old is forgotten, and nothing else", |e| e.old_events = 1),
    ("a removed client is gone whole, its work kept", |e| e.removed[0].deleted_at = None),
    ("a removed client is gone whole, its work kept", |e| e.removed[0].clone_is_there = true),
    ("a removed client is gone whole, its work kept", |e| e.removed[0].kept.clear()),
    ("every callback was accepted, or given up with a reason", |e| e.unwanted.push("unsigned".to_owned())),
    ("never more running than may", |e| e.watched.most = 4),
    ("one live attempt", |e| e.watched.twins.extend(["job 1: {1, 2}".to_owned()])),
    ("an agent runs once per attempt", |e| e.runs.push("x1-2-1-agent-1".to_owned())),
    ("an agent runs once per attempt", |e| e.runs.push("x1-2-2-agent-1".to_owned())),
    ("an agent runs once per attempt", |e| e.runs.push("x1-9-1-agent-1".to_owned())),
    ("an agent runs once per attempt", |e| e.accepted[1].publishes = true),
    ("a kill of the server costs no attempt", |e| {
        tell(e, "job-b")["attempts"][0]["counted"] = true.into();
    }),
    ("no process is left", |e| e.processes.push("77 sleep".to_owned())),
    ("no worktree, half clone or lock is left", |e| e.leftovers.push("worktrees/x".to_owned())),
    ("the database is whole", |e| e.integrity = "row 1 missing from index".to_owned()),
    ("the repositories are whole", |e| e.broken.push("missing blob".to_owned())),
    ("no secret is anywhere", |e| e.secrets.push("server.log".to_owned())),
    ("no secret is anywhere", |e| e.watched.leaks.extend(["shown to git".to_owned()])),
    ("settled in time", |e| e.settled = SETTLED_MAX + Duration::from_millis(1)),
    ("nothing complained", |e| e.complaints.push("panicked".to_owned())),
    ("a removed client is gone whole, its work kept", |e| e.removed[1].clone_is_there = false),
    ("no worktree, half clone or lock is left", |e| {
        e.worktrees.insert("job-b".to_owned(), BTreeSet::new());
    }),
    ("no worktree, half clone or lock is left", |e| {
        e.accepted[8].age = Some(Age::Unkept);
        e.accepted[9].age = Some(Age::Unkept);
    }),
    ("no worktree, half clone or lock is left", |e| {
        e.removed.push(Removed { repo: REPO.to_owned(), with_clone: true, ..Removed::default() });
    }),
    ("a kept worktree stays its time, and is told", |e| e.worktrees.clear()),
    ("a kept worktree stays its time, and is told", |e| tell(e, "job-k")["worktreePath"] = Value::Null),
    ("a kept worktree stays its time, and is told", |e| tell(e, "job-k")["worktreePath"] = "/w/other".into()),
    ("a kept worktree stays its time, and is told", |e| tell(e, "job-l")["worktreePath"] = "/w/job-k".into()),
    ("a kept worktree stays its time, and is told", |e| tell(e, "job-b")["worktreePath"] = "/w/job-b".into()),
    ("a job that comes while its client is deleted is refused or ends", |e| e.removed[1].refused[0].0 = 404),
    ("a job that comes while its client is deleted is refused or ends", |e| {
        e.removed[1].refused[0].1["by"] = "name".into();
    }),
    ("a job that comes while its client is deleted is refused or ends", |e| {
        e.removed[1].refused[0].1["problem"]["errors"][0]["pointer"] = "/prompt".into();
    }),
    ("a job that comes while its client is deleted is refused or ends", |e| e.removed[1].forced = false),
    ("a job that comes while its client is deleted is refused or ends", |e| {
        tell(e, "job-m")["completedAt"] = "1970-01-01T00:00:00.101Z".into();
    }),
    ("a job that comes while its client is deleted is refused or ends", |e| {
        tell(e, "job-m")["clientId"] = "cli-heir".into();
    }),
    ("a job that comes while its client is deleted is refused or ends", |e| {
        e.removed[1].heirs.push("cli-heir".to_owned());
    }),
    ("what is cancelled before it begins does nothing", |e| tell(e, "job-l")["startedAt"] = "then".into()),
    ("what is cancelled before it begins does nothing", |e| {
        tell(e, "job-l")["attempts"] = json!([{"counted": false}]);
    }),
    ("what is cancelled before it begins does nothing", |e| e.runs.push("x1-10-1-agent-1".to_owned())),
    ("what is cancelled before it begins does nothing", |e| tell(e, "job-l")["status"] = "failed".into()),
    ("what is cancelled before it begins does nothing", |e| drop(e.deliveries.remove("job-l"))),
    ("what is cancelled before it begins does nothing", |e| {
        let all = e.callbacks.iter_mut().filter(|one| one.body["jobId"] == "job-l");
        all.for_each(|one| one.body["type"] = "job.failed".into());
    }),
    ("what is kept of a job is whole, and told", |e| e.kept.clear()),
    ("what is kept of a job is whole, and told", |e| e.kept.get_mut(&12).unwrap()[0].1.truncate(99)),
    ("what is kept of a job is whole, and told", |e| e.kept.get_mut(&12).unwrap()[0].1[3] = b'x'),
    ("what is kept of a job is whole, and told", |e| {
        e.kept.get_mut(&12).unwrap().push(("2/0".to_owned(), vec![]));
    }),
    ("what is kept of a job is whole, and told", |e| tell(e, "job-n")["artifacts"] = json!([])),
    ("what is kept of a job is whole, and told", |e| {
        tell(e, "job-n")["artifacts"] = json!([]);
        e.kept.clear();
    }),
    ("what is kept of a job is whole, and told", |e| tell(e, "job-n")["artifacts"][0]["path"] = "x".into()),
    ("what is kept of a job is whole, and told", |e| {
        drop(e.kept.insert(99, vec![("1/0".to_owned(), vec![])]));
    }),
    ("what is kept of a job is whole, and told", |e| e.accepted[11].age = Some(Age::Silent)),
    ("what a failed job left is kept", |it| it.worktrees.clear()),
    ("what a failed job left is kept", |it| it.snapshots.clear()),
    ("what a failed job left is kept", |it| it.kept_commits.clear()),
    ("what a failed job left is kept", |it| {
        it.runs.push("x1-8-2-agent-1".to_owned());
    }),
];

#[test]
fn a_sound_world_has_no_fault() {
    assert_eq!(audit(&sound()), Vec::<String>::new());
}

#[test]
fn every_rule_finds_its_fault() {
    for (at, (rule, break_it)) in BROKEN.iter().enumerate() {
        let mut evidence = sound();
        break_it(&mut evidence);
        let faults = audit(&evidence);
        assert!(faults.iter().any(|fault| fault.starts_with(rule)), "case {at}, {rule}: {faults:?}");
    }
    let shown: BTreeSet<_> = BROKEN.iter().map(|(rule, _)| *rule).collect();
    let all: BTreeSet<_> = RULES.iter().map(|(rule, _)| *rule).collect();
    assert_eq!(shown, all, "a rule that was never seen to fail");
}

#[test]
fn what_a_kill_explains_is_no_fault() {
    let mut evidence = sound();
    let job = tell(&mut evidence, "job-b");
    (job["status"], job["outcome"]) = ("failed".into(), "failed".into());
    job["reason"] = json!({"code": "interrupted"});
    job["headSha"] = Value::Null;
    job["attempts"] = json!([{"counted": true, "reason": {"code": "interrupted"}}]);
    evidence.callbacks[1] = callback("job-b", &evidence.told["job-b"].clone(), 204);
    evidence.tips.remove(&(REPO.to_owned(), "c/2".to_owned()));
    assert_eq!(audit(&evidence).len(), 2, "without a kill it is one");
    evidence.hurt.insert(2, 1);
    assert_eq!(audit(&evidence), Vec::<String>::new());
}

/// What fails once has had its once in the attempt that servers died over.
#[test]
fn what_deaths_of_servers_explain_is_no_fault() {
    let mut evidence = sound();
    let first = evidence.accepted.iter_mut().find(|job| job.id == "job-b").unwrap();
    (first.kind, first.publishes) = (Kind::CutOff, false);
    assert_eq!(audit(&evidence).len(), 1, "{:?}", audit(&evidence));
    let message = "The attempt was cut off. 3 servers in a row died over what it left.";
    let reason = json!({"code": "interrupted", "message": message});
    let job = tell(&mut evidence, "job-b");
    let mut attempts = job["attempts"].as_array().cloned().unwrap_or_default();
    attempts.insert(0, json!({"counted": false, "reason": reason}));
    job["attempts"] = json!(attempts);
    assert_eq!(audit(&evidence), Vec::<String>::new());
}
