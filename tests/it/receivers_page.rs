//! `docs/callbacks.md`: its code is that of `docs/receivers/`, and judges rightly what this server really sends.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use offshoot::webhook::schedule::DELAYS_SECONDS;
use offshoot::webhook::{SigningSecrets, Style};
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use tokio::time::timeout;

use crate::fire_receiver::{FireReceiver, Got};
use crate::left_out::{Need, has_program, leave_out};
use crate::openapi::assert_current;
use crate::stand::{Stand, WEBHOOK_SECRET, poll};
use crate::tidy_source::root;

#[allow(unreachable_pub, clippy::pedantic, reason = "written for the crates of others")]
#[path = "../../docs/receivers/verify.rs"]
mod rust;

const PATH: &str = "/usr/local/bin:/usr/bin:/bin";
/// File, heading in the page, language of its block.
const FILES: &[(&str, &str, &str)] = &[
    ("verify.mjs", "Node", "js"),
    ("verify.py", "Python", "python"),
    ("verify.go", "Go", "go"),
    ("verify.rs", "Rust", "rust"),
    ("verify.sh", "Shell", "sh"),
];
const BEGIN: &str = "<!-- made from docs/receivers -->\n";
const END: &str = "<!-- end -->\n";

fn file(name: &str) -> PathBuf {
    root().join("docs/receivers").join(name)
}

fn page() -> String {
    std::fs::read_to_string(root().join("docs/callbacks.md")).unwrap()
}

#[test]
fn docs_callbacks_are_current() {
    let page = page();
    let (before, rest) = page.split_once(BEGIN).expect("the page has the place");
    let (_, after) = rest.split_once(END).expect("the place has an end");
    let mut text = format!("{before}{BEGIN}");
    for (name, heading, language) in FILES {
        let code = std::fs::read_to_string(file(name)).unwrap();
        text.push_str(&format!(
            "\n### {heading}\n\n[receivers/{name}](receivers/{name})\n\n```{language}\n{code}```\n"
        ));
    }
    text.push_str(&format!("\n{END}{after}"));
    assert_current("docs/callbacks.md", &text);
}

#[test]
fn the_page_tells_the_waits_that_there_are() {
    let words = |seconds: &u64| match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min", seconds / 60),
        _ => format!("{} h", seconds / 3_600),
    };
    let waits: Vec<String> = DELAYS_SECONDS[1..].iter().map(words).collect();
    let sentence = format!("after {}, each", waits.join(", "));
    assert!(page().replace('\n', " ").contains(&sentence), "{sentence}");
}

/// One callback as a receiver has it, and what it has to say of it.
#[derive(Clone)]
struct Case {
    what: &'static str,
    secret: String,
    got: Got,
    /// By the headers of Standard Webhooks, and by `X-Agent-Signature`.
    holds: (bool, bool),
}

/// A job's end as the server sends it, from a real socket.
async fn delivered() -> Got {
    let receiver = FireReceiver::start(1, 1).await;
    receiver.behave();
    let stand = Stand::new().await;
    stand.post("/queue/pause", &json!({})).await;
    let url = receiver.url(0, "/hook");
    let metadata = json!({"title": "Grüße, \u{1f30d}"});
    let id = stand
        .submit(json!({"prompt": "x", "branchName": "feature/x", "osCallbackUrl": url, "metadata": metadata}))
        .await;
    assert_eq!(stand.cancel(&id).await.0, 200);
    let first = poll(Duration::from_secs(60), async || receiver.got().first().cloned()).await;
    stand.finish().await;
    first.expect("no callback came")
}

