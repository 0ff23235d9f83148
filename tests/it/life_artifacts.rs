//! Files that are kept beyond their worktree, on a whole server: which, until when, and what becomes of a job without them.

use std::path::Path;

use serde_json::{Value, json};

use crate::rescue::offshoot;
use crate::stand::{Plan, REPO, SECRET, Stand};

async fn submit(stand: &Stand, branch: &str, prompt: &str, options: Value) -> String {
    let mut all = json!({"agent": "sh", "publish": "branch"});
    all.as_object_mut().unwrap().extend(options.as_object().unwrap().clone());
    stand.submit(json!({"prompt": prompt, "branchName": branch, "options": all})).await
}

/// Makes a change, and a report that is ignored.
const REPORTS: &str = "echo out/ > .gitignore; echo done > done.txt; mkdir -p out/deep; \
                       printf report > out/report.html; printf more > out/deep/more.html";

fn kept(job: &Value) -> Vec<(String, u64)> {
    let one = |it: &Value| (it["path"].as_str().unwrap().to_owned(), it["bytes"].as_u64().unwrap());
    job["artifacts"].as_array().unwrap().iter().map(one).collect()
}

fn both() -> Vec<(String, u64)> {
    vec![("out/deep/more.html".to_owned(), 4), ("out/report.html".to_owned(), 6)]
}

/// The directories of attempts below that of a job; none where there is no such directory.
fn attempts(stand: &Stand, number: u64) -> Vec<String> {
    let dir = stand.path("data/artifacts").join(number.to_string());
    let entries = std::fs::read_dir(dir).into_iter().flatten();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort_unstable();
    names
}

#[tokio::test]
async fn ignored_files_are_kept_with_the_work_and_handed_out_after_the_worktree_is_gone() {
    let mut stand = Stand::new().await;
    let id = submit(&stand, "r", REPORTS, json!({"artifacts": ["out/**"]})).await;
    let job = stand.completed(&id).await;
    assert_eq!((kept(&job), &job["outcome"]), (both(), &json!("branch_pushed")), "{job:#}");
    assert_eq!(job["worktreePath"], Value::Null);
    assert_eq!(stand.git(&["ls-tree", "-r", "--name-only", "r"]).matches("out/").count(), 0);
    let listed = stand.get("/jobs").await;
    assert_eq!(kept(&listed["jobs"][0]), both());

    stand.kill9().await;
    stand.start().await;
    let url = format!("{}/jobs/1/artifacts/out/report.html", stand.base_url());
    let answer = reqwest::Client::new().get(&url).bearer_auth(SECRET).send().await.unwrap();
    let header = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
    assert_eq!(answer.status(), 200);
    assert_eq!(header("content-type"), "application/octet-stream");
    assert_eq!(header("content-length"), "6");
    assert_eq!(header("x-content-type-options"), "nosniff");
    assert_eq!(header("content-disposition"), "attachment; filename*=UTF-8''report.html");
    assert_eq!(answer.text().await.unwrap(), "report");
    assert_eq!(stand.get_text(&format!("/jobs/{id}/artifacts/out%2Fdeep%2Fmore.html")).await, "more");
    let refused = reqwest::Client::new().get(&url).send().await.unwrap();
    assert_eq!(refused.status(), 401);
    stand.finish().await;
}

