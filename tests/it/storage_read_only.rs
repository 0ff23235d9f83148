//! A damaged database is never replaced and never written to: the server starts for reading, says what helps, and leaves
//! running agents alone. What SQLite can mend by itself is mended without a word.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::stand::{PATIENCE, Plan, SECRET, Stand};

/// The database's files, as they were when the server was killed, and as they are when the log is folded in.
struct Files {
    dir: PathBuf,
    killed: Vec<Option<Vec<u8>>>,
    folded: Vec<u8>,
    /// Where the page of a table begins that no answer about a job is read from.
    aside: usize,
}

const ENDINGS: [&str; 2] = ["", "-wal"];

impl Files {
    fn kept(stand: &Stand) -> Self {
        let dir = stand.path("data");
        let mut files = Self { dir, killed: Vec::new(), folded: Vec::new(), aside: 0 };
        files.killed = files.now();
        // the last one out folds it in and removes it
        let database = rusqlite::Connection::open(files.path("")).unwrap();
        database.query_row("PRAGMA wal_checkpoint", [], |_| Ok(())).unwrap();
        let root = "SELECT rootpage FROM sqlite_schema WHERE name = 'profiles'";
        let root: usize = database.query_row(root, [], |row| row.get(0)).unwrap();
        files.aside = (root - 1) * 4_096;
        drop(database);
        assert!(!files.path("-wal").exists());
        files.folded = fs::read(files.path("")).unwrap();
        files
    }

    fn path(&self, ending: &str) -> PathBuf {
        self.dir.join(format!("offshoot.db{ending}"))
    }

    fn put_back(&self) {
        for ending in ["", "-wal", "-shm"] {
            let _ = fs::remove_file(self.path(ending));
        }
        for (ending, bytes) in ENDINGS.iter().zip(&self.killed) {
            if let Some(bytes) = bytes {
                fs::write(self.path(ending), bytes).unwrap();
            }
        }
    }

    /// Without a log that would lay its own pages over what is changed.
    fn change_folded(&self, change: impl FnOnce(&mut Vec<u8>)) {
        self.remove("-wal");
        let mut bytes = self.folded.clone();
        change(&mut bytes);
        fs::write(self.path(""), bytes).unwrap();
    }

    fn now(&self) -> Vec<Option<Vec<u8>>> {
        // a reader makes an empty log where there is none
        let read =
            |ending| fs::read(self.path(ending)).ok().filter(|bytes| !bytes.is_empty() || ending.is_empty());
        ENDINGS.map(read).to_vec()
    }

    fn change(&self, ending: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = fs::read(self.path(ending)).unwrap();
        change(&mut bytes);
        fs::write(self.path(ending), bytes).unwrap();
    }

    fn remove(&self, ending: &str) {
        fs::remove_file(self.path(ending)).unwrap();
    }
}

/// Bytes of a frame of the log, and of its head.
const FRAME: usize = 24 + 4_096;
const LOG_HEAD: usize = 32;

