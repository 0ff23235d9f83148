//! Statuses of the model's API, as agents that only pass its words on leave them.

use super::Fault;
use super::lenient::{Object, Scalar};
use serde::Deserialize;

/// What a status means where nothing else is known. That of a limit may be one per minute, so it is no usage limit.
pub(super) fn fault_of(status: Option<u16>) -> Fault {
    match status {
        Some(401) => Fault::NotLoggedIn,
        // 503 and 529 are said by servers that are full: RFC 9110 section 15.6.4, and Anthropic's own number
        Some(429 | 503 | 529) => Fault::Overloaded { again_at: None },
        status => Fault::ApiError { status },
    }
}

/// The status that stands behind the first of `marks` that occurs in `text`.
pub(super) fn status_behind(text: &str, marks: &[&str]) -> Option<u16> {
    marks.iter().find_map(|mark| {
        let digits = text.split_once(mark)?.1.trim_start_matches(' ').get(..3)?;
        digits.parse().ok().filter(|status| (400..600).contains(status))
    })
}

/// The API's own answer about a limit, which is passed on where the agent makes no sentence of it.
#[expect(clippy::option_option, reason = "a limit, and whether its end is known")]
pub(super) fn limit_passed_on(message: &str) -> Option<Option<i64>> {
    let answer: ApiAnswer = serde_json::from_str(message).ok()?;
    let failure = answer.error.0;
    (failure.r#type.as_str() == Some("usage_limit_reached"))
        .then(|| failure.resets_at.as_count().and_then(|at| i64::try_from(at).ok()).filter(|at| *at > 0))
}

/// What the model's API says about a login whose allowance is used up, where it is passed on as it came.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ApiAnswer {
    error: Object<ApiFailure>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ApiFailure {
    r#type: Scalar,
    /// Unix seconds.
    resets_at: Scalar,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_is_read_where_it_is_marked_and_nowhere_else() {
        let marks = ["unexpected status ", "\"code\":"];
        let rows = [
            ("unexpected status 529 <unknown>: full", Some(529)),
            ("{\"code\": 401,\"x\":1}", Some(401)),
            ("it took 500 ms", None),
            ("unexpected status 200 OK", None),
            ("unexpected status 5", None),
            ("unexpected status ünï", None),
        ];
        for (text, status) in rows {
            assert_eq!(status_behind(text, &marks), status, "{text}");
        }
        assert_eq!(
            fault_of(Some(429)),
            Fault::Overloaded { again_at: None },
            "not known to be a usage limit"
        );
    }
}
