//! Signing callback bytes, and verifying them where this project is the receiver (demo, tests).

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use secrecy::{ExposeSecret as _, SecretSlice, SecretString};
use sha2::Sha256;
use thiserror::Error;

/// Hex HMAC-SHA256 of the body alone.
pub const HEADER_AGENT_SIGNATURE: &str = "x-agent-signature";
/// Standard Webhooks 1.0: the event id, the same in every try.
pub const HEADER_ID: &str = "webhook-id";
/// Standard Webhooks 1.0: Unix seconds of this try.
pub const HEADER_TIMESTAMP: &str = "webhook-timestamp";
/// Standard Webhooks 1.0: space-separated `v1,<base64>` signatures.
pub const HEADER_SIGNATURE: &str = "webhook-signature";

/// How far a received timestamp may be from now, in seconds: the tolerance of the Standard Webhooks libraries.
pub const TOLERANCE_SECONDS: i64 = 300;

/// Standard Webhooks: a secret with this prefix is base64 of the key.
const ENCODED_PREFIX: &str = "whsec_";

/// How long the previous secret signs too, in milliseconds: a day in which receivers take the new one over. A secret that was
/// replaced because somebody got hold of it must not be good for ever.
const PREVIOUS_MS: i64 = 24 * 3_600_000;
const STYLE_PREFIX: &str = "sha256=";

/// How `X-Agent-Signature` is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Style {
    /// 64 lower-case hex digits.
    #[default]
    Hex,
    /// The same after `sha256=`, as GitHub writes it.
    Prefixed,
}

#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SignatureError {
    #[error("the callback secret is empty")]
    Empty,
    #[error("the callback secret begins with whsec_ but the rest is not base64")]
    NotBase64,
}

/// The secret in use and, during a rotation, the one before it, in the forms the two schemes need.
#[derive(Clone, Debug)]
pub struct SigningSecrets {
    current: SecretString,
    standard_keys: Vec<SecretSlice<u8>>,
    style: Style,
    /// When the previous one ends; `None`: not yet known.
    previous_ends_ms: Option<i64>,
}

impl SigningSecrets {
    /// # Errors
    /// An empty secret, or a `whsec_` secret that is not base64.
    pub fn new(
        current: SecretString,
        previous: Option<&SecretString>,
        style: Style,
    ) -> Result<Self, SignatureError> {
        let mut standard_keys = vec![standard_key(&current)?];
        if let Some(previous) = previous {
            standard_keys.push(standard_key(previous)?);
        }
        Ok(Self { current, standard_keys, style, previous_ends_ms: None })
    }

    /// A name of the two secrets, from which neither can be read: by it a later start knows that it is the same rotation.
    /// `None` without a previous secret.
    #[must_use]
    pub fn rotation(&self) -> Option<String> {
        let previous = self.standard_keys.get(1)?;
        let key = self.current.expose_secret().as_bytes();
        Some(hex::encode(mac(key, &[b"rotation.", previous.expose_secret()]).finalize().into_bytes()))
    }

    /// Says when the previous secret became that, in milliseconds of a clock that [`Self::at`] is asked by too.
    #[must_use]
    pub fn rotated_at(self, ms: i64) -> Self {
        Self { previous_ends_ms: Some(ms.saturating_add(PREVIOUS_MS)), ..self }
    }

    /// What signs now: a day after its rotation the previous secret does not any more.
    #[must_use]
    pub fn at(&self, now_ms: i64) -> Self {
        let mut now = self.clone();
        if self.previous_ends_ms.is_some_and(|end| now_ms >= end) {
            now.standard_keys.truncate(1);
        }
        now
    }

    /// The value of [`HEADER_AGENT_SIGNATURE`]: always by the current secret, and over its text as configured.
    #[must_use]
    pub fn agent_signature(&self, body: &[u8]) -> String {
        let digits =
            hex::encode(mac(self.current.expose_secret().as_bytes(), &[body]).finalize().into_bytes());
        match self.style {
            Style::Hex => digits,
            Style::Prefixed => format!("{STYLE_PREFIX}{digits}"),
        }
    }

    /// The value of [`HEADER_SIGNATURE`]: one signature per secret, the current one first.
    #[must_use]
    pub fn standard_signature(&self, id: &str, timestamp_s: i64, body: &[u8]) -> String {
        let timestamp = timestamp_s.to_string();
        let sign = |key: &SecretSlice<u8>| {
            let mac = standard_mac(key, id, &timestamp, body);
            format!("v1,{}", BASE64_STANDARD.encode(mac.finalize().into_bytes()))
        };
        self.standard_keys.iter().map(sign).collect::<Vec<_>>().join(" ")
    }
}

