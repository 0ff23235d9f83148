//! What is signed here, checked by code of others: the README's receiver in Python, and node's own HMAC.

use std::io::Write as _;
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use offshoot::webhook::{SigningSecrets, Style};
use secrecy::SecretString;
use serde_json::{Value, json};

use crate::fire_receiver::Dice;
use crate::left_out::{Need, has_program, leave_out};
use crate::readme::blocks;

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
            "agent": agent.trim_start_matches("sha256="), "standardHolds": !is_forged, "agentHolds": agent_holds})
    };
    (0..BODIES).map(case).collect()
}

/// Hands the cases to a program, one a line, and expects that it counts them all as judged rightly.
fn judged_by(program: &str, arguments: &[&str], cases: &[Value]) {
    let mut child = Command::new(program)
        .args(arguments)
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
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
fn ten_thousand_signatures_are_judged_by_the_readmes_receiver() {
    if !has_program("python3") {
        return leave_out(Need::Python, "10,000 signatures in Python");
    }
    let script = format!(
        "{}\n\
         import json, sys\n\
         right = 0\n\
         for line in sys.stdin:\n    \
             case = json.loads(line)\n    \
             body = base64.b64decode(case['body'])\n    \
             headers = {{'webhook-id': case['id'], 'webhook-timestamp': case['at'], 'webhook-signature': case['standard']}}\n    \
             agent = hmac.new(case['key'].encode(), body, hashlib.sha256).hexdigest()\n    \
             assert verify(case['key'], headers, body) is case['standardHolds'], case\n    \
             assert hmac.compare_digest(agent, case['agent']) is case['agentHolds'], case\n    \
             right += 1\n\
         print(right)\n",
        blocks("receiver").concat()
    );
    judged_by("python3", &["-c", &script], &cases());
}

#[test]
fn ten_thousand_signatures_are_judged_by_node() {
    if !has_program("node") {
        return leave_out(Need::Node, "10,000 signatures in JavaScript");
    }
    let script = "const {createHmac} = require('crypto');\n\
        let right = 0;\n\
        for (const line of require('fs').readFileSync(0, 'utf8').trim().split('\\n')) {\n\
        const c = JSON.parse(line), body = Buffer.from(c.body, 'base64');\n\
        const key = c.key.startsWith('whsec_') ? Buffer.from(c.key.slice(6), 'base64') : Buffer.from(c.key);\n\
        const standard = createHmac('sha256', key).update(`${c.id}.${c.at}.`).update(body).digest('base64');\n\
        const agent = createHmac('sha256', Buffer.from(c.key)).update(body).digest('hex');\n\
        if ((c.standard === 'v1,' + standard) !== c.standardHolds) throw Error(line);\n\
        if ((c.agent === agent) !== c.agentHolds) throw Error(line);\n\
        right++;\n\
        }\n\
        console.log(right);";
    judged_by("node", &["-e", script], &cases());
}