/// The delivery as it came, spoiled in every way, and signed anew for other secrets and times.
fn cases(real: &Got) -> Vec<Case> {
    let now: i64 = real.timestamp.parse().unwrap();
    let signed = |secret: &str, previous: Option<&str>, style, at: i64| {
        let previous = previous.map(SecretString::from);
        let secrets = SigningSecrets::new(SecretString::from(secret), previous.as_ref(), style).unwrap();
        Got {
            timestamp: at.to_string(),
            signature: secrets.standard_signature(&real.id, at, &real.body),
            agent_signature: secrets.agent_signature(&real.body),
            ..real.clone()
        }
    };
    let own = |at| signed(WEBHOOK_SECRET, None, Style::Hex, at);
    let changed = |change: &dyn Fn(&mut Got)| {
        let mut got = real.clone();
        change(&mut got);
        got
    };
    let encoded = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let zeros = "whsec_AP8A/w==";
    let rotated = signed("the new secret", Some(WEBHOOK_SECRET), Style::Hex, now);
    #[rustfmt::skip] // one row a case
    let rows = [
        ("as it came", WEBHOOK_SECRET, real.clone(), (true, true)),
        ("a flipped bit at the end", WEBHOOK_SECRET, changed(&|got| *got.body.last_mut().unwrap() ^= 1), (false, false)),
        ("a flipped bit at the front", WEBHOOK_SECRET, changed(&|got| got.body[0] ^= 0x20), (false, false)),
        ("a line end more", WEBHOOK_SECRET, changed(&|got| got.body.push(b'\n')), (false, false)),
        ("another secret", "stand-webhook-secret-0123456789abcdeF", real.clone(), (false, false)),
        ("no secret", "", real.clone(), (false, false)),
        ("an empty key", "", signed_by_nobody(real), (false, false)),
        ("an empty key in base64", "whsec_", signed_by_nobody(real), (false, false)),
        ("another id", WEBHOOK_SECRET, changed(&|got| got.id.push('0')), (false, true)),
        ("a time that was not signed", WEBHOOK_SECRET, changed(&|got| got.timestamp = (now + 1).to_string()), (false, true)),
        ("an old time, rightly signed", WEBHOOK_SECRET, own(now - 301), (false, true)),
        ("a time to come, rightly signed", WEBHOOK_SECRET, own(now + 900), (false, true)),
        ("no time", WEBHOOK_SECRET, changed(&|got| got.timestamp.clear()), (false, true)),
        ("a time that is none", WEBHOOK_SECRET, changed(&|got| got.timestamp = "soon".to_owned()), (false, true)),
        ("a time without end", WEBHOOK_SECRET, changed(&|got| got.timestamp = "9".repeat(40)), (false, true)),
        ("no signature", WEBHOOK_SECRET, changed(&|got| (got.signature.clear(), got.agent_signature.clear()).0), (false, false)),
        ("a signature cut short", WEBHOOK_SECRET, changed(&|got| (got.signature.pop(), got.agent_signature.pop()).0.map(drop).unwrap()), (false, false)),
        ("a signature of another version", WEBHOOK_SECRET, changed(&|got| got.signature = got.signature.replace("v1,", "v2,")), (false, true)),
        ("a pattern for a signature", WEBHOOK_SECRET, changed(&|got| (got.signature, got.agent_signature) = ("*".to_owned(), "*".to_owned())), (false, false)),
        ("with sha256= before it", WEBHOOK_SECRET, signed(WEBHOOK_SECRET, None, Style::Prefixed, now), (true, true)),
        ("a secret in base64", encoded, signed(encoded, None, Style::Hex, now), (true, true)),
        ("a key with zeros in it", zeros, signed(zeros, None, Style::Hex, now), (true, true)),
        ("a secret beyond ASCII, longer than a block", &"schlüssel ".repeat(9), signed(&"schlüssel ".repeat(9), None, Style::Hex, now), (true, true)),
        ("replaced meanwhile, by the old secret", WEBHOOK_SECRET, rotated.clone(), (true, false)),
        ("replaced meanwhile, by the new secret", "the new secret", rotated, (true, true)),
    ]
    .map(|(what, secret, got, holds)| Case { what, secret: secret.to_owned(), got, holds });
    rows.into()
}

/// The same, as if it came now.
fn signed_anew(real: &Got) -> Got {
    let now = offshoot::clock::Clock::system().now_ms() / 1_000;
    let secrets = SigningSecrets::new(SecretString::from(WEBHOOK_SECRET), None, Style::Hex).unwrap();
    let signature = secrets.standard_signature(&real.id, now, &real.body);
    Got { timestamp: now.to_string(), signature, ..real.clone() }
}

/// By a key of no bytes, as anybody can make it.
fn signed_by_nobody(real: &Got) -> Got {
    use base64::Engine as _;
    use hmac::{Hmac, KeyInit as _, Mac as _};
    let mac = |parts: &[&[u8]]| {
        let mut mac = Hmac::<sha2::Sha256>::new_from_slice(b"").unwrap();
        parts.iter().for_each(|part| mac.update(part));
        mac.finalize().into_bytes()
    };
    let over = format!("{}.{}.", real.id, real.timestamp);
    let signature = base64::prelude::BASE64_STANDARD.encode(mac(&[over.as_bytes(), &real.body]));
    Got {
        signature: format!("v1,{signature}"),
        agent_signature: hex::encode(mac(&[&real.body])),
        ..real.clone()
    }
}

