//! What a visitor or an agent leaves that is no result, on a whole server: nothing of it is published, nothing of it is lost.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::life_attach::{BAD, KEY, at_work, attach, attempts, by_hand, count, detach, submit, taken};
use crate::stand::Stand;

const GIT: &str = "git -c user.email=a@b.c -c user.name=a";

fn run_in(worktree: &Path, script: &str) {
    let run = Command::new("sh").args(["-c", script]).current_dir(worktree).output().unwrap();
    assert!(run.status.success(), "{script}: {}", String::from_utf8_lossy(&run.stderr));
}

/// Commits what is there, and a history that builds on nothing.
fn rewrite(branch: &str) -> String {
    format!("git checkout -q --orphan {branch}-anew && git add -A && {GIT} commit -qm mine")
}

/// Two commits that give `a.txt` different contents, and a merge of them that waits for a person.
fn conflict(branch: &str) -> String {
    format!(
        "echo one > a.txt && git add -A && {GIT} commit -qm one && git checkout -q -b {branch}-other HEAD~1 \
         && echo other > a.txt && git add -A && {GIT} commit -qm two && ! {GIT} merge -q - > /dev/null 2>&1"
    )
}

async fn kept(stand: &Stand, id: &str) -> String {
    let list = stand.get(&format!("/jobs/{id}/snapshots")).await;
    let mut all = String::new();
    for one in list["snapshots"].as_array().unwrap() {
        all += &stand.get_text(&format!("/jobs/{id}/snapshots/{}", one["name"].as_str().unwrap())).await;
    }
    all
}

fn warnings(job: &Value) -> String {
    job["warnings"].to_string()
}

#[tokio::test]
async fn work_by_hand_whose_history_was_rewritten_ends_the_job_and_is_kept() {
    let stand = Stand::new().await;
    stand.install_noting_claude("");
    for (branch, goes_on) in [("o", "publish"), ("p", "agent")] {
        let (id, worktree) = by_hand(&stand, branch, json!({})).await;
        run_in(&worktree, &rewrite(branch));
        assert_eq!(detach(&stand, &id, goes_on).await.0, 200);
        let job = stand.failed(&id, "history_rewritten").await;
        assert!(job["reason"]["message"].as_str().unwrap().contains("refs/offshoot/"), "{job:#}");
        assert!(kept(&stand, &id).await.contains("by-hand.txt"));
    }
    assert_eq!(stand.runs(), 2);
    stand.finish().await;
}

#[tokio::test]
async fn work_of_an_agent_that_is_left_out_is_told() {
    let stand = Stand::new().await;
    let own = env!("CARGO_BIN_EXE_offshoot");
    stand.install(
        "claude",
        &format!(
            "#!/bin/sh\ncase \"$1\" in --version|auth) exec {own} scripted-agent \"$@\";; esac\n\
             case \"$*\" in *--resume=*) ;; *) echo lost > lost.txt; {};; esac\nexec {own} scripted-agent \"$@\"\n",
            rewrite("u")
        ),
    );
    let once = stand.gate("once");
    let prompt = format!("{BAD}[[scenario:usage-limit in=3600 once={}]]", once.display());
    let id = submit(&stand, "u", &prompt, json!({})).await;
    stand.wait_for(&id, "it waits", |job| job["waiting"]["for"] == "usage_limit").await;
    stand.post("/queue/try-now", &json!({})).await;
    let job = stand.completed(&id).await;
    assert!(warnings(&job).contains("Newer work is left out"), "{job:#}");
    assert!(kept(&stand, &id).await.contains("lost.txt"));
    stand.finish().await;
}

#[tokio::test]
async fn a_worktree_that_is_gone_or_in_the_middle_of_a_merge_is_not_published() {
    let stand = Stand::new().await;
    stand.install_noting_claude("");
    let id = at_work(&stand, "g", json!({})).await;
    let (_, worktree) = taken(&stand, &id).await;
    std::fs::remove_dir_all(&worktree).unwrap();
    let (status, refused) = detach(&stand, &id, "publish").await;
    assert_eq!((status, &refused["code"]), (409, &json!("worktree_gone")), "{refused:#}");
    assert_eq!(detach(&stand, &id, "agent").await.0, 200);
    stand.completed(&id).await;
    let id = at_work(&stand, "m", json!({})).await;
    let (_, worktree) = taken(&stand, &id).await;
    run_in(&worktree, &conflict("m"));
    let (status, refused) = detach(&stand, &id, "publish").await;
    assert_eq!((status, &refused["code"]), (409, &json!("work_unfinished")), "{refused:#}");
    assert!(refused["detail"].as_str().unwrap().contains("a merge that is not finished: a.txt"));
    // he has it still
    assert_eq!(attach(&stand, &id, KEY).await.0, 200);
    run_in(&worktree, "git checkout -q --ours a.txt && git add a.txt");
    assert_eq!(detach(&stand, &id, "publish").await.0, 200);
    stand.completed(&id).await;
    assert_eq!(stand.git(&["show", "m:a.txt"]), "other");
    stand.finish().await;
}

