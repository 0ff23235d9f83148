//! What all ways of telling have in common: the lines below a title, and cutting without breaking.

use crate::domain::phrases;
use crate::wire::notice::Notice;

/// Characters of a sentence or a hint that anybody reads on a phone.
const SENTENCE_CHARS_MAX: usize = 600;

/// A notice with the address of its page in the dashboard.
#[derive(Clone, Copy, Debug)]
pub(super) struct Told<'a> {
    pub(super) notice: &'a Notice,
    pub(super) page: &'a str,
}

impl Told<'_> {
    pub(super) fn title(&self) -> String {
        phrases::one_line(&self.notice.title, SENTENCE_CHARS_MAX)
    }

    pub(super) fn sentence(&self) -> String {
        cut(&phrases::printable(self.notice.sentence.trim()), SENTENCE_CHARS_MAX)
    }

    pub(super) fn hint(&self) -> Option<String> {
        self.notice.hint.as_deref().map(|hint| cut(&phrases::printable(hint.trim()), SENTENCE_CHARS_MAX))
    }

    /// `acme/widgets, fix/login`
    pub(super) fn place(&self) -> Option<String> {
        let (repository, branch) = (self.notice.repository.as_deref()?, self.notice.branch_name.as_deref()?);
        Some(phrases::printable(&format!("{repository}, {branch}")))
    }

    /// The pull request, if its address is one that can be put into a header or between brackets.
    pub(super) fn pull_request(&self) -> Option<&str> {
        self.notice.pr_url.as_deref().filter(|url| {
            url.starts_with("http") && url.bytes().all(|b| b.is_ascii_graphic() && !b"<>|\"".contains(&b))
        })
    }
}

/// At most `chars_max` characters, the last one an ellipsis where something was cut.
pub(super) fn cut(text: &str, chars_max: usize) -> String {
    if text.chars().count() <= chars_max {
        return text.to_owned();
    }
    let kept: String = text.chars().take(chars_max.saturating_sub(1)).collect();
    format!("{}…", kept.trim_end())
}

/// `text` with each of the characters `replaced` by what stands beside it.
pub(super) fn escape(text: &str, replaced: &[(char, &str)]) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match replaced.iter().find(|(of, _)| *of == c) {
            Some((_, by)) => escaped.push_str(by),
            None => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::domain::id::EventId;
    use crate::domain::notice::NoticeKind;
    use crate::domain::time::Timestamp;

    pub(crate) const PAGE: &str = "http://127.0.0.1:3456/ui/jobs/7";

    /// Of a job with everything.
    pub(crate) fn notice(kind: NoticeKind) -> Notice {
        Notice {
            type_: kind.to_string(),
            title: "Job 7 finished: Größe <b> & mehr".to_owned(),
            sentence: "Pull request #12 is open. 3 files changed.".to_owned(),
            hint: Some("offshoot show 7".to_owned()),
            job_id: Some("job-7fk2".to_owned()),
            number: Some(7),
            repository: Some("acme/widgets".to_owned()),
            branch_name: Some("fix/log_in".to_owned()),
            pr_url: Some("https://github.com/acme/widgets/pull/12".to_owned()),
            files_changed: Some(3),
            ..Notice::test(&EventId::from_random("aaaa2222"), Timestamp::from_ms(1_795_254_480_000))
        }
    }

    /// The longest that there is, of characters that have to be escaped everywhere.
    pub(crate) fn longest() -> Notice {
        let long = |chars: usize| "<*&_".repeat(chars / 4);
        Notice {
            title: long(120),
            sentence: long(2_048),
            hint: Some(long(800)),
            branch_name: Some(long(200)),
            repository: Some(long(140)),
            ..notice(NoticeKind::Failed)
        }
    }

    #[test]
    fn what_is_cut_says_so_and_steering_characters_are_gone() {
        assert_eq!(cut("abc", 3), "abc");
        assert_eq!(cut("ab cd", 4), "ab…");
        let mut steers = notice(NoticeKind::Failed);
        steers.sentence = "a\u{1b}[31m\u{202e}b".to_owned();
        steers.pr_url = Some("https://x/\nClick: y".to_owned());
        let told = Told { notice: &steers, page: PAGE };
        assert_eq!((told.sentence().as_str(), told.pull_request()), ("a [31m b", None));
        assert_eq!(Told { notice: &longest(), page: PAGE }.sentence().chars().count(), SENTENCE_CHARS_MAX);
    }
}
