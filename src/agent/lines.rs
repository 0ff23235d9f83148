//! Bytes in any chunks to whole lines, with a cap per line.

/// The longest line that is kept whole. The longest line of a real agent that was measured is 5.1 MB (the final
/// event repeating 5 MB of text), so this leaves a margin and still bounds memory.
pub const LINE_BYTES_MAX: usize = 8 * 1024 * 1024;

/// A line without its newline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    pub bytes: Vec<u8>,
    /// How many bytes of it were dropped because it was longer than the cap; 0 for a whole line.
    pub dropped_bytes: u64,
}

/// Cuts one stream into lines. Holds at most one line of at most the cap, whatever arrives.
#[derive(Debug)]
pub struct LineSplitter {
    pending: Vec<u8>,
    dropped_bytes: u64,
    line_bytes_max: usize,
}

impl Default for LineSplitter {
    fn default() -> Self {
        Self::new(LINE_BYTES_MAX)
    }
}

impl LineSplitter {
    /// A splitter that keeps at most `line_bytes_max` bytes of a line and skips the rest of it.
    #[must_use]
    pub fn new(line_bytes_max: usize) -> Self {
        Self { pending: Vec::new(), dropped_bytes: 0, line_bytes_max }
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
        let room = self.line_bytes_max.saturating_sub(self.pending.len());
        let kept = bytes.len().min(room);
        self.pending.extend_from_slice(&bytes[..kept]);
        self.dropped_bytes += (bytes.len() - kept) as u64;
    }

    fn take(&mut self) -> Line {
        let mut bytes = std::mem::take(&mut self.pending);
        let dropped_bytes = std::mem::take(&mut self.dropped_bytes);
        if dropped_bytes == 0 && bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
        Line { bytes, dropped_bytes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn split(chunks: &[&[u8]], line_bytes_max: usize) -> Vec<Line> {
        let mut splitter = LineSplitter::new(line_bytes_max);
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
        let mut splitter = LineSplitter::new(100);
        for _ in 0..10_000 {
            splitter.push(&[b'x'; 999], |_| panic!("there is no newline"));
            assert!(splitter.pending.capacity() <= 200, "grew to {}", splitter.pending.capacity());
        }
        let line = splitter.finish().unwrap();
        assert_eq!((line.bytes.len(), line.dropped_bytes), (100, 9_989_900));
    }

    proptest! {
        #[test]
        fn the_chunks_do_not_matter(
            text in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'\r'), any::<u8>()], 0..200),
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
        fn no_byte_is_lost_uncounted(text in proptest::collection::vec(0_u8..12, 0..300), cap in 1_usize..20) {
            let lines = split(&[&text], cap);
            let kept: u64 = lines.iter().map(|line| line.bytes.len() as u64 + line.dropped_bytes).sum();
            let newlines = text.iter().filter(|byte| **byte == b'\n').count() as u64;
            prop_assert_eq!(kept + newlines, text.len() as u64);
            prop_assert!(lines.iter().all(|line| line.bytes.len() <= cap));
        }
    }
}
