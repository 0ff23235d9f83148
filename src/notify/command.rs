//! A program of the owner's, with the notice as JSON on its standard input.

use serde::Serialize;

use super::text::Told;
use crate::wire::notice::Notice;

/// What it reads: one line.
#[derive(Serialize)]
struct Input<'a> {
    #[serde(flatten)]
    notice: &'a Notice,
    /// The page in the dashboard.
    url: &'a str,
    /// The name of the section that it stands in.
    target: &'a str,
}

pub(super) fn input(told: Told<'_>, target: &str) -> Vec<u8> {
    let input = Input { notice: told.notice, url: told.page, target };
    let mut bytes = serde_json::to_vec(&input).expect("plain members with text keys always serialise");
    bytes.push(b'\n');
    bytes
}

#[cfg(test)]
mod tests {
    use super::super::text::tests::{PAGE, notice};
    use super::*;
    use crate::domain::notice::NoticeKind;

    #[test]
    fn a_line_of_json() {
        let bytes = input(Told { notice: &notice(NoticeKind::Finished), page: PAGE }, "mine");
        let text = String::from_utf8(bytes).unwrap();
        assert_eq!(text.matches('\n').count(), 1);
        insta::assert_snapshot!(text.trim_end());
    }
}
