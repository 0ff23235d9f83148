//! Conversations of agents, on a whole server: who is cut off goes on where it was, with its files; where that cannot be, the
//! job says that it begins anew.

use std::path::Path;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::stand::{self, Plan, Stand};

/// The id in `--session-id=ID` or `--resume=ID`.
fn id_of(told: &str) -> &str {
    told.split_once('=').unwrap().1
}

/// How each of the conversations was told: `new` or `resume`, and the number of its id in the order of their coming.
fn story(told: &[String]) -> Vec<(bool, usize)> {
    let mut ids: Vec<&str> = Vec::new();
    let mut story = Vec::new();
    for one in told {
        let id = id_of(one);
        let at = ids.iter().position(|known| *known == id).unwrap_or_else(|| {
            ids.push(id);
            ids.len() - 1
        });
        story.push((one.starts_with("--resume="), at));
    }
    story
}

async fn kill_supervisor(stand: &mut Stand, id: &str, server_too: bool) {
    let shim = stand.wait_for(id, "supervised", |job| job["pid"].is_i64()).await["pid"].as_i64().unwrap();
    if server_too {
        stand.kill9().await;
    }
    kill(Pid::from_raw(i32::try_from(shim).unwrap()), Signal::SIGKILL).unwrap();
    if server_too {
        stand.start_again().await;
    }
}

fn attempts(job: &Value) -> Vec<(Value, Value)> {
    let all = job["attempts"].as_array().unwrap();
    all.iter().map(|one| (one["reason"]["code"].clone(), one["counted"].clone())).collect()
}

/// Commits, leaves a file beside it, and waits at a gate when it is asked for the first time; then it writes another file.
fn halfway(stand: &Stand, branch: &str) -> String {
    let once = |what: &str| stand.path(&format!("{branch}-{what}")).display().to_string();
    format!(
        "[[scenario:commit-itself once={}]][[scenario:write path=half.txt content=half once={}]]\
         [[scenario:gate file={} once={}]][[scenario:write path=rest.txt content=rest]]",
        once("commit"),
        once("half"),
        stand.gate("never").display(),
        once("gate"),
    )
}

#[tokio::test]
async fn an_agent_whose_supervisor_or_machine_died_goes_on_with_its_conversation_and_its_files() {
    let mut stand = Stand::new().await;
    stand.install_noting_claude("");
    for server_too in [false, true] {
        let branch = if server_too { "both" } else { "shim" };
        let before = stand.conversations().len();
        let id = stand.submit_prompt(branch, &halfway(&stand, branch)).await;
        stand.wait_for_tool(&id).await;
        kill_supervisor(&mut stand, &id, server_too).await;
        let job = stand.completed(&id).await;
        let told = stand.conversations().split_off(before);
        assert_eq!(story(&told), [(false, 0), (true, 0)], "{told:?}");
        assert_eq!((&job["sessionId"], &job["warnings"]), (&json!(id_of(&told[0])), &json!([])));
        assert_eq!(attempts(&job), [(json!("interrupted"), json!(true)), (Value::Null, json!(false))]);
        for (file, text) in [("half.txt", "half"), ("rest.txt", "rest")] {
            assert_eq!(stand.git(&["show", &format!("{branch}:{file}")]), text);
        }
        let log = stand.git(&["log", "--format=%s", &format!("main..{branch}")]);
        assert_eq!(log, format!("feat: {branch}\nAdd a greeting"), "the agent's own commit, and the rest");
    }
    let prompts = stand.prompts();
    assert_eq!(prompts.matches("Your work on this was cut off").count(), 2, "{prompts}");
    stand.finish().await;
}

