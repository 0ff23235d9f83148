//! The tools that questions are about: an agent may have told of one before, and only name it when it asks.

use std::io::ErrorKind;
use std::path::Path;

use agent_client_protocol::v1::schema::ToolKind;
use serde_json::Value;

use super::policy::is_called;
use crate::agent::Newest;

/// The newest ones: a question follows what it is about closely.
const USES_MAX: usize = 1_000;
/// A use that touches more files than that is not looked through: it is taken for one that goes outside.
const PATHS_MAX: usize = 200;
/// The same of the bytes of their paths.
const PATHS_BYTES_MAX: usize = 64 * 1024;
/// Names that agents have for a path among the arguments of a tool, small letters alone. What is called so is one, whatever it looks like.
const PATH_NAMES: [&str; 17] = [
    "path",
    "paths",
    "filepath",
    "abspath",
    "notebookpath",
    "newpath",
    "oldpath",
    "destination",
    "dest",
    "source",
    "target",
    "targetfile",
    "file",
    "files",
    "filename",
    "uri",
    "url",
];
/// Names of what is written into a file, run or said: whatever stands there is no path. Of all others a text that would lead
/// somewhere else is taken for one.
const TEXT_NAMES: [&str; 22] = [
    "text",
    "content",
    "contents",
    "filetext",
    "command",
    "cmd",
    "description",
    "title",
    "prompt",
    "query",
    "pattern",
    "regex",
    "glob",
    "oldstring",
    "newstring",
    "oldstr",
    "newstr",
    "oldtext",
    "newtext",
    "search",
    "replace",
    "code",
];
/// Its members are called as the files that they change.
const CHANGES: &str = "changes";
/// Longer texts are no paths (`PATH_MAX` of Linux).
const PATH_BYTES_MAX: usize = 4_096;

/// What was told of a use, all of it: nothing is ever taken back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) kind: Option<ToolKind>,
    paths: Vec<String>,
    has_more: bool,
}

#[derive(Debug)]
pub(super) struct Uses {
    known: Newest<Facts>,
    /// Something was told that could not be read: it may have been of any of them.
    is_blind: bool,
}

impl Default for Uses {
    fn default() -> Self {
        Self { known: Newest::new(USES_MAX), is_blind: false }
    }
}

impl Uses {
    /// Notes what `update` says of its use: fields of `ToolCall` and `ToolCallUpdate` alike.
    pub(super) fn learn(&mut self, update: &Value) {
        if let Some(facts) = update["toolCallId"].as_str().and_then(|id| self.known.at(id)) {
            facts.learn(update);
        }
    }

    /// Something was told that nobody can read.
    pub(super) fn miss(&mut self) {
        self.is_blind = true;
    }

    /// Of a use whose id is too long nothing is kept: it may have told anything.
    pub(super) fn facts(&mut self, id: &str) -> Facts {
        let mut facts = self.known.at(id).cloned().unwrap_or_else(Facts::of_anything);
        facts.has_more |= self.is_blind;
        facts
    }
}

impl Facts {
    fn of_anything() -> Self {
        Self { has_more: true, ..Self::default() }
    }

    fn learn(&mut self, update: &Value) {
        if let Ok(kind) = serde_json::from_value::<ToolKind>(update["kind"].clone()) {
            self.kind = Some(kind);
        }
        let mut paths: Vec<&str> = Vec::new();
        paths_among(&update["locations"], Name::Path, &mut paths);
        for part in ["content", "rawInput"] {
            paths_among(&update[part], Name::Other, &mut paths);
        }
        for path in paths {
            if self.paths.iter().any(|known| known == path) {
                continue;
            }
            let bytes: usize = self.paths.iter().map(String::len).sum();
            if self.paths.len() >= PATHS_MAX || bytes + path.len() >= PATHS_BYTES_MAX {
                self.has_more = true;
                return;
            }
            self.paths.push(path.to_owned());
        }
    }

    /// Whether every path that was told lies in `dir`, whose links are resolved. Without a path nothing speaks against it.
    pub(super) fn stay_in(&self, dir: &Path) -> bool {
        !self.has_more && self.paths.iter().all(|path| is_in(dir, path))
    }
}