#[tokio::test]
async fn the_command_line_lists_and_saves_them_and_overwrites_nothing() {
    let stand = Stand::new().await;
    let id = submit(&stand, "r", REPORTS, json!({"artifacts": ["out"]})).await;
    stand.completed(&id).await;
    let (code, out, err) = offshoot(&stand, &["artifacts", "1"]).await;
    assert!(code == 0 && out.contains("6 B   out/report.html"), "{out}{err}");
    assert!(err.contains("offshoot artifacts 1 --into DIR"), "{err}");
    let (_, out, _) = offshoot(&stand, &["artifacts", "1", "out/*.html", "--json"]).await;
    let listed: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(listed, json!([{"path": "out/report.html", "bytes": 6}]));
    assert!(offshoot(&stand, &["show", "1"]).await.1.contains("offshoot artifacts 1"));

    let into = stand.path("saved");
    let target = into.to_str().unwrap();
    let (code, out, err) = offshoot(&stand, &["artifacts", "1", "--into", target]).await;
    assert!(code == 0 && out.starts_with("Saved 2 files, 10 B, in "), "{out}{err}");
    let read = |path: &Path| std::fs::read_to_string(path).unwrap();
    assert_eq!(
        (read(&into.join("out/report.html")), read(&into.join("out/deep/more.html"))),
        ("report".into(), "more".into())
    );
    std::fs::write(into.join("out/report.html"), "mine").unwrap();
    let (code, _, err) = offshoot(&stand, &["artifacts", "1", "--into", target]).await;
    assert!(code == 6 && err.contains("exists already"), "{code} {err}");
    assert_eq!(read(&into.join("out/report.html")), "mine");
    let file = stand.path("one.html");
    let (code, _, err) =
        offshoot(&stand, &["artifacts", "1", "out/*.html", "-o", file.to_str().unwrap()]).await;
    assert_eq!((code, read(&file)), (0, "report".to_owned()), "{err}");
    let (_, out, _) = offshoot(&stand, &["artifacts", "1", "**/more.html", "-o", "-"]).await;
    assert_eq!(out, "more");
    let half = std::fs::read_dir(into.join("out")).unwrap().count()
        + std::fs::read_dir(stand.dir())
            .unwrap()
            .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with(".one"))
            .count();
    assert_eq!(half, 2, "nothing half is left");
    for (arguments, expected, said) in [
        (&["artifacts", "1", "nothing", "--into", "x"][..], 5, "none of the files"),
        (&["artifacts", "1", "-o", "x"], 2, "--output takes one file, and 2 fit"),
        (&["artifacts", "9"], 5, "not found"),
    ] {
        let (code, out, err) = offshoot(&stand, arguments).await;
        assert!(code == expected && err.contains(said), "{arguments:?}: {code} {out}{err}");
    }
    stand.finish().await;
}

#[tokio::test]
async fn a_name_as_long_as_names_can_be_is_saved_and_one_that_cannot_be_keeps_none_from_it() {
    let stand = Stand::new().await;
    let long = "n".repeat(255);
    let id = submit(
        &stand,
        "l",
        &format!("mkdir out; echo a > out/a; echo b > out/b; echo c > out/{long}"),
        json!({"artifacts": ["out"]}),
    )
    .await;
    stand.completed(&id).await;
    let into = stand.path("saved");
    let target = into.to_str().unwrap();
    let (code, out, err) = offshoot(&stand, &["artifacts", "1", "--into", target]).await;
    assert!(code == 0 && out.starts_with("Saved 3 files"), "{code} {out}{err}");
    assert_eq!(std::fs::read_to_string(into.join("out").join(&long)).unwrap(), "c\n");
    std::fs::remove_dir_all(&into).unwrap();
    // what is kept of the first is gone
    let kept = stand.path("data/artifacts/1/1");
    std::fs::remove_file(kept.join("0")).unwrap();
    let (code, _, err) = offshoot(&stand, &["artifacts", "1", "--into", target]).await;
    assert!(code != 0 && err.contains("1 of 3 files could not be saved"), "{code} {err}");
    assert_eq!(std::fs::read_dir(into.join("out")).unwrap().count(), 2);
    stand.finish().await;
}