/// Whether `header` (with or without `sha256=`) signs `body` under `secret`. Compares in constant time.
#[must_use]
pub fn verify_agent(secret: &SecretString, header: &str, body: &[u8]) -> bool {
    let digits = header.strip_prefix(STYLE_PREFIX).unwrap_or(header);
    // Upper case is refused: the header is promised in lower case, and a second spelling helps nobody.
    if digits.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return false;
    }
    hex::decode(digits)
        .is_ok_and(|given| mac(secret.expose_secret().as_bytes(), &[body]).verify_slice(&given).is_ok())
}

/// Whether any signature in `signatures` is right for these headers and `body` under `secret`, and the timestamp
/// is within [`TOLERANCE_SECONDS`] of `now_s`. Compares in constant time. A broken `whsec_` secret verifies nothing.
#[must_use]
pub fn verify_standard(
    secret: &SecretString,
    id: &str,
    timestamp: &str,
    signatures: &str,
    body: &[u8],
    now_s: i64,
) -> bool {
    let Ok(sent_s) = timestamp.parse::<i64>() else { return false };
    if now_s.abs_diff(sent_s) > TOLERANCE_SECONDS.unsigned_abs() {
        return false;
    }
    let Ok(key) = standard_key(secret) else { return false };
    signatures
        .split(' ')
        .filter_map(|signature| signature.strip_prefix("v1,"))
        .filter_map(|encoded| BASE64_STANDARD.decode(encoded).ok())
        .any(|given| standard_mac(&key, id, timestamp, body).verify_slice(&given).is_ok())
}

fn standard_key(secret: &SecretString) -> Result<SecretSlice<u8>, SignatureError> {
    let text = secret.expose_secret();
    let key = match text.strip_prefix(ENCODED_PREFIX) {
        Some(encoded) => BASE64_STANDARD.decode(encoded).map_err(|_| SignatureError::NotBase64)?,
        None => text.as_bytes().to_vec(),
    };
    if key.is_empty() { Err(SignatureError::Empty) } else { Ok(SecretSlice::from(key)) }
}

fn standard_mac(key: &SecretSlice<u8>, id: &str, timestamp: &str, body: &[u8]) -> Hmac<Sha256> {
    mac(key.expose_secret(), &[id.as_bytes(), b".", timestamp.as_bytes(), b".", body])
}

