//! Bytes in any chunks to whole lines, with a cap per line.
//!
//! A line of JSON that outgrows the cap loses the inside of its long strings and keeps its form: the event that ends a run may
//! hold megabytes of text, and in those of real agents what it ended with stands behind that text.

/// The longest line that is kept whole. The longest line of a real agent that was measured is 5.1 MB (the final
/// event repeating 5 MB of text), so this leaves a margin and still bounds memory.
pub const LINE_BYTES_MAX: usize = 8 * 1024 * 1024;

/// What stays of a string in a line of JSON that outgrew the cap. No text of an event is kept longer by its reader.
const STRING_BYTES_MAX: usize = 64 * 1024;

/// A line without its newline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    pub bytes: Vec<u8>,
    /// How many bytes of it were dropped because it was longer than the cap: of its strings, or its end; 0 for a whole line.
    pub dropped_bytes: u64,
}

/// Cuts one stream into lines. Holds at most one line of at most the cap, whatever arrives.
#[derive(Debug)]
pub struct LineSplitter {
    pending: Vec<u8>,
    dropped_bytes: u64,
    line_bytes_max: usize,
    string_bytes_max: usize,
    /// Where in its strings a line of JSON is that has outgrown the cap.
    strings: Option<Strings>,
}

/// Where a line of JSON is: between its strings or in one.
#[derive(Debug, Default)]
struct Strings {
    is_inside: bool,
    /// Bytes of this string so far that stay.
    kept: usize,
    /// No more of this string stays.
    is_full: bool,
    /// Bytes that still belong to an escape; [`Self::ESCAPED`] where the next one says how many.
    of_escape: u8,
}

impl Default for LineSplitter {
    fn default() -> Self {
        Self::new(LINE_BYTES_MAX, STRING_BYTES_MAX)
    }
}

impl LineSplitter {
    /// A splitter that keeps at most `line_bytes_max` bytes of a line: of longer ones in JSON `string_bytes_max` bytes of each
    /// string, and of what is still longer the beginning.
    #[must_use]
    pub fn new(line_bytes_max: usize, string_bytes_max: usize) -> Self {
        Self { pending: Vec::new(), dropped_bytes: 0, line_bytes_max, string_bytes_max, strings: None }
    }

    /// Takes the next bytes and hands each line that they complete to `sink`.
    pub fn push(&mut self, bytes: &[u8], mut sink: impl FnMut(Line)) {
        let mut rest = bytes;
        while let Some(end) = memchr::memchr(b'\n', rest) {
            self.keep(&rest[..end]);
            sink(self.take());
            rest = &rest[end + 1..];
        }
        self.keep(rest);
    }

    /// The last line when the stream ended without a newline.
    pub fn finish(&mut self) -> Option<Line> {
        (!self.pending.is_empty() || self.dropped_bytes > 0).then(|| self.take())
    }

    fn keep(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        if self.strings.is_none() {
            let room = self.line_bytes_max.saturating_sub(self.pending.len());
            let (kept, over) = bytes.split_at(bytes.len().min(room));
            self.pending.extend_from_slice(kept);
            if over.is_empty() {
                return;
            }
            rest = over;
            self.shorten();
        }
        let before = self.pending.len();
        if let Some(strings) = &mut self.strings {
            let kept = rest.iter().filter(|byte| strings.keeps(**byte, self.string_bytes_max));
            self.pending.extend(kept.take(self.line_bytes_max.saturating_sub(before)));
        }
        self.dropped_bytes += (rest.len() - (self.pending.len() - before)) as u64;
    }

    /// The line has outgrown the cap: takes from its strings what is too long, if it is JSON, and goes on so.
    fn shorten(&mut self) {
        if !self.pending.trim_ascii_start().starts_with(b"{") {
            return;
        }
        let mut strings = Strings::default();
        let before = self.pending.len();
        self.pending.retain(|byte| strings.keeps(*byte, self.string_bytes_max));
        self.dropped_bytes += (before - self.pending.len()) as u64;
        self.strings = Some(strings);
    }

    fn take(&mut self) -> Line {
        self.strings = None;
        let mut bytes = std::mem::take(&mut self.pending);
        let dropped_bytes = std::mem::take(&mut self.dropped_bytes);
        if dropped_bytes == 0 && bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
        Line { bytes, dropped_bytes }
    }
}

impl Strings {
    const ESCAPED: u8 = u8::MAX;

