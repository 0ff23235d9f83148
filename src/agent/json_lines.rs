//! What the agents have in common that print one JSON object a line: what is no event stays output, and what they print on
//! stderr may be the only word on why they gave up.

use std::ops::RangeInclusive;

use serde::de::DeserializeOwned;

use super::last_words::LastWords;
use super::text::visible_bytes;
use super::{AgentEvent, AgentVerdict, EVENT_TEXT_BYTES_MAX, StepExit, Stream, StreamParser};

/// A tool's command or path on one line; longer ones are cut, the whole stays in the log.
pub(super) const TOOL_SUMMARY_BYTES_MAX: usize = 300;

/// A tool's result is often a whole file or a build's output; a screen of it says whether it worked.
pub(super) const TOOL_RESULT_BYTES_MAX: usize = 2 * 1024;

/// Reads the events of one process. Everything that implements it is a [`StreamParser`].
pub(super) trait JsonLines: Send + Sync {
    /// What a line may hold.
    type Line: DeserializeOwned;

    /// `None` when the type is not known: the line is output.
    fn event(&mut self, line: Box<Self::Line>) -> Option<Vec<AgentEvent>>;

    fn last_words(&mut self) -> &mut LastWords;

    /// What a line on stderr tells, for agents that say something there alone; nothing where it is mere output.
    fn told_aside(&mut self, _text: &str) -> Vec<AgentEvent> {
        Vec::new()
    }

    fn verdict(&self, exit: StepExit) -> AgentVerdict;
}

impl<T: JsonLines> StreamParser for T {
    fn line(&mut self, stream: Stream, line: &[u8]) -> Vec<AgentEvent> {
        if line.trim_ascii().is_empty() {
            return Vec::new();
        }
        if stream == Stream::Stdout
            && let Some(events) = parse(line).and_then(|event| self.event(event))
        {
            return events;
        }
        let text = visible_bytes(line, EVENT_TEXT_BYTES_MAX);
        if stream == Stream::Stderr {
            self.last_words().push(&text);
            let events = self.told_aside(&text);
            if !events.is_empty() {
                return events;
            }
        }
        vec![AgentEvent::Output { stream, text }]
    }

    fn finish(&self, exit: StepExit) -> AgentVerdict {
        self.verdict(exit)
    }
}

/// An event is a JSON object; a list or a bare value is somebody else's output.
pub(crate) fn parse<L: DeserializeOwned>(line: &[u8]) -> Option<Box<L>> {
    if !line.trim_ascii_start().starts_with(b"{") {
        return None;
    }
    let read = serde_json::from_slice(line).or_else(|_| serde_json::from_str(&readable(line)));
    read.ok().map(Box::new)
}

/// The line with U+FFFD for what no text can hold: bytes that are not UTF-8, and escapes of half a surrogate pair, as
/// JavaScript writes a text that was cut within a character (RFC 8259, section 8.2). One such letter must not cost a whole
/// event, least of all the one that ends a run.
fn readable(line: &[u8]) -> String {
    const HIGH: RangeInclusive<u16> = 0xd800..=0xdbff;
    const LOW: RangeInclusive<u16> = 0xdc00..=0xdfff;
    let text = String::from_utf8_lossy(line);
    let mut mended = String::with_capacity(text.len());
    let mut rest = &*text;
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at(at);
        let unit = code_unit(escape);
        let is_pair = unit.is_some_and(|unit| HIGH.contains(&unit))
            && escape.get(6..).and_then(code_unit).is_some_and(|unit| LOW.contains(&unit));
        let (kept, length) = match unit {
            Some(_) if is_pair => (&escape[..12], 12),
            Some(0xd800..=0xdfff) => ("\u{fffd}", 6),
            _ => {
                let length = escape.chars().take(2).map(char::len_utf8).sum();
                (&escape[..length], length)
            }
        };
        mended.push_str(before);
        mended.push_str(kept);
        rest = &escape[length..];
    }
    mended.push_str(rest);
    mended
}

/// The UTF-16 code unit of an escape `\uXXXX` at the beginning of `text`.
fn code_unit(text: &str) -> Option<u16> {
    let digits = text.strip_prefix("\\u")?.get(..4)?;
    u16::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_pair_is_replaced_and_everything_else_stays() {
        let rows = [
            (&br#"{"a":"cut \ud83d"}"#[..], "{\"a\":\"cut \u{fffd}\"}"),
            (br#"{"a":"\udc00x\ud83d\ud83d\udE00"}"#, "{\"a\":\"\u{fffd}x\u{fffd}\\ud83d\\udE00\"}"),
            // an escaped backslash begins no escape
            (br#"{"a":"\\ud83d \\\ud83d \u00e4\n"}"#, r#"{"a":"\\ud83d \\R \u00e4\n"}"#),
            (br#"{"a":"\ud8"#, r#"{"a":"\ud8"#),
            (b"{\"a\":\"\xff\\", "{\"a\":\"\u{fffd}\\"),
        ];
        for (given, expected) in rows {
            assert_eq!(readable(given), expected.replace('R', "\u{fffd}"));
        }
    }
}