fn mac(key: &[u8], parts: &[&[u8]]) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    for part in parts {
        mac.update(part);
    }
    mac
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The worked example of the Standard Webhooks reference libraries.
    const SPEC_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const SPEC_ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    const SPEC_BODY: &[u8] = br#"{"test": 2432232314}"#;
    const SPEC_SECONDS: i64 = 1_614_265_330;
    const SPEC_SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

    fn secrets(current: &str, previous: Option<&str>, style: Style) -> SigningSecrets {
        let previous = previous.map(SecretString::from);
        SigningSecrets::new(SecretString::from(current), previous.as_ref(), style).unwrap()
    }

    /// <https://docs.github.com/webhooks/using-webhooks/validating-webhook-deliveries>, "Testing the webhook payload validation".
    #[test]
    fn githubs_published_vector() {
        let digits = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        let secret = "It's a Secret to Everybody";
        assert_eq!(secrets(secret, None, Style::Hex).agent_signature(b"Hello, World!"), digits);
        let prefixed = secrets(secret, None, Style::Prefixed).agent_signature(b"Hello, World!");
        assert_eq!(prefixed, format!("sha256={digits}"));
        let secret = SecretString::from(secret);
        assert!(verify_agent(&secret, digits, b"Hello, World!"));
        assert!(verify_agent(&secret, &prefixed, b"Hello, World!"));
        assert!(!verify_agent(&secret, digits, b"Hello, World?"));
        assert!(!verify_agent(&secret, &digits.to_uppercase(), b"Hello, World!"));
        assert!(!verify_agent(&secret, &digits[..62], b"Hello, World!"));
        assert!(!verify_agent(&secret, "", b"Hello, World!"));
        assert!(!verify_agent(&SecretString::from("other"), digits, b"Hello, World!"));
    }

    #[test]
    fn standard_webhooks_published_vector() {
        let signed =
            secrets(SPEC_SECRET, None, Style::Hex).standard_signature(SPEC_ID, SPEC_SECONDS, SPEC_BODY);
        assert_eq!(signed, SPEC_SIGNATURE);
        let check = |signatures: &str, timestamp: &str, now_s| {
            verify_standard(
                &SecretString::from(SPEC_SECRET),
                SPEC_ID,
                timestamp,
                signatures,
                SPEC_BODY,
                now_s,
            )
        };
        let sent = SPEC_SECONDS.to_string();
        assert!(check(SPEC_SIGNATURE, &sent, SPEC_SECONDS));
        assert!(check(&format!("v1,AAAA v1a,zzzz {SPEC_SIGNATURE}"), &sent, SPEC_SECONDS + 300));
        assert!(!check(SPEC_SIGNATURE, &sent, SPEC_SECONDS + 301));
        assert!(!check(SPEC_SIGNATURE, &sent, SPEC_SECONDS - 301));
        assert!(!check(SPEC_SIGNATURE, &(SPEC_SECONDS + 1).to_string(), SPEC_SECONDS));
        assert!(!check(&SPEC_SIGNATURE.replace("v1,", "v2,"), &sent, SPEC_SECONDS));
        assert!(!check("", &sent, SPEC_SECONDS));
        assert!(!check(SPEC_SIGNATURE, "yesterday", SPEC_SECONDS));
    }

    #[test]
    fn during_a_rotation_both_secrets_verify_and_the_agent_header_is_the_current_ones() {
        let both = secrets("new secret", Some(SPEC_SECRET), Style::Hex);
        let signed = both.standard_signature(SPEC_ID, SPEC_SECONDS, SPEC_BODY);
        assert_eq!(signed.split(' ').count(), 2);
        assert!(signed.ends_with(SPEC_SIGNATURE));
        for secret in ["new secret", SPEC_SECRET] {
            let secret = SecretString::from(secret);
            let sent = SPEC_SECONDS.to_string();
            assert!(verify_standard(&secret, SPEC_ID, &sent, &signed, SPEC_BODY, SPEC_SECONDS));
        }
        let agent = both.agent_signature(SPEC_BODY);
        assert!(verify_agent(&SecretString::from("new secret"), &agent, SPEC_BODY));
        assert!(!verify_agent(&SecretString::from(SPEC_SECRET), &agent, SPEC_BODY));
    }

    #[test]
    fn the_previous_secret_ends_a_day_after_its_rotation() {
        let both = secrets("new secret", Some(SPEC_SECRET), Style::Hex).rotated_at(1_000);
        let signatures =
            |now_ms| both.at(now_ms).standard_signature(SPEC_ID, SPEC_SECONDS, SPEC_BODY).split(' ').count();
        assert_eq!([1_000, 86_400_999, 86_401_000].map(signatures), [2, 2, 1]);
        let only = both.at(i64::MAX).standard_signature(SPEC_ID, SPEC_SECONDS, SPEC_BODY);
        assert_eq!(
            only,
            secrets("new secret", None, Style::Hex).standard_signature(SPEC_ID, SPEC_SECONDS, SPEC_BODY)
        );
        let named = |current, previous| secrets(current, previous, Style::Hex).rotation();
        assert_eq!(named("a", None), None);
        assert_eq!(named("a", Some("b")), named("a", Some("b")));
        assert!(
            named("a", Some("b")) != named("b", Some("a")) && named("a", Some("b")) != named("a", Some("c"))
        );
    }

    #[test]
    fn the_agent_header_signs_with_a_whsec_secret_as_it_is_written() {
        let agent = secrets(SPEC_SECRET, None, Style::Hex).agent_signature(SPEC_BODY);
        assert!(verify_agent(&SecretString::from(SPEC_SECRET), &agent, SPEC_BODY));
    }

    #[test]
    fn unusable_secrets_are_refused_and_never_shown() {
        let refused =
            |text: &str| SigningSecrets::new(SecretString::from(text), None, Style::Hex).unwrap_err();
        assert_eq!(refused(""), SignatureError::Empty);
        assert_eq!(refused("whsec_"), SignatureError::Empty);
        assert_eq!(refused("whsec_!!!"), SignatureError::NotBase64);
        let shown = format!("{:?}", secrets("hunter2hunter2", Some("hunter1hunter1"), Style::Hex));
        assert!(!shown.contains("hunter"), "{shown}");
    }
}
