//! Whether a callback comes from your offshoot. Crates: base64, hex, hmac 0.13, sha2 0.11.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

const TOLERANCE_SECONDS: u64 = 300;

/// What a web framework has of a request: the value of a header by its name in lower case.
pub type Header<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Standard Webhooks. `body`: the bytes as they came, before any parsing; `now`: Unix seconds.
pub fn verify(secret: &str, header: Header<'_>, body: &[u8], now: i64) -> bool {
    let key = match secret.strip_prefix("whsec_") {
        Some(encoded) => BASE64_STANDARD.decode(encoded).unwrap_or_default(),
        None => secret.as_bytes().to_vec(),
    };
    let (event, at) =
        (header("webhook-id").unwrap_or_default(), header("webhook-timestamp").unwrap_or_default());
    let is_now = at.parse().is_ok_and(|at: i64| now.abs_diff(at) <= TOLERANCE_SECONDS);
    let signatures = header("webhook-signature").unwrap_or_default();
    // two while a secret is replaced
    let mut given =
        signatures.split(' ').filter_map(|one| BASE64_STANDARD.decode(one.strip_prefix("v1,")?).ok());
    let signed = [event.as_bytes(), b".", at.as_bytes(), b"."].concat();
    !key.is_empty() && is_now && given.any(|one| mac(&key, &[&signed, body]).verify_slice(&one).is_ok())
}

/// `X-Agent-Signature`: the body alone. What was sent once can be sent again by whoever saw it.
pub fn verify_agent(secret: &str, header: Header<'_>, body: &[u8]) -> bool {
    let given = header("x-agent-signature").unwrap_or_default();
    let given = hex::decode(given.strip_prefix("sha256=").unwrap_or(&given));
    !secret.is_empty()
        && given.is_ok_and(|given| mac(secret.as_bytes(), &[body]).verify_slice(&given).is_ok())
}

fn mac(key: &[u8], parts: &[&[u8]]) -> Hmac<Sha256> {
    let mut mac = Hmac::new_from_slice(key).expect("a key may have any length");
    parts.iter().for_each(|part| mac.update(part));
    mac
}