/// The work is paid for: it is committed, and may be published without the file.
#[tokio::test]
async fn a_missing_file_ends_the_job_before_the_push_and_the_work_can_be_published_all_the_same() {
    let stand = Stand::new().await;
    let runs = stand.path("count");
    let prompt = format!(
        "echo run >> {}; {REPORTS}; test ! -e {} || echo now > late.txt",
        runs.display(),
        stand.gate("late").display()
    );
    let globs = json!({"artifacts": ["out/*.html", "late.txt", "coverage/**"]});
    let id = submit(&stand, "m", &prompt, globs).await;
    let job = stand.failed(&id, "artifact_missing").await;
    let message = job["reason"]["message"].as_str().unwrap();
    assert!(message.ends_with("Nothing was kept for \"late.txt\", \"coverage/**\"."), "{message}");
    assert!(job["reason"]["hint"].as_str().unwrap().contains("offshoot retry 1 --publish"), "{job:#}");
    assert_eq!(kept(&job), [("out/report.html".to_owned(), 6)], "what is there is kept");
    let attempts = job["attempts"].as_array().unwrap();
    assert_eq!((attempts.len(), &attempts[0]["counted"]), (1, &json!(false)));
    assert_eq!((stand.tip("m"), job["headSha"].is_string()), (None, true));
    assert_eq!(stand.callback(&id).await.body["reason"]["code"], "artifact_missing");

    let again = stand.retry(&id, json!({"mode": "publish"})).await;
    let published = stand.completed(&again).await;
    assert_eq!(stand.tip("m").as_deref(), job["headSha"].as_str());
    assert_eq!(kept(&published), kept(&job), "they came with the commit");
    assert_eq!(std::fs::read_to_string(&runs).unwrap().lines().count(), 1);
    stand.finish().await;
}

#[tokio::test]
async fn a_retry_of_a_job_without_its_file_runs_the_agent_again() {
    let stand = Stand::new().await;
    let prompt = format!("{REPORTS}; test ! -e {} || echo now > late.txt", stand.gate("late").display());
    let id = submit(&stand, "m", &prompt, json!({"artifacts": ["late.txt"]})).await;
    stand.failed(&id, "artifact_missing").await;
    stand.open_gate("late");
    let again = stand.retry(&id, json!({})).await;
    let job = stand.completed(&again).await;
    assert_eq!(kept(&job), [("late.txt".to_owned(), 4)], "{job:#}");
    stand.finish().await;
}

/// Nobody reads a report of tests so closely as after they have failed.
#[tokio::test]
async fn what_a_job_has_failed_with_is_kept_as_far_as_it_goes_and_changes_no_end() {
    let stand = Stand::new().await;
    let globs = json!(["out/**", "never"]);
    let verify = json!(["printf red > out/tests.html; exit 1"]);
    let rows = [
        ("verify_failed", REPORTS, json!({"verify": verify, "verifyRounds": 0}), 3),
        ("setup_failed", REPORTS, json!({"setup": ["mkdir out; printf x > out/setup.log; exit 1"]}), 1),
        ("timeout", "mkdir out; printf x > out/half.log; sleep 1000", json!({"timeoutSeconds": 1}), 1),
    ];
    for (code, prompt, mut options, count) in rows {
        options["artifacts"] = globs.clone();
        let id = submit(&stand, code, prompt, options).await;
        let job = stand.failed(&id, code).await;
        assert_eq!(kept(&job).len(), count, "{job:#}");
        assert!(!job["reason"]["message"].as_str().unwrap().contains("kept"), "{job:#}");
        let path = kept(&job)[0].0.clone();
        stand.get_text(&format!("/jobs/{id}/artifacts/{path}")).await;
    }
    // what is cancelled is not looked at
    let id =
        submit(&stand, "c", "mkdir out; printf x > out/a; sleep 1000", json!({"artifacts": globs})).await;
    stand.wait_for_phase(&id, "agent").await;
    assert_eq!(stand.cancel(&id).await.0, 200);
    assert_eq!(stand.job(&id).await["artifacts"], json!([]));
    stand.finish().await;
}

