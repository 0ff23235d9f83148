//! The scripted agent's default work: one more greeting for the sample project, or for whatever it finds.

use std::io;
use std::path::Path;

/// The greetings it can add, with the words they say and when.
const GREETINGS: [(&str, &str, &str); 4] = [
    ("goodbye", "Goodbye", "somebody who leaves"),
    ("welcome", "Welcome", "a guest"),
    ("thanks", "Thank you", "somebody who helped"),
    ("cheers", "Cheers", "a friend"),
];

/// Paths with their whole new content. The first greeting that the source does not have yet is added, so that the
/// same work on the same branch changes something each time. Files that are missing are begun.
pub(super) fn next_greeting(dir: &Path) -> io::Result<Vec<(String, String)>> {
    let mut source = read(&dir.join("greeting.py"))?;
    let known = |name: &str, source: &str| source.contains(&format!("def {name}("));
    let (name, word, whom) = match GREETINGS.iter().find(|(name, ..)| !known(name, &source)) {
        Some((name, word, whom)) => ((*name).to_owned(), *word, *whom),
        None => (
            format!("greeting_{}", source.matches("def ").count() + 1),
            "Hello again",
            "somebody who returns",
        ),
    };
    let gap = if source.is_empty() { "" } else { "\n\n" };
    source.push_str(&format!(
        "{gap}def {name}(name):\n    \"\"\"Greet {whom}.\"\"\"\n    return f\"{word}, {{name}}!\"\n"
    ));
    let mut test = read(&dir.join("test_greeting.py"))?;
    if test.is_empty() {
        test.push_str("import unittest\n\nimport greeting\n\n\nclass GreetingTest(unittest.TestCase):\n");
    } else {
        test.push('\n');
    }
    test.push_str(&format!(
        "    def test_{name}(self):\n        self.assertEqual(greeting.{name}(\"Ada\"), \"{word}, Ada!\")\n"
    ));
    let readme = with_line(&read(&dir.join("README.md"))?, &format!("- `{name}(name)` greets {whom}."));
    Ok(vec![
        ("greeting.py".to_owned(), source),
        ("test_greeting.py".to_owned(), test),
        ("README.md".to_owned(), readme),
    ])
}

/// The text with `line` behind its last list entry, or at its end.
fn with_line(text: &str, line: &str) -> String {
    let mut lines: Vec<&str> = text.lines().collect();
    let at = lines.iter().rposition(|entry| entry.starts_with("- `")).map_or(lines.len(), |last| last + 1);
    lines.insert(at, line);
    lines.join("\n") + "\n"
}

fn read(path: &Path) -> io::Result<String> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(error),
    }
}
