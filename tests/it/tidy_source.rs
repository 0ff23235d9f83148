//! Source files as the tidy tests see them: comments and texts told apart from code, unit tests left out.

use std::fs;
use std::path::{Path, PathBuf};

/// One Rust file.
pub(crate) struct Source {
    /// From the package's root, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
    /// Identifiers, `::` and other signs of the code outside of comments, texts and unit tests.
    pub(crate) tokens: Vec<String>,
    /// The contents of string literals outside of unit tests.
    pub(crate) texts: Vec<String>,
}

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file below `dir` whose name ends with `end`, sorted.
pub(crate) fn files_below(dir: &str, end: &str) -> Vec<PathBuf> {
    let mut left = vec![root().join(dir)];
    let mut found = Vec::new();
    while let Some(path) = left.pop() {
        if path.ends_with("node_modules") {
            // what npm put there is not of the project
            continue;
        }
        if path.is_dir() {
            left.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.to_string_lossy().ends_with(end) {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// The Rust files below `dir`.
pub(crate) fn sources(dir: &str) -> Vec<Source> {
    let read = |path: PathBuf| {
        let shown = path.strip_prefix(root()).unwrap().to_string_lossy().replace('\\', "/");
        Source::new(&shown, &fs::read_to_string(&path).unwrap())
    };
    files_below(dir, ".rs").into_iter().map(read).collect()
}

impl Source {
    pub(crate) fn new(path: &str, text: &str) -> Self {
        let (tokens, texts) = read(text);
        Self { path: path.to_owned(), text: text.to_owned(), tokens, texts }
    }

    /// A file that holds nothing but unit tests.
    pub(crate) fn is_test(&self) -> bool {
        self.path.contains("/tests/") || self.path.ends_with("/tests.rs") || self.path.ends_with("_tests.rs")
    }

    pub(crate) fn is_below(&self, places: &[&str]) -> bool {
        places.iter().any(|place| self.path.starts_with(place))
    }

    /// Whether the tokens `parts` follow each other somewhere.
    pub(crate) fn says(&self, parts: &[&str]) -> bool {
        self.tokens.windows(parts.len()).any(|window| window == parts)
    }

    /// The folder or file below `src` that the file belongs to.
    pub(crate) fn folder(&self) -> &str {
        let below = self.path.strip_prefix("src/").unwrap_or(&self.path);
        below.split('/').next().unwrap_or_default().trim_end_matches(".rs")
    }

    /// The folders of the crate that the code names, by `crate::` or by enough `super::`s.
    pub(crate) fn crate_folders(&self) -> Vec<String> {
        let mut found = Vec::new();
        let tokens = &self.tokens;
        for (at, token) in tokens.iter().enumerate() {
            let starts = at == 0 || tokens[at - 1] != "::";
            let names = match token.as_str() {
                "crate" if starts && tokens.get(at + 1).is_some_and(|next| next == "::") => {
                    names(&tokens[at + 2..])
                }
                "super" if starts => names(self.behind_supers(at)),
                _ => Vec::new(),
            };
            found.extend(names);
        }
        found.sort();
        found.dedup();
        found
    }

    /// What follows a chain of `super::` that leads out of the folder into the crate's root.
    fn behind_supers(&self, at: usize) -> &[String] {
        let mut end = at;
        while self.tokens.get(end).is_some_and(|token| token == "super") {
            end += 2;
        }
        let hops = (end - at) / 2;
        let module_depth = self.path.split('/').count() - 1 - usize::from(self.path.ends_with("/mod.rs"));
        if hops >= module_depth && hops > 0 { self.tokens.get(end..).unwrap_or_default() } else { &[] }
    }
}

/// The first names of `a::b`, or of each part of `{a::b, c}`.
fn names(tokens: &[String]) -> Vec<String> {
    let is_name = |token: &String| token.starts_with(|c: char| c.is_alphabetic() || c == '_');
    if tokens.first().is_none_or(|first| first != "{") {
        return tokens.first().filter(|first| is_name(first)).cloned().into_iter().collect();
    }
    let mut depth = 0;
    let mut found = Vec::new();
    let mut before = "";
    for token in tokens {
        match token.as_str() {
            "{" => depth += 1,
            "}" if depth == 1 => break,
            "}" => depth -= 1,
            _ if depth == 1 && matches!(before, "{" | ",") && is_name(token) => found.push(token.clone()),
            _ => {}
        }
        before = token;
    }
    found
}

/// Splits a file into tokens and texts, up to its unit tests.
fn read(text: &str) -> (Vec<String>, Vec<String>) {
    let chars: Vec<char> = text.chars().collect();
    let (mut tokens, mut texts): (Vec<String>, Vec<String>) = (Vec::new(), Vec::new());
    let mut at = 0;
    while at < chars.len() {
        let rest = &chars[at..];
        let next = rest.get(1).copied().unwrap_or('\0');
        at += match rest[0] {
            '/' if next == '/' => rest.iter().position(|c| *c == '\n').unwrap_or(rest.len()),
            '/' if next == '*' => block_comment(rest),
            '"' => quoted(rest, &mut texts),
            'r' | 'b' | 'c' if let Some(length) = prefixed(rest, &mut texts) => length,
            '\'' => quote(rest),
            ':' if next == ':' => push(&mut tokens, "::"),
            c if c.is_alphanumeric() || c == '_' => {
                let length = rest.iter().take_while(|c| c.is_alphanumeric() || **c == '_').count();
                push(&mut tokens, &rest[..length].iter().collect::<String>())
            }
            c if c.is_whitespace() => 1,
            c => push(&mut tokens, &c.to_string()),
        };
        if ends_production(&tokens) {
            break;
        }
    }
    (tokens, texts)
}

/// Unit tests stand at the end of a file.
fn ends_production(tokens: &[String]) -> bool {
    tokens.ends_with(&["mod", "tests", "{"].map(str::to_owned))
}

fn push(tokens: &mut Vec<String>, token: &str) -> usize {
    tokens.push(token.to_owned());
    token.chars().count()
}

fn block_comment(rest: &[char]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at + 1 < rest.len() {
        match (rest[at], rest[at + 1]) {
            ('/', '*') => (depth, at) = (depth + 1, at + 2),
            ('*', '/') => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    rest.len()
}

fn quoted(rest: &[char], texts: &mut Vec<String>) -> usize {
    let mut at = 1;
    while at < rest.len() && rest[at] != '"' {
        at += if rest[at] == '\\' { 2 } else { 1 };
    }
    texts.push(rest[1..at.min(rest.len())].iter().collect());
    at + 1
}

/// `r"…"`, `r#"…"#`, `b"…"`, `br"…"`, `c"…"`; `None` for an ordinary word.
fn prefixed(rest: &[char], texts: &mut Vec<String>) -> Option<usize> {
    let letters = rest.iter().take_while(|c| matches!(c, 'r' | 'b' | 'c')).count();
    let hashes = rest[letters..].iter().take_while(|c| **c == '#').count();
    if letters > 2 || rest.get(letters + hashes) != Some(&'"') {
        return None;
    }
    let raw = rest[..letters].contains(&'r');
    if !raw {
        return (hashes == 0).then(|| letters + quoted(&rest[letters..], texts));
    }
    let start = letters + hashes + 1;
    let is_end = |at: usize| {
        rest[at] == '"' && rest[at + 1..].iter().take(hashes).filter(|c| **c == '#').count() == hashes
    };
    let end = (start..rest.len()).find(|at| is_end(*at)).unwrap_or(rest.len());
    texts.push(rest[start..end].iter().collect());
    Some(end + 1 + hashes)
}

/// A character, or the mark of a lifetime.
fn quote(rest: &[char]) -> usize {
    match (rest.get(1), rest.get(2)) {
        (Some('\\'), _) => 3 + rest.iter().skip(3).position(|c| *c == '\'').map_or(0, |end| end + 1),
        (Some(_), Some('\'')) => 3,
        _ => 1,
    }
}