/// An agent that makes up the id of its conversation is asked for it by what it has said, also where the server that would
/// have noted it died before it read that.
#[tokio::test]
async fn a_conversation_that_only_the_log_knows_of_goes_on_too() {
    let codex = tempfile::tempdir().unwrap();
    let program = codex.path().join("codex");
    let config = format!("[agents.codex]\nkind = \"codex\"\ncommand = \"{}\"", program.display());
    let mut stand = Stand::with(Plan { config, ..Plan::default() }).await;
    let script = format!(
        "#!/bin/sh\ncase \"$*\" in *--version*) echo codex-cli 0.169.0; exit;; *login*) exit 0;; esac\n\
         echo \"$*\" >> {args}\ncat > /dev/null\n\
         echo '{{\"type\":\"thread.started\",\"thread_id\":\"01a1fa1a-5fc6-7710-8ba2-75c9997ba702\"}}'\n\
         case \"$*\" in *resume*) ;; *) touch {began}; while :; do sleep 0.05; done;; esac\n\
         echo done > done.txt\n\
         echo '{{\"type\":\"turn.completed\",\"usage\":{{\"input_tokens\":3,\"output_tokens\":2}}}}'\n",
        args = stand.path("args").display(),
        began = stand.path("began").display(),
    );
    stand::install_program(&program, &script);
    for server_too in [false, true] {
        let _ = std::fs::remove_file(stand.path("began"));
        let branch = if server_too { "both" } else { "shim" };
        let options = json!({"agent": "codex"});
        let id = stand.submit(json!({"prompt": "Greet", "branchName": branch, "options": options})).await;
        stand.wait_until("it began", async || stand.path("began").exists().then_some(())).await;
        kill_supervisor(&mut stand, &id, server_too).await;
        let job = stand.completed(&id).await;
        assert_eq!(attempts(&job).len(), 2, "{job:#}");
        assert_eq!(job["warnings"], json!([]));
        let last = stand.conversations().pop().unwrap();
        assert!(last.ends_with("resume 01a1fa1a-5fc6-7710-8ba2-75c9997ba702 -"), "{last}");
    }
    stand.finish().await;
}

#[tokio::test]
async fn who_was_stopped_or_held_goes_on_with_its_conversation_and_nothing_is_counted() {
    let mut stand = Stand::built(Plan::default()).await;
    stand.install_noting_claude("");
    stand.start_with(&["--stop-agents"]).await;
    let id = stand.submit_prompt("stopped", &halfway(&stand, "stopped")).await;
    stand.wait_for_tool(&id).await;
    assert_eq!(stand.terminate(Duration::from_secs(25)).await, Some(0));
    stand.start_again().await;
    let job = stand.completed(&id).await;
    assert_eq!(attempts(&job), [(json!("stopped"), json!(false)), (Value::Null, json!(false))]);
    let limit = format!(
        "[[scenario:usage-limit in=2 once={}]][[scenario:write path=a.txt content=a]]",
        stand.path("limit").display()
    );
    let id = stand.submit_prompt("limited", &limit).await;
    let job = stand.completed(&id).await;
    assert_eq!(attempts(&job)[0], (json!("usage_limit"), json!(false)));
    let told = stand.conversations();
    assert_eq!(story(&told), [(false, 0), (true, 0), (false, 1), (true, 1)], "{told:?}");
    stand.finish().await;
}

/// What the agent says of its conversation, whether something was spent on it, and the words on the job.
#[tokio::test]
async fn a_conversation_that_cannot_be_continued_is_begun_afresh_and_the_job_says_why() {
    let mut stand = Stand::new().await;
    let full =
        concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/transcripts/claude-resume-context-full.jsonl");
    let full = format!("cat {full}; exit 1");
    let in_use = "echo 'Error: Session ID x is already in use.' >&2; exit 1";
    for (name, vain, counted, words) in [
        ("unknown", stand::agents::UNKNOWN, false, "No conversation found"),
        ("in-use", in_use, false, "is already in use"),
        ("full", full.as_str(), true, "Prompt is too long"),
    ] {
        stand.install_noting_claude(vain);
        let before = stand.conversations().len();
        let prompt = format!(
            "[[scenario:gate file={} once={}]][[scenario:write path=rest.txt content=rest]]",
            stand.gate("never").display(),
            stand.path(name).display()
        );
        let id = stand.submit_prompt(name, &prompt).await;
        stand.wait_for_tool(&id).await;
        kill_supervisor(&mut stand, &id, false).await;
        let job = stand.completed(&id).await;
        let told = stand.conversations().split_off(before);
        assert_eq!(story(&told), [(false, 0), (true, 0), (false, 1)], "{name}: {told:?}");
        assert_eq!(attempts(&job)[1], (json!("interrupted"), json!(counted)), "{name}: {job:#}");
        assert_eq!(job["sessionId"], id_of(&told[2]));
        let warnings = job["warnings"].to_string();
        assert!(warnings.contains(words) && warnings.contains("starts afresh"), "{name}: {warnings}");
    }
    stand.finish().await;
}