#[tokio::test]
async fn a_job_that_changes_nothing_keeps_its_report_and_fails_without_one() {
    let stand = Stand::new().await;
    stand.foreign_commit("main", ".gitignore", "out/\n");
    let report = "mkdir out; printf x > out/a";
    let id = submit(&stand, "n", report, json!({"artifacts": ["out/a"]})).await;
    let job = stand.completed(&id).await;
    assert_eq!(
        (&job["outcome"], kept(&job)),
        (&json!("no_changes"), vec![("out/a".to_owned(), 1)]),
        "{job:#}"
    );
    let id = submit(&stand, "o", "true", json!({"artifacts": ["out/a"]})).await;
    let job = stand.failed(&id, "artifact_missing").await;
    assert_eq!((&job["headSha"], stand.tip("o")), (&Value::Null, None), "{job:#}");
    stand.finish().await;
}

#[tokio::test]
async fn secrets_that_were_copied_in_are_not_kept_and_too_much_is_told() {
    let plan =
        Plan { limits: "artifact_bytes_max = 1000\njob_artifacts_max = 2".to_owned(), ..Plan::default() };
    let stand = Stand::with(plan).await;
    let dir = stand.path("data/files").join(REPO);
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join(".env"), "KEY=1").unwrap();
    let prompt = "test -s .env || exit 9; ln -s /etc/passwd l.txt; ln .env e.txt; seq 1 1000 > big.txt; \
                  echo 1 > 1.txt; echo 2 > 2.txt; echo 3 > 3.txt";
    let options = json!({"copyFiles": [".env"], "artifacts": ["*.txt", ".env*"]});
    let id = submit(&stand, "s", prompt, options).await;
    let job = stand.failed(&id, "artifact_missing").await;
    assert_eq!(kept(&job), [("1.txt".to_owned(), 2), ("2.txt".to_owned(), 2)], "{job:#}");
    let warnings = job["warnings"].to_string();
    for said in [
        "artifacts: .env: not kept: a file of copyFiles",
        "artifacts: e.txt: not kept: a file of copyFiles",
        "artifacts: l.txt: not kept: a link",
        "artifacts: big.txt: not kept: larger than one file may be (limits.artifact_bytes_max)",
        "artifacts: 3.txt: not kept: more files than may be (limits.job_artifacts_max)",
    ] {
        assert!(warnings.contains(said), "{said}: {job:#}");
    }
    stand.finish().await;
}

/// Files belong to the commit that they were made with, whoever publishes it.
#[tokio::test]
async fn a_commit_is_published_with_its_own_files_and_never_with_those_of_another() {
    let stand = Stand::new().await;
    stand.post("/clients", &json!({"name": "w", "githubOrg": "acme", "githubRepo": "widgets"})).await;
    let client = stand.get("/clients").await["clients"][0]["id"].as_str().unwrap().to_owned();
    let keeps = async |globs: Value| {
        let body = json!({"options": {"artifacts": globs}});
        let answer = stand.call("PATCH", &format!("/clients/{client}"), Some(&body)).await;
        assert_eq!(answer.0, 200, "{}", answer.1);
    };
    keeps(json!(["out"])).await;
    let first = submit(&stand, "f", REPORTS, json!({"publish": "none"})).await;
    assert_eq!(kept(&stand.completed(&first).await), both());
    keeps(json!([])).await;
    let again = stand.retry(&first, json!({"mode": "fresh"})).await;
    assert_eq!(kept(&stand.completed(&again).await), []);
    let published = stand.retry(&again, json!({"mode": "publish"})).await;
    let job = stand.completed(&published).await;
    assert_eq!((kept(&job), &job["outcome"]), (vec![], &json!("pull_request")), "{job:#}");
    stand.finish().await;
}

