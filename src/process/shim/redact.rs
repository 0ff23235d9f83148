//! Values that nobody is to read in a log: each becomes `[redacted]` before anything is written, wherever one read of the pipe
//! ends and the next begins.

use aho_corasick::{AhoCorasick, MatchKind};

/// What stands in the place of a value. Nothing in it has a meaning in JSON's strings.
const REDACTED: &[u8] = b"[redacted]";

/// Finds the values; one for all streams of a command.
pub(super) struct Redactor {
    values: Vec<Vec<u8>>,
    search: Option<AhoCorasick>,
    /// By the first byte of each value.
    begins: Box<[bool; 256]>,
    longest: usize,
}

/// The end of a stream so far that may be the beginning of a value: shorter than the longest of them.
#[derive(Default)]
pub(super) struct Held(Vec<u8>);

impl Redactor {
    /// Empty values are passed over.
    pub(super) fn new(values: impl IntoIterator<Item = String>) -> Self {
        let values: Vec<Vec<u8>> =
            values.into_iter().map(String::into_bytes).filter(|value| !value.is_empty()).collect();
        let mut builder = AhoCorasick::builder();
        builder.match_kind(MatchKind::LeftmostLongest);
        let search = builder.build(&values).ok().filter(|_| !values.is_empty());
        let mut begins = Box::new([false; 256]);
        for value in &values {
            begins[usize::from(value[0])] = true;
        }
        let longest = values.iter().map(Vec::len).max().unwrap_or(0);
        Self { values, search, begins, longest }
    }

    /// Gives on what is known of the stream by now: all of it, unless it ends as a value begins.
    pub(super) fn pass(&self, held: &mut Held, bytes: &[u8], write: impl FnMut(&[u8])) {
        if self.search.is_none() {
            return pass_on(bytes, write);
        }
        let all = [std::mem::take(&mut held.0), bytes.to_vec()].concat();
        let rest = self.write(&all, self.begin_of_value(&all), write);
        held.0 = all[rest..].to_vec();
    }

    /// The stream is over: what was held is no value.
    pub(super) fn finish(&self, held: &mut Held, write: impl FnMut(&[u8])) {
        let all = std::mem::take(&mut held.0);
        self.write(&all, all.len(), write);
    }

    /// Writes everything before `end`, and the whole of a value that begins before it; gives where the rest begins.
    fn write(&self, all: &[u8], end: usize, mut write: impl FnMut(&[u8])) -> usize {
        let mut clean = Vec::new();
        let mut done = 0;
        let found = self.search.iter().flat_map(|search| search.find_iter(all));
        for value in found.take_while(|value| value.start() < end) {
            clean.extend_from_slice(&all[done..value.start()]);
            clean.extend_from_slice(REDACTED);
            done = value.end();
        }
        let rest = end.max(done);
        if done == 0 {
            pass_on(&all[..rest], &mut write);
        } else {
            clean.extend_from_slice(&all[done..rest]);
            pass_on(&clean, &mut write);
        }
        rest
    }

    /// The first place from which on everything is the beginning of a value, and not the whole of one.
    fn begin_of_value(&self, all: &[u8]) -> usize {
        let from = all.len().saturating_sub(self.longest.saturating_sub(1));
        let begins = |at: &usize| {
            let end = &all[*at..];
            self.begins[usize::from(end[0])]
                && self.values.iter().any(|value| value.len() > end.len() && value.starts_with(end))
        };
        (from..all.len()).find(begins).unwrap_or(all.len())
    }
}

/// In pieces that a record can hold.
fn pass_on(bytes: &[u8], mut write: impl FnMut(&[u8])) {
    bytes.chunks(crate::process::log::FRAME_PAYLOAD_BYTES_MAX).for_each(&mut write);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn redactor(values: &[&str]) -> Redactor {
        Redactor::new(values.iter().map(|value| (*value).to_owned()))
    }

    /// What is written when the text comes in pieces of these lengths, again and again.
    fn in_pieces(redactor: &Redactor, text: &[u8], lengths: &[usize]) -> Vec<u8> {
        let (mut held, mut written, mut rest) = (Held::default(), Vec::new(), text);
        for length in lengths.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, after) = rest.split_at((*length).clamp(1, rest.len()));
            redactor.pass(&mut held, piece, |bytes| written.extend_from_slice(bytes));
            assert!(held.0.len() < redactor.longest.max(1));
            rest = after;
        }
        redactor.finish(&mut held, |bytes| written.extend_from_slice(bytes));
        written
    }

    #[test]
    fn values_are_replaced_and_the_longest_of_those_that_begin_alike() {
        let redactor = redactor(&["sesame-open", "sesame-open-wide", "", "\u{e9}\u{e9}\u{e9}\u{e9}"]);
        let text = "a sesame-open b sesame-open-wide c sesame-ope sesame-open-wid \u{e9}\u{e9}\u{e9}\u{e9}";
        let expected = "a [redacted] b [redacted] c sesame-ope [redacted]-wid [redacted]";
        for length in 1..text.len() {
            assert_eq!(
                String::from_utf8(in_pieces(&redactor, text.as_bytes(), &[length])).unwrap(),
                expected
            );
        }
    }

    #[test]
    fn nothing_waits_that_cannot_be_a_value() {
        let redactor = redactor(&["sesame-open", "aaab"]);
        let now = |text: &str| {
            let (mut held, mut written) = (Held::default(), Vec::new());
            redactor.pass(&mut held, text.as_bytes(), |bytes| written.extend_from_slice(bytes));
            (String::from_utf8(written).unwrap(), held.0.len())
        };
        assert_eq!(now("a whole line\n"), ("a whole line\n".to_owned(), 0));
        assert_eq!(now("it ends in ses"), ("it ends in ".to_owned(), 3));
        assert_eq!(now("it ends in aaaa"), ("it ends in a".to_owned(), 3));
        assert_eq!(now("sesame-open"), ("[redacted]".to_owned(), 0));
    }

    #[test]
    fn a_record_is_never_larger_than_it_may_be() {
        let redactor = redactor(&["12345678"]);
        let text = "12345678".repeat(20_000);
        let (mut held, mut lengths) = (Held::default(), Vec::new());
        redactor.pass(&mut held, text.as_bytes(), |bytes| lengths.push(bytes.len()));
        assert!(
            lengths.len() > 3
                && lengths.iter().all(|bytes| *bytes <= crate::process::log::FRAME_PAYLOAD_BYTES_MAX)
        );
        assert_eq!(lengths.iter().sum::<usize>(), 20_000 * REDACTED.len());
    }

    proptest! {
        /// Binary output too, and however it is cut: as if all of it had come at once.
        #[test]
        fn it_does_not_matter_how_the_output_is_cut(
            parts in proptest::collection::vec(prop_oneof![
                Just(b"abcabcabd".to_vec()), Just(b"abc".to_vec()), Just(b"xyz-secret".to_vec()), Just(b"xyz-".to_vec()),
                proptest::collection::vec(any::<u8>(), 0..20),
            ], 0..30),
            lengths in proptest::collection::vec(1_usize..40, 1..10),
        ) {
            let redactor = redactor(&["abcabcabd", "xyz-secret", "abcabd--"]);
            let text = parts.concat();
            let whole = in_pieces(&redactor, &text, &[usize::MAX]);
            prop_assert_eq!(in_pieces(&redactor, &text, &lengths), whole);
            let none = self::redactor(&[]);
            prop_assert_eq!(in_pieces(&none, &text, &lengths), text);
        }
    }
}