type Damage = (&'static str, fn(&Files));

/// What a person has to decide about.
const DAMAGES: &[Damage] = &[
    ("no database", |files| {
        files.change_folded(|bytes| *bytes = "somebody's shopping list\n".repeat(400).into_bytes());
    }),
    ("empty beside its log", |files| fs::write(files.path(""), "").unwrap()),
    ("empty without a log", |files| files.change_folded(Vec::clear)),
    ("missing beside its log", |files| files.remove("")),
    ("missing altogether", |files| {
        files.remove("");
        files.remove("-wal");
    }),
    ("cut in half", |files| files.change_folded(|bytes| bytes.truncate(bytes.len() / 2 / 4_096 * 4_096))),
    ("a byte of the file's head flipped", |files| files.change_folded(|bytes| bytes[3] ^= 0x20)),
    ("a byte of the schema's page flipped", |files| files.change_folded(|bytes| bytes[100] ^= 0x20)),
    ("a byte of a table's page flipped", |files| {
        files.change_folded(|bytes| bytes[files.aside] ^= 0x20);
    }),
    ("a byte in the middle of the log flipped", |files| {
        files.change("-wal", |bytes| bytes[LOG_HEAD + 2 * FRAME + 1_000] ^= 1);
    }),
    ("a byte of the log's head flipped", |files| files.change("-wal", |bytes| bytes[17] ^= 1)),
];

/// What SQLite mends.
const MENDED: &[Damage] = &[
    ("as it was", |_| {}),
    // the index of the log is never kept here
    ("a log with a torn end", |files| files.change("-wal", |bytes| bytes.extend([7; 3_000]))),
    ("a log with a frame that was never whole", |files| {
        files.change("-wal", |bytes| bytes.extend([9; FRAME]));
    }),
];

async fn ask(stand: &Stand, method: &str, path: &str, body: Option<&Value>) -> (u16, Option<String>, Value) {
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = format!("{}{path}", stand.base_url());
    let mut request = http.request(method.parse().unwrap(), url).bearer_auth(SECRET).timeout(PATIENCE);
    if let Some(body) = body {
        request = request.json(body);
    }
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    let after = response.headers().get("retry-after").map(|value| value.to_str().unwrap().to_owned());
    let bytes = response.bytes().await.unwrap();
    (status, after, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
}

/// Every door, while the database is as the case says.
async fn serves_for_reading(stand: &Stand, what: &str, id: &str) {
    assert_eq!(ask(stand, "GET", "/livez", None).await.0, 200, "{what}");
    assert_eq!(ask(stand, "GET", "/readyz", None).await.0, 503, "{what}");
    let health = ask(stand, "GET", "/health", None).await.2;
    assert_eq!((&health["status"], &health["database"]), (&json!("degraded"), &json!("read_only")), "{what}");
    let guide = health["databaseGuide"].as_str().unwrap();
    let backup = health["newestBackup"]["name"].as_str().unwrap();
    assert!(
        guide.contains(&format!("offshoot restore {backup}")) && guide.contains(" old"),
        "{what}: {guide}"
    );
    let job = json!({"prompt": "x", "githubOrg": "acme", "githubRepo": "widgets"});
    let client = json!({"name": "x", "githubOrg": "acme", "githubRepo": "other"});
    for (method, path, body) in [
        ("POST", "/jobs".to_owned(), Some(&job)),
        ("POST", format!("/jobs/{id}/cancel"), None),
        ("POST", format!("/jobs/{id}/retry"), None),
        ("POST", "/clients".to_owned(), Some(&client)),
        ("PATCH", "/clients/cli-1".to_owned(), Some(&client)),
        ("DELETE", "/clients/cli-1?removeRepo=true&force=true".to_owned(), None),
        ("POST", "/queue/resume".to_owned(), None),
        ("POST", "/sync".to_owned(), None),
        ("POST", "/backups".to_owned(), None),
    ] {
        let (status, after, problem) = ask(stand, method, &path, body).await;
        assert_eq!((status, &problem["code"]), (503, &json!("read_only")), "{what}: {method} {path}");
        assert_eq!((problem["detail"].as_str(), after.is_some()), (Some(guide), true), "{what}");
        let dir = stand.dir().display().to_string();
        assert!(!problem.to_string().contains(&dir), "{what}: a path in {problem}");
    }
    forms_are_refused(stand, what, guide).await;
    // an answer from what is left, or the guide
    for path in ["/jobs".to_owned(), format!("/jobs/{id}"), "/queue".to_owned(), "/clients".to_owned()] {
        let (status, _, body) = ask(stand, "GET", &path, None).await;
        let told = status == 503 && body["code"] == "read_only";
        assert!(told || matches!(status, 200 | 404), "{what}: GET {path}: {status} {body}");
    }
}

/// As the calls are, by pages that say the same.
async fn forms_are_refused(stand: &Stand, what: &str, guide: &str) {
    let stays = reqwest::redirect::Policy::none();
    let http = reqwest::Client::builder().no_proxy().redirect(stays).build().unwrap();
    let post = |path: &str, cookie: &str, body: String| {
        let request = http.post(format!("{}{path}", stand.base_url())).header("cookie", cookie);
        let kind = "application/x-www-form-urlencoded";
        let request = request.header("content-type", kind).header("sec-fetch-site", "same-origin");
        request.body(body).timeout(PATIENCE).send()
    };
    let entered = post("/ui/sign-in", "", format!("token={SECRET}")).await.unwrap();
    assert_eq!(entered.status().as_u16(), 303, "{what}");
    let cookie = entered.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    for path in ["/ui/queue/resume", "/ui/new", "/ui/clients", "/ui/system/tokens", "/ui/system/backups"] {
        let refused = post(path, &cookie, "repo=acme%2Fwidgets&prompt=x&name=x".to_owned()).await.unwrap();
        assert_eq!(refused.status().as_u16(), 503, "{what}: {path}");
        let page = refused.text().await.unwrap();
        let begins = guide.split(['<', '&', '"', '\'']).next().unwrap();
        assert!(page.starts_with("<!DOCTYPE html>") && page.contains(begins), "{what}: {path}: {page}");
    }
}

#[tokio::test]
async fn a_damaged_database_is_served_for_reading_and_left_as_it_is() {
    let mut stand = Stand::with(Plan { workers: 1, ..Plan::default() }).await;
    stand.expect_error("the database is damaged");
    let ended = stand.submit_prompt("ended", "Greet").await;
    stand.completed(&ended).await;
    stand.callback(&ended).await;
    let running = stand.submit_prompt("running", &format!("{}[[scenario:edit]]", stand.gate_mark("g"))).await;
    stand.wait_for_tool(&running).await;
    let queued = stand.submit_prompt("queued", "Greet").await;
    let backed_up = async || (stand.get("/health").await["newestBackup"].is_object()).then_some(());
    stand.wait_until("the first backup", backed_up).await;
    stand.kill9().await;
    let files = Files::kept(&stand);
    let log = files.killed[1].as_ref().map_or(0, Vec::len);
    assert!(log > LOG_HEAD + 20 * FRAME, "a kill leaves the log: {log} bytes");
    let agents: Vec<_> = stand.step_processes().into_iter().map(|seen| seen.pid).collect();
    assert!(!agents.is_empty());

    let mut readable = 0;
    for (what, damage) in DAMAGES {
        files.put_back();
        damage(&files);
        let before = files.now();
        stand.start().await;
        serves_for_reading(&stand, what, &ended).await;
        readable += usize::from(ask(&stand, "GET", &format!("/jobs/{ended}"), None).await.0 == 200);
        let told =
            stand.server.as_ref().unwrap().log().lines().filter(|line| line.contains("\"ERROR\"")).count();
        assert_eq!(told, 1, "{what}: told once");
        let still: Vec<_> = stand.step_processes().into_iter().map(|seen| seen.pid).collect();
        assert_eq!(still, agents, "{what}: agents go on, and none is started");
        assert_eq!(stand.terminate(Duration::from_secs(5)).await, Some(0), "{what}");
        assert!(files.now() == before, "{what}: the files are as they were");
    }
    assert!(readable >= 1, "what can be read is read: {readable} of {}", DAMAGES.len());

    for (what, damage) in MENDED {
        files.put_back();
        damage(&files);
        stand.start().await;
        assert_eq!(ask(&stand, "GET", "/readyz", None).await.0, 200, "{what}");
        assert_eq!(stand.job(&running).await["status"], "running", "{what}");
        assert_eq!(stand.job(&queued).await["status"], "queued", "{what}");
        stand.kill9().await;
    }
    stand.start().await;
    stand.open_gate("g");
    assert_eq!(stand.completed(&running).await["attempt"], 1);
    stand.completed(&queued).await;
    stand.finish().await;
}

/// After an orderly stop the next start only looks at the structure, after any other end at everything.
#[tokio::test]
async fn a_start_says_how_the_last_stop_was() {
    let mut stand = Stand::new().await;
    let id = stand.submit_prompt("a", "Greet").await;
    stand.completed(&id).await;
    let said = |stand: &Stand, text: &str| stand.server.as_ref().unwrap().log().contains(text);
    assert_eq!(stand.terminate(PATIENCE).await, Some(0));
    stand.start_again().await;
    assert!(said(&stand, "the last stop was in order") && !said(&stand, "whole database was checked"));
    stand.kill9().await;
    stand.start_again().await;
    assert!(said(&stand, "the whole database was checked") && !said(&stand, "the last stop was in order"));
    assert_eq!(stand.terminate(PATIENCE).await, Some(0));
    stand.start_again().await;
    assert!(said(&stand, "the last stop was in order"));
    stand.finish().await;
}

/// Damage that shows only while it runs ends the server; the next start finds it and serves for reading.
#[tokio::test]
async fn damage_that_shows_later_ends_the_server() {
    let mut stand = Stand::new().await;
    for text in [
        "the database is damaged",
        "the store has stopped",
        "ending",
        "a request failed inside",
        "could not",
        "image is malformed",
        // on a slow machine, before it has ended
        "the watchdog is not fed",
    ] {
        stand.expect_error(text);
    }
    let id = stand.submit_prompt("a", "Greet").await;
    stand.completed(&id).await;
    stand.callback(&id).await;
    assert_eq!(stand.terminate(PATIENCE).await, Some(0));
    let log = fs::metadata(stand.path("data/offshoot.db-wal")).map_or(0, |found| found.len());
    assert_eq!(log, 0, "an orderly stop leaves one file");
    stand.start_again().await;
    let whole = fs::read(stand.path("data/offshoot.db")).unwrap();
    // every page but the first few, in place: as a disk that goes bad under a running server
    let mut bad = whole.clone();
    for page in bad.chunks_mut(4_096).skip(2) {
        page[0] ^= 0x55;
    }
    let file = fs::OpenOptions::new().write(true).open(stand.path("data/offshoot.db")).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &bad, 0).unwrap();
    drop(file);
    let mut server = stand.server.take().unwrap();
    // many at once, for a page that was read before is not read again by the same connection
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let one = |_| http.get(format!("{}/jobs?q=nothing", server.url)).bearer_auth(SECRET).send();
    futures_util::future::join_all((0..40).map(one)).await;
    let code = server.wait_for_exit(PATIENCE).await;
    assert_eq!(code, Some(1), "{}", server.log());
    stand.start_again().await;
    assert_eq!(ask(&stand, "GET", "/health", None).await.2["database"], "read_only");
    stand.server.as_ref().unwrap().signal(Signal::SIGTERM);
    let mut server = stand.server.take().unwrap();
    assert_eq!(server.wait_for_exit(PATIENCE).await, Some(0));
    for ending in ["", "-wal", "-shm"] {
        let _ = fs::remove_file(stand.path(&format!("data/offshoot.db{ending}")));
    }
    fs::write(stand.path("data/offshoot.db"), whole).unwrap();
    stand.start_again().await;
    stand.finish().await;
}
