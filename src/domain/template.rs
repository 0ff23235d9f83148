//! Prompt templates: a text with places for variables, `{{name}}`, and nothing else.
//!
//! No conditions, no loops, no filters, nothing that is looked up: what a prompt may say about code, braces of every kind
//! included, is text. `{{{{` and `}}}}` stand for two braces. A value is put in as it is and never read as a template.

use std::collections::{BTreeMap, BTreeSet};

use thiserror::Error;

/// Bytes of a template. It is a form; the matter comes in variables, whose sum the limit of a prompt bounds.
pub const TEMPLATE_BYTES_MAX: usize = 64 * 1024;
/// Different variables of one template: more is a document, which belongs into one of them.
pub const VARIABLES_MAX: usize = 100;
/// Bytes of the name of a variable.
const NAME_BYTES_MAX: usize = 64;
/// The variable whose value is the prompt that the job itself came with.
pub const PROMPT_VARIABLE: &str = "prompt";

/// A template that was read and found sound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    text: String,
    pieces: Vec<Piece>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Variable(String),
}

/// Why a text is no template, to be read after its name.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum InvalidTemplate {
    #[error("must not be empty")]
    Empty,
    #[error("must be at most {TEMPLATE_BYTES_MAX} bytes")]
    TooLong,
    #[error("must not contain a NUL character")]
    Nul,
    #[error(
        "has a {{{{ in line {line} that no }}}} closes before the next brace or the end of the line; two braces that are meant are written {{{{{{{{"
    )]
    Open { line: usize },
    #[error("has a }}}} in line {line} that closes nothing; two braces that are meant are written }}}}}}}}")]
    Stray { line: usize },
    #[error(
        "names a variable in line {line} that is none: a letter or _ first, then letters, digits and _, at most {NAME_BYTES_MAX} in all"
    )]
    Name { line: usize },
    #[error("must have at most {VARIABLES_MAX} different variables")]
    TooMany,
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// The first thing that is wrong with it, with its line.
    pub fn parse(text: &str) -> Result<Self, InvalidTemplate> {
        if text.trim().is_empty() {
            return Err(InvalidTemplate::Empty);
        }
        if text.len() > TEMPLATE_BYTES_MAX {
            return Err(InvalidTemplate::TooLong);
        }
        if text.contains('\0') {
            return Err(InvalidTemplate::Nul);
        }
        let template = Self { text: text.to_owned(), pieces: pieces(text)? };
        if template.variables().len() > VARIABLES_MAX {
            return Err(InvalidTemplate::TooMany);
        }
        Ok(template)
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The names of its variables, each once.
    #[must_use]
    pub fn variables(&self) -> BTreeSet<&str> {
        let names = self.pieces.iter().filter_map(|piece| match piece {
            Piece::Variable(name) => Some(name.as_str()),
            Piece::Text(_) => None,
        });
        names.collect()
    }

    /// The text with all values put in; `None` when one is missing, or when it had more than `bytes_max` bytes, which is
    /// known before anything is put together.
    #[must_use]
    pub fn render(&self, values: &BTreeMap<&str, &str>, bytes_max: usize) -> Option<String> {
        let mut parts = Vec::with_capacity(self.pieces.len());
        for piece in &self.pieces {
            parts.push(match piece {
                Piece::Text(text) => text.as_str(),
                Piece::Variable(name) => values.get(name.as_str()).copied()?,
            });
        }
        let bytes = parts.iter().try_fold(0_usize, |sum, part| sum.checked_add(part.len()))?;
        (bytes <= bytes_max).then(|| parts.concat())
    }
}

/// Whether a variable can be called so.
#[must_use]
pub fn is_variable_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    name.len() <= NAME_BYTES_MAX
        && name.bytes().all(allowed)
        && name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
}

