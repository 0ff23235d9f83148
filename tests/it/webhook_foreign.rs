//! What is signed here, checked by code of others: the receivers of `docs/receivers/` in Python and in
//! JavaScript, which others start from.

use std::io::Write as _;
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use offshoot::webhook::{SigningSecrets, Style};
use secrecy::SecretString;
use serde_json::{Value, json};

use crate::fire_receiver::Dice;
use crate::left_out::{Need, has_program, leave_out};
use crate::tidy_source::root;

const BODIES: usize = 10_000;

/// Bodies of every length up to 2 KiB, of any bytes, under four keys; every second one is forged afterwards, each time
/// in another place: a bit of the body, the id, the time, the signature.
fn cases() -> Vec<Value> {
    let dice = Dice::new(26);
    let now = offshoot::clock::Clock::system().now_ms() / 1_000;
    let keys = [
        "hunter2hunter2",
        "schlüssel mit ümlaut",
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "whsec_AP8A/w==",
    ];
    let case = |number: usize| {
        let key = keys[number / 8 % keys.len()];
        let style = if (number / 2).is_multiple_of(2) { Style::Hex } else { Style::Prefixed };
        let secrets = SigningSecrets::new(SecretString::from(key), None, style).unwrap();
        let mut body: Vec<_> =
            (0..=dice.below(2_048)).map(|_| u8::try_from(dice.below(256)).unwrap()).collect();
        let (mut id, mut at) = (format!("evt-{number}"), now - i64::try_from(number % 60).unwrap());
        let mut agent = secrets.agent_signature(&body);
        let mut standard = secrets.standard_signature(&id, at, &body);
        let is_forged = number % 2 == 1;
        if is_forged {
            match number / 2 % 4 {
                0 => {
                    let place = usize::try_from(dice.below(body.len() as u64)).unwrap();
                    body[place] ^= 1 << dice.below(8);
                }
                1 => id.push('0'),
                2 => at += 1,
                _ => (agent, standard) = (secrets.agent_signature(b"x"), "v1,AAAA".to_owned()),
            }
        }
        // only the newer header covers the id and the time
        let agent_holds = !is_forged || [1, 2].contains(&(number / 2 % 4));
        json!({"key": key, "id": id, "at": at.to_string(), "body": BASE64_STANDARD.encode(&body), "standard": standard,
            "agent": agent, "standardHolds": !is_forged, "agentHolds": agent_holds})
    };
    (0..BODIES).map(case).collect()
}

/// Hands the cases to a program, one a line, and expects that it counts them all as judged rightly.
fn judged_by(program: &str, arguments: &[&str], cases: &[Value]) {
    let mut child = Command::new(program)
        .args(arguments)
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .current_dir(root().join("docs/receivers"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let lines: String = cases.iter().map(|case| format!("{case}\n")).collect();
    let mut input = child.stdin.take().unwrap();
    let writing = std::thread::spawn(move || input.write_all(lines.as_bytes()));
    let output = child.wait_with_output().unwrap();
    writing.join().unwrap().ok();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), cases.len().to_string(), "{said}");
}

#[test]
fn ten_thousand_signatures_are_judged_by_the_receiver_in_python() {
    if !has_program("python3") {
        return leave_out(Need::Python, "10,000 signatures in Python");
    }
    let script = "import base64, json, sys\n\
         sys.path.insert(0, '.')\n\
         from verify import verify, verify_agent\n\
         right = 0\n\
         for line in sys.stdin:\n    \
             c = json.loads(line)\n    \
             body = base64.b64decode(c['body'])\n    \
             headers = {'webhook-id': c['id'], 'webhook-timestamp': c['at'],\n        \
                 'webhook-signature': c['standard'], 'x-agent-signature': c['agent']}\n    \
             assert verify(c['key'], headers, body) is c['standardHolds'], c\n    \
             assert verify_agent(c['key'], headers, body) is c['agentHolds'], c\n    \
             right += 1\n\
         print(right)\n";
    judged_by("python3", &["-c", script], &cases());
}

#[test]
fn ten_thousand_signatures_are_judged_by_the_receiver_in_javascript() {
    if !has_program("node") {
        return leave_out(Need::Node, "10,000 signatures in JavaScript");
    }
    let script = "import { verify, verifyAgent } from './verify.mjs';\n\
        import { readFileSync } from 'node:fs';\n\
        let right = 0;\n\
        for (const line of readFileSync(0, 'utf8').trim().split('\\n')) {\n\
        const c = JSON.parse(line), body = Buffer.from(c.body, 'base64');\n\
        const headers = {'webhook-id': c.id, 'webhook-timestamp': c.at, 'webhook-signature': c.standard, 'x-agent-signature': c.agent};\n\
        if (verify(c.key, headers, body) !== c.standardHolds) throw Error(line);\n\
        if (verifyAgent(c.key, headers, body) !== c.agentHolds) throw Error(line);\n\
        right++;\n\
        }\n\
        console.log(right);";
    judged_by("node", &["--input-type=module", "-e", script], &cases());
}
