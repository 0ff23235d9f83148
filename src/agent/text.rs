//! Text of unknown origin made fit for people: bounded, and with nothing that acts on a terminal.

use std::fmt::Write as _;
use std::path::Path;

/// Gives `text` with control characters written out (`\x1b`) and cut to about `bytes_max` bytes with a mark that
/// says how much is missing. Newlines and tabs stay. Direction overrides are written out too: they can make a
/// command look like another one.
pub(super) fn visible(text: &str, bytes_max: usize) -> String {
    let mut shown = String::with_capacity(text.len().min(bytes_max) + 16);
    for (at, character) in text.char_indices() {
        if shown.len() >= bytes_max {
            let _ = write!(shown, "… ({} more bytes)", text.len() - at);
            break;
        }
        push_visible(&mut shown, character);
    }
    shown
}

/// Like [`visible`] for bytes; what is not UTF-8 is written out byte by byte.
pub(super) fn visible_bytes(bytes: &[u8], bytes_max: usize) -> String {
    // Four shown bytes stand for one at most, so nothing behind this is ever shown.
    let shown_part = &bytes[..bytes.len().min(bytes_max)];
    let mut shown = String::with_capacity(shown_part.len());
    for chunk in shown_part.utf8_chunks() {
        shown.push_str(&visible(chunk.valid(), bytes_max));
        for byte in chunk.invalid() {
            let _ = write!(shown, "\\x{byte:02x}");
        }
    }
    let over = bytes.len() - shown_part.len();
    if shown.len() > bytes_max {
        let mut end = bytes_max;
        while !shown.is_char_boundary(end) {
            end -= 1;
        }
        shown.truncate(end);
        shown.push('…');
    }
    if over > 0 {
        let _ = write!(shown, " ({over} more bytes)");
    }
    shown
}

/// The text on one line: runs of white space become one blank.
pub fn one_line(text: &str, bytes_max: usize) -> String {
    let mut line = String::new();
    for word in text.split_whitespace() {
        if !line.is_empty() {
            line.push(' ');
        }
        if line.len() + word.len() > bytes_max {
            let mut end = bytes_max.saturating_sub(line.len()).min(word.len());
            while !word.is_char_boundary(end) {
                end -= 1;
            }
            line.push_str(&word[..end]);
            line.truncate(line.trim_end().len());
            line.push('…');
            break;
        }
        line.push_str(word);
    }
    visible(&line, bytes_max * 4)
}

/// A path without the checkout in front of it; what does not lie below it is given as it is.
pub(super) fn below<'t>(path: &'t str, working_dir: &Path) -> &'t str {
    let Some(dir) = working_dir.to_str().filter(|dir| !dir.is_empty()) else { return path };
    let rest = path.strip_prefix(dir).and_then(|rest| rest.strip_prefix('/'));
    rest.filter(|rest| !rest.is_empty()).unwrap_or(path)
}

/// The beginning of `text`, at most `bytes_max` bytes and a mark.
pub(super) fn head(text: &str, bytes_max: usize) -> String {
    let mut end = text.len().min(bytes_max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let mark = if end < text.len() { "…" } else { "" };
    format!("{}{mark}", &text[..end])
}

fn push_visible(shown: &mut String, character: char) {
    match character {
        '\n' | '\t' => shown.push(character),
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' => {
            let _ = write!(shown, "\\u{{{:x}}}", u32::from(character));
        }
        _ if character.is_control() => {
            let _ = write!(shown, "\\x{:02x}", u32::from(character));
        }
        _ => shown.push(character),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_acts_on_a_terminal_is_written_out() {
        let rows = [
            ("plain\n\ttext", "plain\n\ttext"),
            ("\u{1b}[2Jgone", "\\x1b[2Jgone"),
            ("a\rb\u{7}\u{9b}31m", "a\\x0db\\x07\\x9b31m"),
            ("x\u{202e}y", "x\\u{202e}y"),
        ];
        for (given, shown) in rows {
            assert_eq!(visible(given, 100), shown);
        }
    }

    #[test]
    fn a_path_is_shown_from_the_checkout_on() {
        let rows = [
            ("/w/tree/src/a.rs", "src/a.rs"),
            ("/w/treetop/a.rs", "/w/treetop/a.rs"),
            ("/w/tree/", "/w/tree/"),
            ("a.rs", "a.rs"),
        ];
        for (path, shown) in rows {
            assert_eq!(below(path, Path::new("/w/tree")), shown);
        }
        assert_eq!(below("/a", Path::new("")), "/a");
    }

    #[test]
    fn the_cut_says_how_much_is_missing() {
        assert_eq!(visible("abcdefgh", 3), "abc… (5 more bytes)");
        assert_eq!(visible_bytes(b"ok\xff\xfe", 100), "ok\\xff\\xfe");
        assert_eq!(visible_bytes(b"abcdefgh", 3), "abc (5 more bytes)");
        assert_eq!(one_line("a  b\n c d", 5), "a b c…");
    }

    proptest! {
        #[test]
        fn nothing_shown_is_unbounded_or_a_control_character(
            bytes in proptest::collection::vec(any::<u8>(), 0..400),
            bytes_max in 0_usize..100,
        ) {
            let lossy = String::from_utf8_lossy(&bytes);
            for shown in [visible_bytes(&bytes, bytes_max), visible(&lossy, bytes_max), one_line(&lossy, bytes_max)] {
                prop_assert!(shown.len() <= bytes_max * 4 + 60, "{} bytes", shown.len());
                prop_assert!(!shown.chars().any(|c| c.is_control() && c != '\n' && c != '\t'));
            }
        }
    }
}
