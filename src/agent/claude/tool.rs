//! What a tool was used for and what came of it, in a line or two.

use std::path::Path;

use super::shapes::{ResultElement, ToolInput};
use crate::agent::json_lines::{TOOL_RESULT_BYTES_MAX, TOOL_SUMMARY_BYTES_MAX};
use crate::agent::lenient::{Content, Object, Scalar};
use crate::agent::text::{below, head, one_line};

/// Its tools that write files.
pub(super) const EDITORS: [&str; 4] = ["Edit", "MultiEdit", "NotebookEdit", "Write"];

/// The argument that tells most. Paths below `cwd` are shown without it.
pub(super) fn summary(input: &ToolInput, cwd: Option<&str>) -> String {
    let paths = [&input.file_path, &input.notebook_path];
    let others = [
        &input.command,
        &input.pattern,
        &input.path,
        &input.url,
        &input.query,
        &input.skill,
        &input.description,
        &input.prompt,
    ];
    let told = paths.into_iter().chain(others).find_map(Scalar::as_str).unwrap_or_default();
    one_line(below(told, Path::new(cwd.unwrap_or_default())), TOOL_SUMMARY_BYTES_MAX)
}

/// The file that a tool is to write, if it is one that does.
pub(super) fn written_file<'i>(tool: &str, input: &'i ToolInput) -> Option<&'i str> {
    let paths = [&input.file_path, &input.notebook_path];
    EDITORS.contains(&tool).then(|| paths.into_iter().find_map(Scalar::as_str)).flatten()
}

/// Whether a tool of the API itself says in place of its result that it did not work.
pub(super) fn tells_error(content: &Content<Object<ResultElement>>) -> bool {
    matches!(content, Content::Blocks(blocks) if blocks.iter().any(|block| block.0.error_code.as_str().is_some()))
}

/// The text of a tool result, or what was found.
pub(super) fn result_text<'c>(content: &'c Content<Object<ResultElement>>) -> String {
    let joined;
    let text = match content {
        Content::Text(text) => text,
        Content::Blocks(blocks) => {
            let told = |block: &'c Object<ResultElement>| {
                let ResultElement { text, title, error_code } = &block.0;
                [text, title, error_code].into_iter().find_map(Scalar::as_str)
            };
            let texts: Vec<&str> = blocks.iter().filter_map(told).collect();
            joined = texts.join("\n");
            &joined
        }
    };
    head(text, TOOL_RESULT_BYTES_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_is_the_path_in_the_checkout_or_the_command() {
        let rows = [
            (r#"{"file_path":"/w/tree/src/a.rs","content":"x"}"#, "src/a.rs"),
            (r#"{"file_path":"/w/treetop/a.rs"}"#, "/w/treetop/a.rs"),
            (r#"{"command":"git add\n  -A","description":"stage"}"#, "git add -A"),
            (r#"{"description":"look around","prompt":"..."}"#, "look around"),
            (r#"{"command":["no","text"]}"#, ""),
            ("{}", ""),
        ];
        for (input, expected) in rows {
            let input: ToolInput = serde_json::from_str(input).unwrap();
            assert_eq!(summary(&input, Some("/w/tree")), expected);
        }
    }
}