#[tokio::test]
async fn a_program_is_asked_to_end_before_it_is_killed() {
    let stand = Stand::new().await;
    stand.install_noting_claude("");
    let id = at_work(&stand, "e", json!({})).await;
    let (answer, worktree) = taken(&stand, &id).await;
    let (there, right) = (stand.path("there"), stand.path("put-right"));
    let script = format!(
        "trap 'echo yes > {}; exit 0' TERM HUP; touch {}; while :; do sleep 0.05; done",
        right.display(),
        there.display()
    );
    let env = answer["env"].as_object().unwrap();
    let mut program = Command::new("sh")
        .args(["-c", &script])
        .current_dir(worktree)
        .envs(env.iter().map(|(name, value)| (name.as_str(), value.as_str().unwrap())))
        .spawn()
        .unwrap();
    stand.wait_until("it runs", async || there.exists().then_some(())).await;
    assert_eq!(stand.cancel(&id).await.0, 200);
    assert!(program.wait().unwrap().success());
    assert_eq!(std::fs::read_to_string(right).unwrap(), "yes\n");
    stand.finish().await;
}

#[tokio::test]
async fn settings_that_a_visitor_makes_are_put_back_and_those_before_him_keep_him_out() {
    let stand = Stand::new().await;
    stand.install_noting_claude("");
    let id = at_work(&stand, "s", json!({})).await;
    let (_, worktree) = taken(&stand, &id).await;
    let config = stand.clone_path().join("config");
    let whole = std::fs::read(&config).unwrap();
    let settings = "git config user.email me@x.example && git config core.hooksPath hooks && git remote add up ../up \
                    && git switch -q -c mine --track origin/main";
    run_in(&worktree, settings);
    run_in(&worktree, &format!("echo mine > mine.txt && git add -A && {GIT} commit -qm mine"));
    assert_ne!(std::fs::read(&config).unwrap(), whole);
    assert_eq!(detach(&stand, &id, "publish").await.0, 200);
    let job = stand.completed(&id).await;
    assert!(warnings(&job).contains("git config --global"), "{job:#}");
    assert_eq!(
        (std::fs::read(&config).unwrap(), stand.git(&["show", "s:mine.txt"]).as_str()),
        (whole, "mine")
    );
    // what an agent has set is not excused by a visit
    let id = at_work(&stand, "t", json!({})).await;
    run_in(
        Path::new(stand.job(&id).await["worktreePath"].as_str().unwrap()),
        "git config core.fsmonitor evil",
    );
    let (status, refused) = attach(&stand, &id, KEY).await;
    assert_eq!((status, &refused["code"]), (409, &json!("repo_tampered")), "{refused:#}");
    let job = stand.wait_for(&id, "it waits for a person", |job| job["waiting"]["for"] == "paused").await;
    assert_eq!(stand.cancel(&id).await.0, 200, "{job:#}");
    stand.finish().await;
}

#[tokio::test]
async fn a_merge_that_an_agent_leaves_unfinished_goes_back_to_it() {
    let stand = Stand::new().await;
    stand.install_noting_claude("git merge --abort");
    let (own, noting) = (stand.path("agents"), stand.path("agents/noting"));
    std::fs::rename(own.join("claude"), &noting).unwrap();
    let exec = format!("exec {} \"$@\"", noting.display());
    let leaves = format!("case \"$*\" in *--session-id=*) {};; esac", conflict("m"));
    stand.install("claude", &format!("#!/bin/sh\n{leaves}\n{exec}\n"));
    let options = json!({"verifyRounds": 0, "verify": ["test \"$(cat a.txt)\" = other"]});
    let id = submit(&stand, "m", "[[scenario:write path=b.txt]]", options).await;
    let job = stand.completed(&id).await;
    assert_eq!((stand.git(&["show", "m:a.txt"]).as_str(), attempts(&job)), ("other", 1), "{job:#}");
    assert_eq!(count(&stand, "`git status` shows a merge that is not finished: a.txt"), 1);
    // what cannot be told anything ends with it
    let id = submit(&stand, "s", &conflict("s"), json!({"agent": "sh"})).await;
    let job = stand.failed(&id, "verify_failed").await;
    assert!(job["reason"]["message"].as_str().unwrap().contains("a merge that is not finished"), "{job:#}");
    stand.finish().await;
}