/// A dry run and the job that publishes it: either has the files, whichever is forgotten first.
#[tokio::test]
async fn they_go_after_their_days_and_with_their_job_and_half_copies_at_once() {
    let plan = Plan { config: "[retention]\nartifact_days = 2\n".to_owned(), ..Plan::default() };
    let stand = Stand::with(plan).await;
    let dry = submit(&stand, "d", REPORTS, json!({"artifacts": ["out"], "publish": "none"})).await;
    stand.completed(&dry).await;
    let published = stand.retry(&dry, json!({})).await;
    let job = stand.completed(&published).await;
    assert_eq!((kept(&job), &job["outcome"]), (both(), &json!("pull_request")), "{job:#}");
    for id in [&dry, &published] {
        stand.callback(id).await;
    }
    for job in [1, 2] {
        assert_eq!(stand.get_text(&format!("/jobs/{job}/artifacts/out/report.html")).await, "report");
    }
    // of a server that was killed while it copied
    let half = stand.path("data/artifacts/2/7");
    std::fs::create_dir(&half).unwrap();
    std::fs::write(half.join("0"), "half").unwrap();
    // of a job that the database does not know
    std::fs::create_dir_all(stand.path("data/artifacts/99/1")).unwrap();
    let older = |id: &str, days: i64| {
        let database = rusqlite::Connection::open(stand.path("data/offshoot.db")).unwrap();
        let sql = "UPDATE jobs SET completed_at = completed_at - ?1 WHERE id = ?2";
        assert_eq!(database.execute(sql, rusqlite::params![days * 86_400_000, id]).unwrap(), 1);
    };
    older(&dry, 3);
    let told = stand.post("/gc", &json!({"dryRun": true})).await;
    let named = |told: &Value| -> Vec<String> {
        let all = told["removed"].as_array().unwrap().iter().filter(|one| one["kind"] == "artifacts");
        all.map(|one| format!("{} {}", one["what"].as_str().unwrap(), one["why"].as_str().unwrap())).collect()
    };
    let expected = ["#1 older than retention.artifact_days", "#2 no job names it"];
    assert_eq!(named(&told), expected, "{told:#}");
    assert_eq!(
        (attempts(&stand, 1), attempts(&stand, 2)),
        (vec!["1".to_owned()], vec!["1".to_owned(), "7".to_owned()])
    );
    assert_eq!(named(&stand.post("/gc", &json!({})).await), expected);
    assert_eq!((attempts(&stand, 1), attempts(&stand, 2)), (vec![], vec!["1".to_owned()]));
    assert_eq!(stand.job(&dry).await["artifacts"], json!([]));
    let (status, problem) = stand.call("GET", "/jobs/1/artifacts/out/report.html", None).await;
    assert_eq!((status, &problem["code"]), (404, &json!("not_found")), "{problem}");
    assert_eq!(stand.get_text("/jobs/2/artifacts/out/report.html").await, "report");
    // with the jobs go their files
    older(&dry, 1_000);
    older(&published, 1_000);
    let forgotten = async || {
        stand.post("/gc", &json!({})).await;
        (stand.get("/jobs").await["total"] == 0).then_some(())
    };
    stand.wait_until("they are forgotten", forgotten).await;
    assert_eq!(attempts(&stand, 2), Vec::<String>::new());
    assert_eq!(attempts(&stand, 99), ["1"], "nobody's to remove");
    stand.finish().await;
}

/// Each of a hundred globs leads everywhere and fits nothing, and each name nearly fits.
#[tokio::test]
async fn no_globs_hold_a_job_up() {
    let stand = Stand::new().await;
    let globs: Vec<_> = (0..100)
        .map(|number| format!("**/{}*/**/{}*b{number:02}", "*a".repeat(60), "a".repeat(40)))
        .collect();
    let dir = vec!["a".repeat(30); 40].join("/");
    let name = "a".repeat(60);
    let prompt = format!("mkdir -p {dir}; cd {dir}; seq -f {name}%g 1 4000 | xargs touch");
    let id = submit(&stand, "g", &prompt, json!({"artifacts": globs})).await;
    stand.failed(&id, "artifact_missing").await;
    stand.finish().await;
}
