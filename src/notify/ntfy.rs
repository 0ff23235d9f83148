//! ntfy: the text as the body, everything else in headers. <https://docs.ntfy.sh/publish/>

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret as _, SecretString};

use super::Letter;
use super::text::Told;
use crate::domain::notice::NoticeKind;

/// ntfy makes a longer message a file to be downloaded.
const BODY_BYTES_MAX: usize = 4_096;
/// An encoded word has at most 75 characters (RFC 2047, 2); 45 bytes become 60, and 12 are around them.
const WORD_BYTES_MAX: usize = 45;

pub(super) fn letter(told: Told<'_>, token: Option<&SecretString>) -> Letter {
    let kind = told.notice.kind();
    let lines = [Some(told.sentence()), told.place(), told.hint(), Some(told.page.to_owned())];
    let mut body = lines.into_iter().flatten().collect::<Vec<_>>().join("\n");
    body.truncate(body.floor_char_boundary(BODY_BYTES_MAX));
    let mut headers = vec![
        ("content-type", "text/plain; charset=utf-8".to_owned()),
        ("title", header_text(&told.title())),
        ("priority", if kind.is_urgent() { "high" } else { "default" }.to_owned()),
        ("tags", tag(kind).to_owned()),
        ("click", told.pull_request().unwrap_or(told.page).to_owned()),
    ];
    headers.extend(token.map(|token| ("authorization", format!("Bearer {}", token.expose_secret()))));
    Letter { headers, body: body.into_bytes() }
}

/// ntfy shows these as emoji.
const fn tag(kind: NoticeKind) -> &'static str {
    match kind {
        NoticeKind::Finished => "white_check_mark",
        NoticeKind::Failed => "x",
        NoticeKind::NeedsInput => "speech_balloon",
        NoticeKind::Held => "hourglass_flowing_sand",
        NoticeKind::Resumed => "arrow_forward",
        NoticeKind::Test => "wave",
    }
}

/// As it is where it is plain ASCII, else in encoded words of RFC 2047.
fn header_text(text: &str) -> String {
    if text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()) && !text.contains("=?") {
        return text.to_owned();
    }
    let mut words = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        // no character may be torn: each word is decoded for itself
        let (word, behind) = rest.split_at(rest.floor_char_boundary(WORD_BYTES_MAX));
        words.push(format!("=?UTF-8?B?{}?=", STANDARD.encode(word)));
        rest = behind;
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::super::text::tests::{PAGE, longest, notice};
    use super::*;

    #[test]
    fn the_text_and_its_headers() {
        let sent = letter(Told { notice: &notice(NoticeKind::Finished), page: PAGE }, None);
        let expected = [
            ("content-type", "text/plain; charset=utf-8"),
            ("title", "=?UTF-8?B?Sm9iIDcgZmluaXNoZWQ6IEdyw7bDn2UgPGI+ICYgbWVocg==?="),
            ("priority", "default"),
            ("tags", "white_check_mark"),
            ("click", "https://github.com/acme/widgets/pull/12"),
        ];
        let found: Vec<_> = sent.headers.iter().map(|(name, text)| (*name, text.as_str())).collect();
        assert_eq!(found, expected);
        let body = "Pull request #12 is open. 3 files changed.\nacme/widgets, fix/log_in\noffshoot show 7\n\
            http://127.0.0.1:3456/ui/jobs/7";
        assert_eq!(String::from_utf8(sent.body).unwrap(), body);
    }

    #[test]
    fn what_needs_somebody_is_of_high_priority_and_a_token_is_sent() {
        let token = SecretString::from("tk_hush");
        for (kind, priority) in [
            (NoticeKind::Failed, "high"),
            (NoticeKind::NeedsInput, "high"),
            (NoticeKind::Held, "high"),
            (NoticeKind::Resumed, "default"),
            (NoticeKind::Test, "default"),
        ] {
            let mut notice = notice(kind);
            notice.pr_url = None;
            let sent = letter(Told { notice: &notice, page: PAGE }, Some(&token));
            let header = |name: &str| sent.headers.iter().find(|(of, _)| *of == name).unwrap().1.as_str();
            assert_eq!((header("priority"), header("click")), (priority, PAGE), "{kind}");
            assert_eq!(header("authorization"), "Bearer tk_hush");
        }
    }

    #[test]
    fn a_title_of_any_characters_travels_as_ascii_in_short_words() {
        for text in ["plain: ok", "Größe", "=?UTF-8?B?eA==?=", &"日本語".repeat(40), "tab\there"] {
            let header = header_text(text);
            assert!(header.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()), "{header}");
            if header == text {
                continue;
            }
            let decoded: Vec<u8> = header
                .split(' ')
                .flat_map(|word| {
                    assert!(word.len() <= 75, "{word}");
                    STANDARD
                        .decode(word.strip_prefix("=?UTF-8?B?").unwrap().strip_suffix("?=").unwrap())
                        .unwrap()
                })
                .collect();
            assert_eq!(String::from_utf8(decoded).unwrap(), text);
        }
        assert!(letter(Told { notice: &longest(), page: PAGE }, None).body.len() <= BODY_BYTES_MAX);
    }
}
