//! Reading GitHub's answers: what a status, its headers and its body mean. Pure.

use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::{HeaderMap, RETRY_AFTER};
use serde_json::Value;

use super::error::{ForgeError, Refusal};

/// Wait when a limit says nothing about its end (GitHub's documentation: at least one minute).
const LIMIT_WAIT_DEFAULT: Duration = Duration::from_secs(60);
/// Longest wait believed: GitHub's window is one hour, and a wrong clock on either side must not stop us for longer.
const LIMIT_WAIT_MAX: Duration = Duration::from_secs(3_600);
/// Longest text of the forge that is kept, in characters: a sentence or two, not a page of HTML.
const TEXT_CHARS_MAX: usize = 300;

/// A complete answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

impl Answer {
    /// The body of a success, or what went wrong. `now_s` is Unix seconds.
    pub(super) fn judge(&self, is_write: bool, now_s: i64) -> Result<Value, ForgeError> {
        let body: Option<Value> = serde_json::from_slice(&self.body).ok();
        if self.status.is_success() {
            return body.ok_or_else(|| unusable(is_write, "its answer is not JSON"));
        }
        let text = body.as_ref().map(message).unwrap_or_default();
        if self.is_limit(&text) {
            return Err(ForgeError::RateLimited { retry_after: self.limit_wait(now_s) });
        }
        let text = if text.is_empty() { format!("status {}", self.status.as_u16()) } else { text };
        Err(match self.status.as_u16() {
            301 | 302 | 307 | 308 => ForgeError::Moved,
            401 => ForgeError::Auth,
            403 if text.to_ascii_lowercase().contains("archived") => ForgeError::Archived,
            403 => ForgeError::Forbidden { text },
            404 | 410 | 451 => ForgeError::NotFound,
            408 | 500.. => ForgeError::Unavailable {
                unclear: is_write,
                text: format!("status {}", self.status.as_u16()),
            },
            _ => ForgeError::Refused { refusal: refusal(body.as_ref(), &text), text },
        })
    }

    /// How long to stay silent after a success that used up the last request of the window.
    pub(super) fn wait_after_success(&self, now_s: i64) -> Option<Duration> {
        let last = self.status.is_success() && self.header("x-ratelimit-remaining") == Some("0");
        last.then(|| self.limit_wait(now_s))
    }

    fn is_limit(&self, text: &str) -> bool {
        match self.status.as_u16() {
            429 => true,
            403 => {
                self.headers.contains_key(RETRY_AFTER)
                    || self.header("x-ratelimit-remaining") == Some("0")
                    || text.to_ascii_lowercase().contains("rate limit")
            }
            _ => false,
        }
    }

