//! Commits that an agent made on its branch and that its HEAD does not lead to when it ends: kept and told, whoever comes next.

use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::stand::Stand;

const GIT: &str = "git -c user.email=a@b.c -c user.name=a";

/// A script that makes three commits, `first`, `second` and `third`, on the branch that it is on.
fn three_commits() -> String {
    format!(
        "for name in first second third; do echo $name > $name.txt; git add -A; {GIT} commit -qm $name; done\n"
    )
}

async fn shell(stand: &Stand, branch: &str, script: &str, attempts: u32) -> String {
    let options = json!({"agent": "sh", "maxAttempts": attempts, "publish": "branch"});
    stand.submit(json!({"prompt": script, "branchName": branch, "options": options})).await
}

/// The one warning that names a ref, and that ref.
fn told(job: &Value) -> (String, String) {
    let warnings: Vec<_> = job["warnings"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    let about: Vec<_> = warnings.iter().filter(|text| text.contains("refs/offshoot/")).collect();
    let [text] = about[..] else { panic!("{warnings:?}") };
    let name = text.split_whitespace().find(|word| word.starts_with("refs/offshoot/")).unwrap();
    ((*text).to_owned(), name.trim_end_matches([';', ',', '.', ':']).to_owned())
}

/// The subjects of what a ref of the clone has and `main` has not, newest first.
fn log(stand: &Stand, name: &str) -> String {
    stand.git_clone(&["log", "--format=%s", &format!("refs/remotes/origin/main..{name}")])
}

#[tokio::test]
async fn commits_of_the_branch_that_the_end_does_not_lead_to_are_kept_and_told() {
    let stand = Stand::new().await;
    let rebase = format!("GIT_SEQUENCE_EDITOR=\"sed -i '1s/pick/edit/'\" {GIT} rebase -q -i HEAD~3");
    let detach = "git checkout -q --detach HEAD~2".to_owned();
    let to_base = "git checkout -q --detach HEAD~3".to_owned();
    let foreign = format!(
        "git checkout -q --orphan other; {GIT} commit -qm foreign; git checkout -q --detach; git branch -qD other"
    );
    // how it leaves its HEAD, how it ends, and what becomes of the job
    let cases = [
        (&rebase, "exit 5", "failed"),
        (&detach, "exit 5", "failed"),
        (&detach, "exit 0", "branch_pushed"),
        (&to_base, "exit 0", "no_changes"),
        // its end is stored before its worktree is swept
        (&foreign, "exit 0", "failed"),
    ];
    for (number, (leaves, ends, expected)) in cases.into_iter().enumerate() {
        let branch = format!("b{number}");
        let id = shell(&stand, &branch, &format!("{}{leaves}\n{ends}", three_commits()), 1).await;
        let job = stand.wait_for(&id, "over", |job| job["completedAt"].is_string()).await;
        assert_eq!(job["outcome"], expected, "{leaves} {ends}: {job:#}");
        let (text, name) = told(&job);
        assert_eq!(name, format!("refs/offshoot/{id}/1-branch"), "{text}");
        assert!(text.contains(&format!("offshoot rescue {}", job["number"])), "{text}");
        assert_eq!(log(&stand, &name), "third\nsecond\nfirst", "{leaves} {ends}");
        stand.wait_until("the worktree is gone", async || stand.worktrees().is_empty().then_some(())).await;
        stand.post("/gc", &json!({})).await;
        let list = stand.get(&format!("/jobs/{id}/snapshots")).await;
        let names: Vec<_> = list["snapshots"].as_array().unwrap().iter().map(|one| &one["name"]).collect();
        assert!(names.contains(&&json!("1-branch")), "{leaves} {ends}: {list:#}");
        let branches = || stand.git_clone(&["for-each-ref", "--format=%(refname)", "refs/heads"]);
        stand.wait_until("the branch is gone", async || branches().is_empty().then_some(())).await;
    }
    // what is told of is in nobody's way: nothing is kept twice, or of those who end where their branch is
    let plain = shell(&stand, "plain", &format!("{}exit 5", three_commits()), 1).await;
    let job = stand.failed(&plain, "crashed").await;
    let kept = stand.git_clone(&["for-each-ref", "--format=%(refname)", &format!("refs/offshoot/{plain}")]);
    assert_eq!((kept, &job["warnings"]), (format!("refs/offshoot/{plain}/1-end"), &json!([])));
    stand.finish().await;
}

/// Each attempt begins its branch anew.
#[tokio::test]
async fn the_commits_of_each_attempt_are_kept() {
    let stand = Stand::new().await;
    let script = format!(
        "{}git rev-parse HEAD >> {}\ngit checkout -q --detach HEAD~2\nexit 5",
        three_commits().replace("echo $name", "echo $OFFSHOOT_STEP"),
        stand.path("tips").display()
    );
    let id = shell(&stand, "each", &script, 2).await;
    stand.failed(&id, "crashed").await;
    let tips = std::fs::read_to_string(stand.path("tips")).unwrap();
    assert_eq!(tips.lines().count(), 2);
    for tip in tips.lines() {
        let args = ["for-each-ref", "--contains", tip, "--format=%(refname)", "refs/offshoot"];
        assert_eq!(
            stand.git_clone(&args),
            format!("refs/offshoot/{id}/2-branch{}", if tips.starts_with(tip) { "" } else { "-2" })
        );
    }
    stand.finish().await;
}

/// A `claude` that commits three times when it is started first and leaves its HEAD at the first of the commits.
fn install_detaching_claude(stand: &Stand) {
    let own = env!("CARGO_BIN_EXE_offshoot");
    let once = stand.path("detached");
    let script = format!(
        "#!/bin/sh\ncase \"$1\" in --version|auth) exec {own} scripted-agent \"$@\";; esac\n\
         [ -e {once} ] || {{ touch {once}; {}git checkout -q --detach HEAD~2; }}\n\
         exec {own} scripted-agent \"$@\"\n",
        three_commits(),
        once = once.display(),
    );
    stand.install("claude", &script);
}

#[tokio::test]
async fn whoever_goes_on_with_less_than_the_branch_has_is_told() {
    let stand = Stand::new().await;
    for by_retry in [false, true] {
        let _ = std::fs::remove_file(stand.path("detached"));
        install_detaching_claude(&stand);
        let branch = if by_retry { "retried" } else { "killed" };
        let once = stand.path(&format!("{branch}-once"));
        let stops = if by_retry {
            format!("[[scenario:api-error once={}]]", once.display())
        } else {
            format!("[[scenario:gate file={} once={}]]", stand.gate("never").display(), once.display())
        };
        // a first tool shows that it has come so far
        let prompt = format!(
            "[[scenario:write path=half.txt content=half]]{stops}[[scenario:write path=rest.txt content=rest]]"
        );
        let first = stand
            .submit(json!({"prompt": prompt, "branchName": branch, "options": {"publish": "branch"}}))
            .await;
        let id = if by_retry {
            stand.failed(&first, "api_error").await;
            stand.retry(&first, json!({"mode": "resume"})).await
        } else {
            stand.wait_for_tool(&first).await;
            let shim = stand.job(&first).await["pid"].as_i64().unwrap();
            kill(Pid::from_raw(i32::try_from(shim).unwrap()), Signal::SIGKILL).unwrap();
            first.clone()
        };
        let job = stand.completed(&id).await;
        let kept = format!("refs/offshoot/{first}/{}-branch", if by_retry { 1 } else { 2 });
        let (text, name) = told(&job);
        assert_eq!(name, kept, "{text}");
        assert!(text.contains("goes on without") && text.contains("offshoot rescue"), "{text}");
        assert_eq!(log(&stand, &kept), "third\nsecond\nfirst");
        assert_eq!(
            stand.git(&["log", "--format=%s", &format!("main..{branch}")]),
            format!("feat: {branch}\nfirst")
        );
    }
    stand.finish().await;
}

/// What a worktree that is kept has only on its branch outlives all jobs of other chains on that branch: those that end before they
/// have a worktree, and those that have.
#[tokio::test]
async fn the_branch_of_a_kept_worktree_is_left_alone_by_jobs_that_get_none() {
    let stand = Stand::new().await;
    let dry = json!({"agent": "sh", "publish": "none"});
    let dry =
        stand.submit(json!({"prompt": "echo dry > dry.txt", "branchName": "both", "options": dry})).await;
    stand.completed(&dry).await;
    let options = json!({"agent": "sh", "keepWorktree": true, "maxAttempts": 1});
    let kept = stand
        .submit(
            json!({"prompt": format!("{}exit 5", three_commits()), "branchName": "both", "options": options}),
        )
        .await;
    let worktree = stand.failed(&kept, "crashed").await["worktreePath"].as_str().unwrap().to_owned();
    let tip = stand.git_clone(&["rev-parse", "refs/heads/both"]);
    let in_worktree = |args: &[&str]| {
        let output = crate::git_fixture::run(std::path::Path::new(&worktree), args).stdout;
        String::from_utf8(output).unwrap().trim_end().to_owned()
    };

    // it never comes to a worktree
    let nowhere =
        json!({"prompt": "exit 0", "branchName": "both", "baseBranch": "nope", "options": {"agent": "sh"}});
    let nowhere = stand.submit(nowhere).await;
    stand.failed(&nowhere, "base_not_found").await;
    assert_eq!(in_worktree(&["rev-parse", "HEAD"]), tip);
    // it publishes what is there
    let publishes = stand.retry(&dry, json!({})).await;
    let job = stand.completed(&publishes).await;
    assert_eq!((&job["outcome"], stand.runs()), (&json!("pull_request"), 0), "{job:#}");
    assert_eq!(in_worktree(&["rev-parse", "HEAD"]), tip);
    assert_eq!(in_worktree(&["status", "--porcelain"]), "");
    // it moves the branch: the kept one stays at its commit
    let moves = shell(&stand, "both", "echo more > more.txt", 1).await;
    stand.completed(&moves).await;
    assert_eq!(in_worktree(&["rev-parse", "HEAD"]), tip);
    assert_eq!(in_worktree(&["status", "--porcelain"]), "");
    assert_eq!(in_worktree(&["log", "--format=%s", "-3"]), "third\nsecond\nfirst");
    stand.finish_leaving(&[&kept]).await;
}

/// A person may look at a worktree for days; what its branch has beside it is kept when it goes.
#[tokio::test]
async fn a_kept_worktree_is_swept_with_its_branch() {
    let mut stand = Stand::new().await;
    let script = format!("{}git checkout -q --detach HEAD~2; exit 5", three_commits());
    let options = json!({"agent": "sh", "keepWorktree": true, "maxAttempts": 1});
    let id = stand.submit(json!({"prompt": script, "branchName": "seen", "options": options})).await;
    stand.failed(&id, "crashed").await;
    stand.terminate(Duration::from_secs(10)).await;
    let long_ago = 8 * 24 * 3_600_000;
    let database = rusqlite::Connection::open(stand.path("data/offshoot.db")).unwrap();
    let age = "UPDATE jobs SET completed_at = completed_at - ?2, updated_at = updated_at - ?2 WHERE id = ?1";
    assert_eq!(database.execute(age, rusqlite::params![id, long_ago]).unwrap(), 1);
    drop(database);
    stand.start().await;
    stand.wait_until("it is swept", async || stand.worktrees().is_empty().then_some(())).await;
    let refs = ["for-each-ref", "--format=%(refname)", "refs/heads", "refs/offshoot"];
    let expected = format!("refs/offshoot/{id}/1-branch\nrefs/offshoot/{id}/1-swept");
    stand.wait_until("its branch goes", async || (stand.git_clone(&refs) == expected).then_some(())).await;
    assert_eq!(log(&stand, &format!("refs/offshoot/{id}/1-branch")), "third\nsecond\nfirst");
    stand.finish().await;
}