fn pieces(text: &str) -> Result<Vec<Piece>, InvalidTemplate> {
    let (mut pieces, mut plain, mut at) = (Vec::new(), String::new(), 0);
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        let line = || text[..at].matches('\n').count() + 1;
        if rest.starts_with("{{{{") || rest.starts_with("}}}}") {
            plain.push_str(&rest[..2]);
            at += 4;
        } else if let Some(inner) = rest.strip_prefix("{{") {
            let end = inner.find(['{', '}', '\n']).filter(|end| inner[*end..].starts_with("}}"));
            let end = end.ok_or_else(|| InvalidTemplate::Open { line: line() })?;
            // of three in a row nobody can say which two close it
            let behind = &inner[end + 2..];
            if behind.starts_with('}') && !behind.starts_with("}}") {
                return Err(InvalidTemplate::Stray { line: line() });
            }
            let name = inner[..end].trim_matches(' ');
            if !is_variable_name(name) {
                return Err(InvalidTemplate::Name { line: line() });
            }
            if !plain.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut plain)));
            }
            pieces.push(Piece::Variable(name.to_owned()));
            at += end + 4;
        } else if rest.starts_with("}}") {
            return Err(InvalidTemplate::Stray { line: line() });
        } else {
            // up to the next brace, and at least one character
            let first = rest.chars().next().map_or(1, char::len_utf8);
            let end = rest[first..].find(['{', '}']).map_or(rest.len(), |end| first + end);
            plain.push_str(&rest[..end]);
            at += end;
        }
    }
    if !plain.is_empty() {
        pieces.push(Piece::Text(plain));
    }
    Ok(pieces)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(text: &str, values: &[(&str, &str)]) -> Option<String> {
        Template::parse(text).unwrap().render(&values.iter().copied().collect(), 1_000)
    }

    #[test]
    fn values_are_put_in_as_they_are() {
        let table = [
            ("Review {{path}}.", "Review src/a b.rs."),
            ("{{ path }}{{path}}", "src/a b.rssrc/a b.rs"),
            ("{{evil}}", "{{path}} {{{{ }}}} {% if %}"),
            ("fn f() { {{_1}} }", "fn f() { ü }"),
            ("{{{{path}}}}", "{{path}}"),
            ("{{{{{{path}}}}}}", "{{src/a b.rs}}"),
            (
                "{\"a\":{\"b\":1} } ${x} {% raw %} {# no #} \\{ é",
                "{\"a\":{\"b\":1} } ${x} {% raw %} {# no #} \\{ é",
            ),
            ("{ { {{path}} } }", "{ { src/a b.rs } }"),
        ];
        let values = [("path", "src/a b.rs"), ("evil", "{{path}} {{{{ }}}} {% if %}"), ("_1", "ü")];
        for (text, expected) in table {
            assert_eq!(rendered(text, &values).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_is_broken_is_refused_with_its_line() {
        use InvalidTemplate::{Empty, Name, Nul, Open, Stray, TooLong, TooMany};
        let many: String = (0..=VARIABLES_MAX).map(|index| format!("{{{{v{index}}}}}")).collect();
        let long = "x".repeat(TEMPLATE_BYTES_MAX + 1);
        let name = format!("{{{{{}}}}}", "n".repeat(NAME_BYTES_MAX + 1));
        let table = [
            ("", Empty),
            (" \n", Empty),
            ("a\0", Nul),
            (long.as_str(), TooLong),
            ("a\nb {{path", Open { line: 2 }),
            ("{{path}", Open { line: 1 }),
            ("{{pa\nth}}", Open { line: 1 }),
            ("{{{path}}}", Open { line: 1 }),
            ("{{a{{b}}}}", Open { line: 1 }),
            ("path}}", Stray { line: 1 }),
            ("\n\n{\"a\":{\"b\":1}}", Stray { line: 3 }),
            ("{{path}}}}", Stray { line: 1 }),
            ("{\"a\":{{path}}}", Stray { line: 1 }),
            ("{{}}", Name { line: 1 }),
            ("{{ }}", Name { line: 1 }),
            ("{{1a}}", Name { line: 1 }),
            ("{{a b}}", Name { line: 1 }),
            ("{{a.b}}", Name { line: 1 }),
            ("{{a|upper}}", Name { line: 1 }),
            ("{{ä}}", Name { line: 1 }),
            (name.as_str(), Name { line: 1 }),
            (many.as_str(), TooMany),
        ];
        for (text, expected) in table {
            let shown: String = text.chars().take(40).collect();
            assert_eq!(Template::parse(text), Err(expected), "{shown}");
        }
    }

    #[test]
    fn a_missing_value_or_one_too_large_makes_no_text() {
        assert_eq!(rendered("{{a}}{{b}}", &[("a", "x")]), None);
        let template = Template::parse(&"{{a}}".repeat(10_000)).unwrap();
        let big = "x".repeat(1 << 20);
        assert_eq!(template.render(&[("a", big.as_str())].into(), 256 * 1024), None);
        assert_eq!(template.render(&[("a", "y")].into(), 10_000).map(|text| text.len()), Some(10_000));
        assert_eq!(template.render(&[("a", "y")].into(), 9_999), None);
    }

    #[test]
    fn the_messages_show_the_braces_as_they_are_written() {
        assert_eq!(
            InvalidTemplate::Stray { line: 3 }.to_string(),
            "has a }} in line 3 that closes nothing; two braces that are meant are written }}}}"
        );
        assert!(InvalidTemplate::Open { line: 1 }.to_string().ends_with("are written {{{{"));
    }

    #[test]
    fn variables_are_named_once() {
        let template = Template::parse("{{b}} {{a}} {{b}} {{{{c}}}}").unwrap();
        assert_eq!(template.variables().into_iter().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(template.as_str(), "{{b}} {{a}} {{b}} {{{{c}}}}");
    }
}