/// What a value is called.
#[derive(Clone, Copy)]
enum Name {
    Path,
    Text,
    Other,
}

impl Name {
    fn of(name: &str) -> Self {
        match name {
            _ if is_called(name, &PATH_NAMES) => Self::Path,
            _ if is_called(name, &TEXT_NAMES) => Self::Text,
            _ => Self::Other,
        }
    }
}

/// What is a path among the arguments of a tool, however deep: by its name, or because it would lead somewhere else if it were one.
fn paths_among<'a>(value: &'a Value, name: Name, paths: &mut Vec<&'a str>) {
    match value {
        Value::String(text) => match name {
            Name::Path => paths.push(text),
            Name::Other if leads_away(text) => paths.push(text),
            Name::Other | Name::Text => {}
        },
        Value::Array(values) => values.iter().for_each(|value| paths_among(value, name, paths)),
        Value::Object(members) => {
            for (member, value) in members {
                if leads_away(member) {
                    paths.push(member);
                }
                paths_among(value, Name::of(member), paths);
                if member == CHANGES {
                    paths.extend(value.as_object().into_iter().flatten().map(|(path, _)| path.as_str()));
                }
            }
        }
        _ => {}
    }
}

/// Whether it would not begin in the directory to work in, as a path.
fn leads_away(text: &str) -> bool {
    let text = text.trim_start();
    let is_line = text.len() <= PATH_BYTES_MAX && !text.contains('\n');
    is_line && (text.starts_with(['/', '~', '$']) || text.starts_with("..") || text.contains(":/"))
}