    fn limit_wait(&self, now_s: i64) -> Duration {
        let asked = self.header(RETRY_AFTER.as_str()).and_then(|value| value.trim().parse().ok());
        let until_reset = || {
            let exhausted = self.header("x-ratelimit-remaining").is_none_or(|left| left == "0");
            let reset_s: i64 = self.header("x-ratelimit-reset").filter(|_| exhausted)?.trim().parse().ok()?;
            u64::try_from(reset_s.saturating_sub(now_s)).ok()
        };
        // A second on top: both sides cut their seconds off.
        let wait = asked.or_else(until_reset).map(|seconds| Duration::from_secs(seconds.saturating_add(1)));
        wait.unwrap_or(LIMIT_WAIT_DEFAULT).min(LIMIT_WAIT_MAX)
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// The error for an answer that came but cannot be understood.
pub(super) fn unusable(is_write: bool, text: &str) -> ForgeError {
    ForgeError::Unavailable { unclear: is_write, text: text.to_owned() }
}

/// One line, printable, short.
pub(super) fn plain(text: &str) -> String {
    let words = text.split(|character: char| character.is_whitespace() || character.is_control());
    let line = words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    line.chars().take(TEXT_CHARS_MAX).collect()
}

/// GitHub's `message` with the messages of its `errors`, which say what is meant by "Validation Failed".
fn message(body: &Value) -> String {
    let mut parts = vec![body["message"].as_str().unwrap_or_default().to_owned()];
    for error in body["errors"].as_array().into_iter().flatten() {
        match (error.as_str(), error["message"].as_str(), error["field"].as_str(), error["code"].as_str()) {
            (Some(text), ..) | (None, Some(text), ..) => parts.push(text.to_owned()),
            (None, None, Some(field), Some(code)) => parts.push(format!("{field} is {code}")),
            _ => {}
        }
    }
    parts.retain(|part| !part.is_empty());
    plain(&parts.join(": "))
}

fn refusal(body: Option<&Value>, text: &str) -> Refusal {
    let errors = body.and_then(|body| body["errors"].as_array()).map(Vec::as_slice).unwrap_or_default();
    let is_head = |error: &Value| error["field"] == "head" && error["code"] == "invalid";
    let text = text.to_ascii_lowercase();
    if text.contains("pull request already exists") {
        Refusal::AlreadyExists
    } else if text.contains("no commits between") {
        Refusal::NoCommits
    } else if text.contains("draft pull requests are not supported") {
        Refusal::NoDrafts
    } else if errors.iter().any(is_head) {
        Refusal::HeadInvalid
    } else {
        Refusal::Other
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const NOW_S: i64 = 1_000_000;

    fn judge(status: u16, headers: &[(&'static str, &str)], body: &Value) -> ForgeError {
        let headers = headers
            .iter()
            .map(|(name, value)| (reqwest::header::HeaderName::from_static(name), value.parse().unwrap()))
            .collect();
        let status = StatusCode::from_u16(status).unwrap();
        let answer = Answer { status, headers, body: body.to_string().into_bytes() };
        answer.judge(true, NOW_S).unwrap_err()
    }

    fn limited(seconds: u64) -> ForgeError {
        ForgeError::RateLimited { retry_after: Duration::from_secs(seconds) }
    }

    #[test]
    fn limits_are_told_from_refusals() {
        let secondary = json!({"message": "You have exceeded a secondary rate limit."});
        let none = json!({});
        assert_eq!(judge(403, &[("retry-after", "7")], &none), limited(8));
        assert_eq!(judge(429, &[("retry-after", "7"), ("x-ratelimit-reset", "1000100")], &none), limited(8));
        let spent = [("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1000100")];
        assert_eq!(judge(403, &spent, &none), limited(101));
        let not_spent = [("x-ratelimit-remaining", "4000"), ("x-ratelimit-reset", "1000900")];
        assert_eq!(judge(403, &not_spent, &secondary), limited(60));
        assert_eq!(judge(403, &[], &secondary), limited(60));
        assert_eq!(judge(429, &[], &none), limited(60));
        assert_eq!(judge(429, &[("retry-after", "soon")], &none), limited(60));
        assert_eq!(judge(429, &[("retry-after", "999999999999")], &none), limited(3_600));
        let past = [("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "5")];
        assert_eq!(judge(403, &past, &none), limited(60));
        assert!(matches!(judge(403, &not_spent, &none), ForgeError::Forbidden { .. }));
    }

    #[test]
    fn statuses_have_their_meaning() {
        let body = |message: &str| json!({"message": message});
        assert_eq!(judge(401, &[], &body("Bad credentials")), ForgeError::Auth);
        assert_eq!(judge(404, &[], &body("Not Found")), ForgeError::NotFound);
        assert_eq!(judge(301, &[], &body("Moved Permanently")), ForgeError::Moved);
        assert_eq!(judge(403, &[], &body("Repository was archived so is read-only.")), ForgeError::Archived);
        let forbidden = ForgeError::Forbidden { text: "Resource not accessible".to_owned() };
        assert_eq!(judge(403, &[], &body("Resource not accessible")), forbidden);
        for status in [500, 502, 503, 504] {
            assert!(matches!(
                judge(status, &[], &json!("<html>")),
                ForgeError::Unavailable { unclear: true, .. }
            ));
        }
    }

    #[test]
    fn refusals_with_a_remedy_are_recognised() {
        let refusal_of = |body: Value| match judge(422, &[], &body) {
            ForgeError::Refused { refusal, .. } => refusal,
            other => panic!("{other:?}"),
        };
        let validation = |error: Value| json!({"message": "Validation Failed", "errors": [error]});
        let exists = json!({"code": "custom", "message": "A pull request already exists for acme:job/1."});
        assert_eq!(refusal_of(validation(exists)), Refusal::AlreadyExists);
        let head = json!({"resource": "PullRequest", "field": "head", "code": "invalid"});
        assert_eq!(refusal_of(validation(head)), Refusal::HeadInvalid);
        let base = json!({"resource": "PullRequest", "field": "base", "code": "invalid"});
        assert_eq!(refusal_of(validation(base)), Refusal::Other);
        assert_eq!(
            refusal_of(validation(json!({"message": "No commits between main and x"}))),
            Refusal::NoCommits
        );
        let drafts = json!({"message": "Draft pull requests are not supported in this repository."});
        assert_eq!(refusal_of(drafts), Refusal::NoDrafts);
        assert_eq!(refusal_of(json!({"message": "odd", "errors": ["text", 7, null]})), Refusal::Other);
    }

    #[test]
    fn texts_are_short_and_printable() {
        let long = format!("a\u{1b}[2J\nb {}", "x".repeat(10_000));
        let error = judge(422, &[], &json!({"message": long}));
        let ForgeError::Refused { text, .. } = error else { panic!("{error:?}") };
        assert!(text.starts_with("a [2J b x") && text.chars().count() == TEXT_CHARS_MAX, "{text}");
    }
}
