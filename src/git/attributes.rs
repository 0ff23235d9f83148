//! The two conversions of content that git does by itself on the way into a commit: line ends and `$Id$`.

use std::borrow::Cow;

use super::rules::{ContentRules, Text};

/// The bytes that git would store. `stored_has_crlf` tells whether the stored version has CR LF already, in which
/// case an automatic conversion leaves the file alone, as git does (gitattributes(5), `text=auto`).
pub(super) fn clean<'a>(
    bytes: &'a [u8],
    rules: &ContentRules,
    stored_has_crlf: impl FnOnce() -> bool,
) -> Cow<'a, [u8]> {
    let convert = match rules.text {
        Text::Untouched => false,
        Text::Always => has_crlf(bytes),
        Text::Auto => has_crlf(bytes) && !is_binary(bytes) && !stored_has_crlf(),
    };
    let lines = if convert { Cow::Owned(without_cr(bytes)) } else { Cow::Borrowed(bytes) };
    if rules.ident && memchr::memmem::find(&lines, b"$Id:").is_some() {
        return Cow::Owned(without_ids(&lines));
    }
    lines
}

pub(super) fn has_crlf(bytes: &[u8]) -> bool {
    memchr::memmem::find(bytes, b"\r\n").is_some()
}

fn without_cr(bytes: &[u8]) -> Vec<u8> {
    let mut clean = Vec::with_capacity(bytes.len());
    for (at, byte) in bytes.iter().enumerate() {
        if !(*byte == b'\r' && bytes.get(at + 1) == Some(&b'\n')) {
            clean.push(*byte);
        }
    }
    clean
}

/// Git's own measure: a NUL, a CR without LF, or more than one unprintable byte in 128.
fn is_binary(bytes: &[u8]) -> bool {
    let (mut printable, mut unprintable) = (0_usize, 0_usize);
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            b'\r' if bytes.get(at + 1) == Some(&b'\n') => {}
            0 | b'\r' => return true,
            b'\n' => {}
            b'\x08' | b'\t' | b'\x1b' | b'\x0c' => printable += 1,
            // An end-of-file mark of old systems.
            b'\x1a' if at + 1 == bytes.len() => {}
            0x7f | 0..=0x1f => unprintable += 1,
            _ => printable += 1,
        }
    }
    printable >> 7 < unprintable
}

/// `$Id: anything$` on one line becomes `$Id$`.
fn without_ids(bytes: &[u8]) -> Vec<u8> {
    let mut clean = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some(at) = memchr::memmem::find(rest, b"$Id:") {
        let after = &rest[at + 4..];
        match memchr::memchr2(b'$', b'\n', after) {
            Some(end) if after[end] == b'$' => {
                clean.extend_from_slice(&rest[..at]);
                clean.extend_from_slice(b"$Id$");
                rest = &after[end + 1..];
            }
            _ => {
                clean.extend_from_slice(&rest[..at + 4]);
                rest = after;
            }
        }
    }
    clean.extend_from_slice(rest);
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cleaned(bytes: &[u8], text: Text, ident: bool, stored_has_crlf: bool) -> Vec<u8> {
        clean(bytes, &ContentRules { text, ident, ..ContentRules::default() }, || stored_has_crlf)
            .into_owned()
    }

    #[test]
    fn line_ends_are_stored_as_git_stores_them() {
        for (text, bytes, stored, expected) in [
            (Text::Untouched, &b"a\r\nb"[..], false, &b"a\r\nb"[..]),
            (Text::Always, b"a\r\nb\rc", false, b"a\nb\rc"),
            (Text::Always, b"a\r\n\0", false, b"a\n\0"),
            (Text::Auto, b"a\r\nb\r\n", false, b"a\nb\n"),
            (Text::Auto, b"a\r\nb\r\n", true, b"a\r\nb\r\n"),
            (Text::Auto, b"a\r\n\0", false, b"a\r\n\0"),
            (Text::Auto, b"a\r\nb\rc", false, b"a\r\nb\rc"),
        ] {
            assert_eq!(cleaned(bytes, text, false, stored), expected, "{text:?} {bytes:?}");
        }
    }

    #[test]
    fn expanded_ids_are_folded() {
        let bytes = b"x $Id: 0123 $ y $Id$ z $Id: open\n$Id: a$";
        assert_eq!(cleaned(bytes, Text::Untouched, true, false), b"x $Id$ y $Id$ z $Id: open\n$Id$");
        assert_eq!(cleaned(bytes, Text::Untouched, false, false), bytes);
    }
}