/// Whether what would be opened under this path lies in `dir`: through links and `..`, and also where it does not exist yet. What an agent
/// may make another path of before it opens it, a home directory or an address, is never taken for one that does.
fn is_in(dir: &Path, path: &str) -> bool {
    let path = path.trim_start();
    if path.starts_with(['~', '$']) || path.contains(":/") {
        return false;
    }
    let full = dir.join(path);
    let mut at = full.as_path();
    loop {
        match at.canonicalize() {
            Ok(real) => return real.starts_with(dir),
            // a link to what is not there would be made where it leads to
            Err(error) if error.kind() != ErrorKind::NotFound || at.symlink_metadata().is_ok() => {
                return false;
            }
            Err(_) => {}
        }
        // there is no name where it ends with `..`, and behind what is not there that leads nowhere
        match (at.file_name(), at.parent()) {
            (Some(_), Some(parent)) => at = parent,
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_was_told_of_a_use_stays_known_and_old_ones_make_room() {
        let mut uses = Uses::default();
        uses.learn(&json!({"toolCallId": "a", "kind": "edit", "locations": [{"path": "x"}]}));
        uses.learn(&json!({"toolCallId": "a", "rawInput": {"file_path": "y", "path": "x"}, "content": [
            {"type": "diff", "path": "z"}, {"type": "content", "path": "none"}]}));
        let facts = uses.facts("a");
        assert_eq!(
            (facts.kind, facts.paths),
            (Some(ToolKind::Edit), ["x", "z", "none", "y"].map(str::to_owned).to_vec())
        );
        for number in 0..USES_MAX {
            uses.learn(&json!({"toolCallId": format!("b{number}"), "kind": 5}));
        }
        assert_eq!(uses.facts("a"), Facts::default());
    }

    #[test]
    fn a_path_is_found_under_every_name_and_however_deep() {
        for input in [
            json!({"target_file": "/x"}),
            json!({"uri": "/x"}),
            json!({"edits": [{"old": "a", "filePath": "/x"}]}),
            json!({"args": {"source": "a", "dest": "/x"}}),
            json!({"paths": ["a", "/x"]}),
            json!({"changes": {"a": {}, "/x": {"add": ""}}}),
            json!({"anything": {"at": "/x"}}),
            json!({"files": {"/x": "text"}}),
            json!({"path": {"value": "/x"}}),
            json!(["/x"]),
            json!("/x"),
        ] {
            let mut uses = Uses::default();
            uses.learn(&json!({"toolCallId": "a", "rawInput": input}));
            assert!(uses.facts("a").paths.contains(&"/x".to_owned()), "{input}");
        }
        for told in [
            json!({"locations": "/x"}),
            json!({"locations": {"uri": "/x"}}),
            json!({"content": {"type": "diff", "path": "/x"}}),
            json!({"content": [{"type": "content", "content": {"type": "resource_link", "uri": "/x"}}]}),
        ] {
            let mut facts = Facts::default();
            facts.learn(&told);
            assert_eq!(facts.paths, ["/x"], "{told}");
        }
        let mut uses = Uses::default();
        uses.learn(
            &json!({"toolCallId": "a", "rawInput": {"content": "/x", "command": "/y", "file_text": "/z"}}),
        );
        assert_eq!(uses.facts("a").paths, Vec::<String>::new());
    }

    #[test]
    fn what_could_not_be_kept_or_read_may_go_anywhere() {
        let place = tempfile::tempdir().unwrap();
        let dir = place.path().canonicalize().unwrap();
        let mut uses = Uses::default();
        let long = "l".repeat(2_000);
        uses.learn(&json!({"toolCallId": long, "kind": "edit", "locations": [{"path": "x"}]}));
        uses.learn(&json!({"toolCallId": "a", "locations": [{"path": "x"}]}));
        uses.learn(
            &json!({"toolCallId": "b", "locations": [{"path": "./".repeat(PATHS_BYTES_MAX / 2) + "x"}]}),
        );
        assert_eq!(uses.facts("b").paths, Vec::<String>::new(), "it is not kept");
        let stay = |uses: &mut Uses, id: &str| uses.facts(id).stay_in(&dir);
        assert_eq!([long.as_str(), "a", "b"].map(|id| stay(&mut uses, id)), [false, true, false]);
        uses.miss();
        assert!(!stay(&mut uses, "a") && !stay(&mut uses, "new"));
    }

    #[test]
    fn a_path_is_inside_only_where_it_ends_up_there() {
        let place = tempfile::tempdir().unwrap();
        let root = place.path().canonicalize().unwrap();
        let (dir, outside) = (root.join("tree"), root.join("outside"));
        std::fs::create_dir_all(dir.join("sub")).unwrap();
        std::fs::create_dir(&outside).unwrap();
        let link = |to: &Path, name: &str| std::os::unix::fs::symlink(to, dir.join(name)).unwrap();
        link(&outside, "out");
        link(&outside.join("new"), "dangling");
        link(&dir.join("sub"), "in");
        let absolute = |path: &Path| path.to_str().unwrap().to_owned();
        for (path, expected) in [
            ("a.txt".to_owned(), true),
            ("sub/../new/deep/a.txt".to_owned(), true),
            ("in/a.txt".to_owned(), true),
            (absolute(&dir.join("b.txt")), true),
            ("../outside/a.txt".to_owned(), false),
            ("..".to_owned(), false),
            ("missing/../../outside/a".to_owned(), false),
            ("out/a.txt".to_owned(), false),
            ("dangling".to_owned(), false),
            (absolute(&outside.join("a")), false),
            (absolute(&root.join("tree-2/a")), false),
            ("/etc/passwd".to_owned(), false),
            ("~/.ssh/authorized_keys".to_owned(), false),
            ("~root/a".to_owned(), false),
            (" /etc/passwd".to_owned(), false),
            ("$HOME/a".to_owned(), false),
            ("file:///etc/passwd".to_owned(), false),
            ("file:/etc/passwd".to_owned(), false),
            ("sub/a~".to_owned(), true),
            ("sub/a:b".to_owned(), true),
        ] {
            assert_eq!(is_in(&dir, &path), expected, "{path}");
        }
        let mut facts = Facts::default();
        assert!(facts.stay_in(&dir));
        let many: Vec<Value> = (0..=PATHS_MAX).map(|number| json!({"path": format!("f{number}")})).collect();
        facts.learn(&json!({"locations": many}));
        assert!(!facts.stay_in(&dir), "one of them was not looked at");
    }
}
