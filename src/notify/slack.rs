//! Slack's incoming webhooks, and who takes the same: one text in mrkdwn.
//! <https://docs.slack.dev/messaging/formatting-message-text>

use super::Letter;
use super::text::{Told, escape};

/// The three characters that steer: a mention or a link under another name begins with `<`.
const ESCAPED: &[(char, &str)] = &[('&', "&amp;"), ('<', "&lt;"), ('>', "&gt;")];
/// Mattermost besides calls all who are named by a bare `@`, and reads Markdown, in which `](` hides where a link leads: a space of no
/// width stands between. <https://developers.mattermost.com/integrate/webhooks/incoming/>
const BROKEN: &[(char, &str)] = &[('@', "@\u{200b}"), (']', "]\u{200b}")];

pub(super) fn letter(told: Told<'_>) -> Letter {
    let plain = |text: String| escape(&escape(&text, ESCAPED), BROKEN);
    let link = |url: &str, text: &str| format!("<{}|{text}>", escape(url, ESCAPED));
    let mut links = vec![link(told.page, "dashboard")];
    links.extend(told.pull_request().map(|url| link(url, "pull request")));
    let lines = [
        Some(format!("*{}*", plain(told.title()))),
        Some(plain(told.sentence())),
        told.place().map(plain),
        told.hint().map(plain),
        Some(links.join(" | ")),
    ];
    let text = lines.into_iter().flatten().collect::<Vec<_>>().join("\n");
    Letter::json(&serde_json::json!({ "text": text }))
}

#[cfg(test)]
mod tests {
    use super::super::text::tests::{PAGE, longest, notice};
    use super::*;
    use crate::domain::notice::NoticeKind;

    fn text(sent: &Letter) -> String {
        let body: serde_json::Value = serde_json::from_slice(&sent.body).unwrap();
        assert_eq!(body.as_object().unwrap().len(), 1);
        body["text"].as_str().unwrap().to_owned()
    }

    #[test]
    fn the_text_with_its_links() {
        let sent = letter(Told { notice: &notice(NoticeKind::Finished), page: PAGE });
        assert_eq!(sent.headers, [("content-type", "application/json".to_owned())]);
        let expected = "*Job 7 finished: Größe &lt;b&gt; &amp; mehr*\nPull request #12 is open. 3 files changed.\n\
            acme/widgets, fix/log_in\noffshoot show 7\n\
            <http://127.0.0.1:3456/ui/jobs/7|dashboard> | <https://github.com/acme/widgets/pull/12|pull request>";
        assert_eq!(text(&sent), expected);
    }

    #[test]
    fn nobody_is_called_by_what_somebody_has_written_and_no_link_in_it_hides_where_it_leads() {
        for (written, expected) in [
            ("<!channel> look", "&lt;!channel&gt; look"),
            ("<@U123>", "&lt;@\u{200b}U123&gt;"),
            ("@all @channel @ada", "@\u{200b}all @\u{200b}channel @\u{200b}ada"),
            ("<https://x.example|dashboard>", "&lt;https://x.example|dashboard&gt;"),
            ("[dashboard](https://x.example)", "[dashboard]\u{200b}(https://x.example)"),
            // seen for what it is
            ("see https://x.example", "see https://x.example"),
        ] {
            let mut calls = notice(NoticeKind::Failed);
            (calls.title, calls.sentence) = (written.to_owned(), written.to_owned());
            (calls.branch_name, calls.hint) = (Some(written.to_owned()), Some(written.to_owned()));
            calls.pr_url = None;
            let text = text(&letter(Told { notice: &calls, page: PAGE }));
            assert_eq!(text.matches(expected).count(), 4, "{text}");
            assert_eq!(text.matches('<').count(), 1, "the link of ours");
        }
    }

    #[test]
    fn the_longest_fits() {
        // Slack cuts at 40,000 characters
        assert!(text(&letter(Told { notice: &longest(), page: PAGE })).chars().count() < 10_000);
    }
}