/// A failure of another kind in a continued conversation, and a new one that is too long, are what they are.
#[tokio::test]
async fn real_failures_are_not_taken_for_lost_conversations() {
    let mut stand = Stand::new().await;
    stand.install_noting_claude("");
    let prompt = format!(
        "[[scenario:gate file={} once={}]][[scenario:api-error status=400]]",
        stand.gate("never").display(),
        stand.path("once").display()
    );
    let id = stand.submit_prompt("bad", &prompt).await;
    stand.wait_for_tool(&id).await;
    kill_supervisor(&mut stand, &id, false).await;
    let job = stand.failed(&id, "api_error").await;
    assert_eq!((attempts(&job).len(), &job["warnings"]), (2, &json!([])));
    let full =
        concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/transcripts/claude-resume-context-full.jsonl");
    stand.install("claude", &format!("#!/bin/sh\ncat > /dev/null; cat {full}; exit 1\n"));
    let id = stand.submit_prompt("long", "Greet").await;
    let job = stand.failed(&id, "api_error").await;
    assert_eq!(attempts(&job).len(), 1, "{job:#}");
    stand.finish().await;
}

#[tokio::test]
async fn a_conversation_in_which_the_agent_fails_twice_is_left() {
    let stand = Stand::new().await;
    stand.install_noting_claude("");
    let prompt = format!(
        "[[scenario:crash once={}]][[scenario:crash once={}]][[scenario:write path=a.txt content=a]]",
        stand.path("one").display(),
        stand.path("two").display()
    );
    let id = stand.submit_prompt("crashes", &prompt).await;
    let job = stand.completed(&id).await;
    assert_eq!(attempts(&job).iter().filter(|one| **one == (json!("crashed"), json!(true))).count(), 2);
    assert_eq!(story(&stand.conversations()), [(false, 0), (true, 0), (false, 1)]);
    assert!(job["warnings"].to_string().contains("failed in it again"), "{job:#}");
    stand.finish().await;
}

#[tokio::test]
async fn an_agent_that_cannot_continue_begins_anew_and_that_is_said() {
    let stand = Stand::new().await;
    let once = stand.path("once").display().to_string();
    let prompt = format!("[ -e {once} ] || {{ touch {once}; exit 3; }}; echo x > x.txt");
    let id = stand.submit(json!({"prompt": prompt, "branchName": "sh", "options": {"agent": "sh"}})).await;
    let job = stand.completed(&id).await;
    let warnings = job["warnings"].to_string();
    assert!(warnings.contains("cannot continue a conversation") && warnings.contains("paid anew"), "{job:#}");
    stand.finish().await;
}

fn places_of(stand: &Stand, text: &str) -> Vec<String> {
    places_in(&stand.path("data/offshoot.db"), text)
}

/// The columns of the database in which this text occurs, but for the answers that were given.
pub(crate) fn places_in(database: &Path, text: &str) -> Vec<String> {
    let database = rusqlite::Connection::open(database).unwrap();
    let names = |sql: &str| -> Vec<String> {
        let mut statement = database.prepare(sql).unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
    };
    let mut places = Vec::new();
    for table in names("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'") {
        for column in names(&format!("SELECT name FROM pragma_table_info('{table}')")) {
            let sql = format!("SELECT count(*) FROM {table} WHERE instr({column}, ?1) > 0");
            let count: i64 = database.query_row(&sql, [text], |row| row.get(0)).unwrap();
            if count > 0 {
                places.push(format!("{table}.{column}"));
            }
        }
    }
    places
}

#[tokio::test]
async fn a_retry_of_a_job_whose_conversation_was_deleted_starts_afresh_and_says_so() {
    let stand = Stand::new().await;
    stand.install_noting_claude("");
    let prompt = format!(
        "[[scenario:write path=half.txt content=half]][[scenario:api-error status=400 once={}]]",
        stand.path("once").display()
    );
    let id = stand.submit_prompt("r", &prompt).await;
    let session = stand.failed(&id, "api_error").await["sessionId"].as_str().unwrap().to_owned();
    assert_eq!(stand.call("DELETE", &format!("/sessions/{session}"), None).await.0, 200);
    let again = stand.retry(&id, json!({"mode": "resume"})).await;
    let job = stand.completed(&again).await;
    assert_eq!(story(&stand.conversations()), [(false, 0), (false, 1)]);
    assert_ne!(job["sessionId"], session);
    assert!(job["warnings"].to_string().contains("starts afresh"), "{job:#}");
    stand.finish().await;
}

