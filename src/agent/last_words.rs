//! The end of what an agent printed outside of its events: often the only word on why it gave up.

use super::text::one_line;

/// What the end of stderr may contribute to a message.
const BYTES_MAX: usize = 2_000;

/// Keeps the newest lines, at most about 2 KB of them.
#[derive(Debug, Default)]
pub(super) struct LastWords(String);

impl LastWords {
    pub(super) fn push(&mut self, line: &str) {
        if self.0.len() + line.len() > BYTES_MAX {
            self.0.clear();
        }
        self.0.push_str(&one_line(line, BYTES_MAX));
        self.0.push('\n');
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}