    /// Whether this byte, the next one of the line, stays. No character and no escape is cut.
    fn keeps(&mut self, byte: u8, bytes_max: usize) -> bool {
        if !self.is_inside {
            *self = Self { is_inside: byte == b'"', ..Self::default() };
            return true;
        }
        if self.of_escape > 0 {
            self.of_escape = match (self.of_escape, byte) {
                (Self::ESCAPED, b'u') => 4,
                (Self::ESCAPED, _) => 0,
                (left, _) => left - 1,
            };
        } else if byte == b'"' {
            *self = Self::default();
            return true;
        } else {
            let continues = byte & 0b1100_0000 == 0b1000_0000;
            self.is_full |= self.kept >= bytes_max && !continues;
            if byte == b'\\' {
                self.of_escape = Self::ESCAPED;
            }
        }
        self.kept += usize::from(!self.is_full);
        !self.is_full
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn split(chunks: &[&[u8]], line_bytes_max: usize) -> Vec<Line> {
        let mut splitter = LineSplitter::new(line_bytes_max, 3);
        let mut lines = Vec::new();
        for chunk in chunks {
            splitter.push(chunk, |line| lines.push(line));
        }
        lines.extend(splitter.finish());
        lines
    }

    #[test]
    fn a_long_line_is_cut_and_the_next_one_is_whole() {
        let lines = split(&[b"abc", b"defgh\nxy\r\n", b"\nend"], 4);
        let seen: Vec<_> = lines.iter().map(|line| (line.bytes.as_slice(), line.dropped_bytes)).collect();
        assert_eq!(seen, [(&b"abcd"[..], 4), (b"xy", 0), (b"", 0), (b"end", 0)]);
    }

    #[test]
    fn a_stream_without_newlines_holds_no_more_than_the_cap() {
        let mut splitter = LineSplitter::new(100, 3);
        for _ in 0..10_000 {
            splitter.push(&[b'x'; 999], |_| panic!("there is no newline"));
            assert!(splitter.pending.capacity() <= 200, "grew to {}", splitter.pending.capacity());
        }
        let line = splitter.finish().unwrap();
        assert_eq!((line.bytes.len(), line.dropped_bytes), (100, 9_989_900));
    }

    #[test]
    fn a_long_line_of_json_keeps_its_form_and_the_beginning_of_its_strings() {
        let more = "0123456789".repeat(3);
        let rows = [
            (r#"{"a":"012MORE","b":[true,"xy"],"c":""}"#, r#"{"a":"012","b":[true,"xy"],"c":""}"#),
            // no escape and no character is cut; a quote in a string does not end it
            (r#"{"a":"01\u00e4\u00e4MORE","b":"\\\"\n\""}"#, r#"{"a":"01\u00e4","b":"\\\""}"#),
            (r#"{"a":"0ää9MORE","b":"ääMORE"}"#, r#"{"a":"0ä","b":"ää"}"#),
            (r#"{"a":"012MORE"#, r#"{"a":"012"#),
            // what is not JSON, or long for another reason, is cut
            (r#"plain "MOREMORE""#, r#"plain "012345678901234567890123456"#),
            (r#"{"a":MOREMORE}"#, r#"{"a":01234567890123456789012345678"#),
        ]
        .map(|(given, kept)| (given.replace("MORE", &more), kept));
        for (given, kept) in rows {
            let lines = split(&[given.as_bytes(), b"\nnext"], 34);
            assert_eq!(String::from_utf8_lossy(&lines[0].bytes), kept);
            assert_eq!(lines[0].dropped_bytes, (given.len() - kept.len()) as u64, "{given}");
            assert_eq!(lines[1].bytes, b"next");
        }
    }

    /// What text is made of in the tests below: it becomes JSON, too.
    fn part() -> impl Strategy<Value = u8> {
        prop_oneof![proptest::sample::select(&b"\n\r{\"\"\"\\\\u0"[..]), any::<u8>()]
    }

    proptest! {
        #[test]
        fn the_chunks_do_not_matter(
            text in proptest::collection::vec(part(), 0..200),
            cuts in proptest::collection::vec(0_usize..200, 0..8),
            line_bytes_max in 1_usize..40,
        ) {
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
            cuts.sort_unstable();
            let mut chunks = Vec::new();
            let mut start = 0;
            for cut in cuts {
                chunks.push(&text[start..cut]);
                start = cut;
            }
            chunks.push(&text[start..]);
            prop_assert_eq!(split(&chunks, line_bytes_max), split(&[&text], line_bytes_max));
        }

        #[test]
        fn no_byte_is_lost_uncounted(text in proptest::collection::vec(part(), 0..300), cap in 1_usize..20) {
            // one before a newline belongs to it
            let text: Vec<u8> = text.into_iter().filter(|byte| *byte != b'\r').collect();
            let lines = split(&[&text], cap);
            let kept: u64 = lines.iter().map(|line| line.bytes.len() as u64 + line.dropped_bytes).sum();
            let newlines = text.iter().filter(|byte| **byte == b'\n').count() as u64;
            prop_assert_eq!(kept + newlines, text.len() as u64);
            prop_assert!(lines.iter().all(|line| line.bytes.len() <= cap));
        }
    }
}