#[tokio::test]
async fn conversations_are_listed_with_their_jobs_and_one_that_nobody_holds_is_forgotten() {
    let mut stand = Stand::new().await;
    stand.install_noting_claude("");
    let write = |file: &str| format!("[[scenario:write path={file} content={file}]]");
    let first = stand.submit_prompt("a", &write("a.txt")).await;
    let session = stand.completed(&first).await["sessionId"].as_str().unwrap().to_owned();
    let next = stand.post(&format!("/jobs/{first}/follow-up"), &json!({"prompt": write("b.txt")})).await;
    stand.completed(next["id"].as_str().unwrap()).await;
    let shell = json!({"prompt": "echo x > x.txt", "branchName": "sh", "options": {"agent": "sh"}});
    stand.completed(&stand.submit(shell).await).await;
    let other = stand.submit_prompt("other", &write("c.txt")).await;
    let other_session = stand.completed(&other).await["sessionId"].as_str().unwrap().to_owned();

    let listed = stand.get("/sessions").await;
    let ids: Vec<_> = listed["sessions"].as_array().unwrap().iter().map(|one| one["id"].clone()).collect();
    assert_eq!((ids, &listed["nextCursor"]), (vec![json!(other_session), json!(session)], &Value::Null));
    let one = stand.get(&format!("/sessions/{session}")).await;
    assert_eq!(one, listed["sessions"][1]);
    let numbers: Vec<_> = one["jobs"].as_array().unwrap().iter().map(|job| job["number"].clone()).collect();
    assert_eq!((numbers, &one["jobsTotal"]), (vec![json!(2), json!(1)], &json!(2)));
    assert_eq!((&one["rootJobId"], &one["branchName"]), (&json!(first), &json!("a")));
    assert_eq!((&one["agent"], &one["client"]["githubRepo"]), (&json!("claude"), &json!("widgets")));
    let page = stand.get("/sessions?limit=1").await;
    assert_eq!(page["sessions"].as_array().unwrap().len(), 1);
    let cursor = page["nextCursor"].as_str().unwrap();
    let rest = stand.get(&format!("/sessions?limit=1&after={cursor}")).await;
    assert_eq!((&rest["sessions"][0]["id"], &rest["nextCursor"]), (&json!(session), &Value::Null));
    assert_eq!(stand.get("/sessions?clientId=cli-nobody").await["sessions"], json!([]));
    for wrong in ["limit=0", "limit=201", "after=x", "clientId=x"] {
        assert_eq!(stand.call("GET", &format!("/sessions?{wrong}"), None).await.0, 422, "{wrong}");
    }

    // never while somebody goes on in it, or is going to
    let prompt = format!("[[scenario:gate file={}]]{}", stand.gate("g").display(), write("d.txt"));
    let runs = stand.post(&format!("/jobs/{other}/follow-up"), &json!({"prompt": prompt})).await;
    let path = format!("/sessions/{other_session}");
    let (status, problem) = stand.call("DELETE", &path, None).await;
    assert_eq!((status, &problem["code"]), (409, &json!("session_live")), "{problem}");
    stand.wait_for_tool(runs["id"].as_str().unwrap()).await;
    let (status, problem) = stand.call("DELETE", &path, None).await;
    assert!(status == 409 && problem["error"].as_str().unwrap().contains("#5"), "{problem}");
    stand.open_gate("g");
    assert_eq!(stand.completed(runs["id"].as_str().unwrap()).await["sessionId"], other_session);

    let path = format!("/sessions/{session}");
    let (status, answer) = stand.call("DELETE", &path, None).await;
    assert_eq!((status, answer), (200, json!({"deleted": session, "jobs": 2})));
    stand.kill9().await;
    // that it was deleted, and by whom, is not forgotten with it
    assert_eq!(places_of(&stand, &session), ["audit.target"]);
    assert!(!places_of(&stand, &other_session).is_empty());
    stand.start_again().await;
    for method in ["GET", "DELETE"] {
        assert_eq!(stand.call(method, &path, None).await.0, 404, "{method}");
    }
    assert_eq!(stand.job(&first).await["sessionId"], Value::Null);
    assert_eq!(stand.get("/sessions").await["sessions"].as_array().unwrap().len(), 1);
    let again = stand.post(&format!("/jobs/{first}/follow-up"), &json!({"prompt": write("e.txt")})).await;
    let job = stand.completed(again["id"].as_str().unwrap()).await;
    assert!(job["warnings"].to_string().contains("starts afresh"), "{job:#}");
    assert_ne!(job["sessionId"], session);
    let last = stand.prompts().rsplit("This follows up earlier work").next().unwrap().to_owned();
    assert!(last.contains("a.txt") || last.contains("b.txt"), "it is told what it was about: {last}");
    stand.finish().await;
}