/// What a program says of one callback, and of its bytes alone.
async fn says(program: &[&str], case: &Case, scheme: Option<&str>) -> bool {
    let got = &case.got;
    let mut child = Command::new(program[0])
        .args(&program[1..])
        .args(scheme)
        .env_clear()
        .env("PATH", PATH)
        .env("WEBHOOK_SECRET", &case.secret)
        .env("HTTP_WEBHOOK_ID", &got.id)
        .env("HTTP_WEBHOOK_TIMESTAMP", &got.timestamp)
        .env("HTTP_WEBHOOK_SIGNATURE", &got.signature)
        .env("HTTP_X_AGENT_SIGNATURE", &got.agent_signature)
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    // a program that has decided without the body closes its end
    input.write_all(&got.body).await.ok();
    drop(input);
    let ended = timeout(Duration::from_secs(60), child.wait_with_output()).await.expect("it hangs").unwrap();
    let told = String::from_utf8_lossy(&ended.stderr).into_owned();
    // a program that falls over has not judged
    assert!(told.is_empty(), "{program:?}, {}: {told}", case.what);
    match ended.status.code() {
        Some(0) => true,
        Some(1) => false,
        _ => panic!("{program:?}, {}: {}", case.what, ended.status),
    }
}

/// `cases` makes them with times of its own: each is judged by those of its own instant.
async fn judge(program: &[&str], cases: &(dyn Fn() -> Vec<Case> + Sync)) {
    for at in 0..cases().len() {
        let case = &cases()[at];
        let said = (says(program, case, None).await, says(program, case, Some("agent")).await);
        assert_eq!(said, case.holds, "{program:?}: {}", case.what);
    }
}

/// The Go receiver as a program.
async fn built_go(dir: &Path) -> PathBuf {
    let program = dir.join("verify");
    let building = Command::new("go")
        .args(["build", "-o"])
        .arg(&program)
        .arg(file("verify.go"))
        .env_clear()
        .env("PATH", PATH)
        .env("HOME", dir)
        .env("GOTOOLCHAIN", "local")
        .kill_on_drop(true)
        .output();
    // newer compilers bring no library that is built already
    let built = timeout(Duration::from_secs(300), building).await.expect("go build hangs").unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    program
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_server_sends_is_judged_rightly_in_every_language() {
    let real = delivered().await;
    let cases = cases(&real);
    for case in &cases {
        let got = &case.got;
        let header = |name: &str| {
            let value = match name {
                "webhook-id" => &got.id,
                "webhook-timestamp" => &got.timestamp,
                "webhook-signature" => &got.signature,
                _ => &got.agent_signature,
            };
            Some(value.clone())
        };
        let now = offshoot::clock::Clock::system().now_ms() / 1_000;
        let said = (
            rust::verify(&case.secret, &header, &got.body, now),
            rust::verify_agent(&case.secret, &header, &got.body),
        );
        assert_eq!(said, case.holds, "Rust: {}", case.what);
    }
    // a receiver takes a time of the last five minutes, and a hundred programs are started on a machine that may be busy
    let anew = || self::cases(&signed_anew(&real));
    let path = |name| file(name).display().to_string();
    for (need, interpreter, name) in [
        (Need::Node, "node", "verify.mjs"),
        (Need::Python, "python3", "verify.py"),
        (Need::Openssl, "sh", "verify.sh"),
    ] {
        let needed = if interpreter == "sh" { "openssl" } else { interpreter };
        if has_program(needed) {
            judge(&[interpreter, &path(name)], &anew).await;
        } else {
            leave_out(need, &format!("the receiver docs/receivers/{name}"));
        }
    }
    if has_program("go") {
        let dir = tempfile::tempdir().unwrap();
        let program = built_go(dir.path()).await;
        judge(&[&program.display().to_string()], &anew).await;
    } else {
        leave_out(Need::Go, "the receiver docs/receivers/verify.go");
    }
    let body: Value = serde_json::from_slice(&real.body).unwrap();
    let page = page();
    for name in body.as_object().unwrap().keys() {
        assert!(page.contains(&format!("`{name}`")), "docs/callbacks.md does not tell of {name}");
    }
}

#[test]
fn the_shell_receiver_can_be_called_by_its_name() {
    let mode = std::fs::metadata(file("verify.sh")).unwrap().permissions().mode();
    assert_ne!(mode & 0o111, 0);
}
