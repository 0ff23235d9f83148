//! Discord's webhooks: one text in its Markdown, of at most 2,000 characters.
//! <https://discord.com/developers/docs/resources/webhook#execute-webhook>

use super::Letter;
use super::text::{Told, escape};

/// A longer text is refused. Counted as JavaScript does, which is never less than otherwise.
const CONTENT_UNITS_MAX: usize = 2_000;

/// What has a meaning within a line.
const ESCAPED: &[(char, &str)] = &[
    ('\\', "\\\\"),
    ('*', "\\*"),
    ('_', "\\_"),
    ('~', "\\~"),
    ('`', "\\`"),
    ('|', "\\|"),
    ('>', "\\>"),
    ('<', "\\<"),
    ('[', "\\["),
    ('#', "\\#"),
];

pub(super) fn letter(told: Told<'_>) -> Letter {
    let plain = |text: String| escape(&text, ESCAPED);
    let title = format!("**{}**", plain(told.title()));
    // in angle brackets a link has no preview
    let links = [told.pull_request(), Some(told.page)].into_iter().flatten().map(|url| format!("<{url}>"));
    let links = links.collect::<Vec<_>>().join("\n");
    let mut room = CONTENT_UNITS_MAX.saturating_sub(units(&title) + units(&links) + 1);
    let mut lines = vec![title];
    for line in [Some(told.sentence()), told.place(), told.hint()].into_iter().flatten() {
        let line = fitting(&plain(line), room.saturating_sub(1));
        if !line.is_empty() {
            room = room.saturating_sub(units(&line) + 1);
            lines.push(line);
        }
    }
    lines.push(links);
    // whatever somebody has written calls nobody
    let body = serde_json::json!({ "content": lines.join("\n"), "allowed_mentions": { "parse": [] } });
    Letter::json(&body)
}

fn units(text: &str) -> usize {
    text.encode_utf16().count()
}

/// As much of `text` as fits, without half of an escape at its end.
fn fitting(text: &str, units_max: usize) -> String {
    if units(text) <= units_max {
        return text.to_owned();
    }
    let mut taken = 0;
    let kept: String = text
        .chars()
        .take_while(|c| {
            taken += c.len_utf16();
            taken < units_max
        })
        .collect();
    let kept_bytes = kept.len();
    let backslashes = kept_bytes - kept.trim_end_matches('\\').len();
    let whole = &kept[..kept_bytes - backslashes % 2];
    if whole.is_empty() { String::new() } else { format!("{whole}…") }
}

#[cfg(test)]
mod tests {
    use super::super::text::tests::{PAGE, longest, notice};
    use super::*;
    use crate::domain::notice::NoticeKind;

    fn content(sent: &Letter) -> String {
        let body: serde_json::Value = serde_json::from_slice(&sent.body).unwrap();
        assert_eq!(body["allowed_mentions"], serde_json::json!({ "parse": [] }));
        body["content"].as_str().unwrap().to_owned()
    }

    #[test]
    fn the_text_calls_nobody_and_nothing_in_it_is_markup() {
        let sent = letter(Told { notice: &notice(NoticeKind::Finished), page: PAGE });
        let expected = "**Job 7 finished: Größe \\<b\\> & mehr**\nPull request \\#12 is open. 3 files changed.\n\
            acme/widgets, fix/log\\_in\noffshoot show 7\n\
            <https://github.com/acme/widgets/pull/12>\n<http://127.0.0.1:3456/ui/jobs/7>";
        assert_eq!(content(&sent), expected);
    }

    #[test]
    fn the_longest_fits_with_its_links_whole() {
        let text = content(&letter(Told { notice: &longest(), page: PAGE }));
        assert!(units(&text) <= CONTENT_UNITS_MAX, "{}", units(&text));
        assert!(text.ends_with("<http://127.0.0.1:3456/ui/jobs/7>"), "{text}");
        assert!(units(&text) > 1_900, "the room is used: {}", units(&text));
    }

    #[test]
    fn nothing_is_torn() {
        assert_eq!(fitting("a\\*b", 4), "a\\*b");
        assert_eq!(fitting("a\\*bc", 3), "a…", "half of an escape");
        assert_eq!(fitting("😀😀😀", 5), "😀😀…");
        assert_eq!(fitting("abc", 0), "");
    }
}
