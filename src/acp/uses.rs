//! The tools that questions are about: an agent may have told of one before, and only name it when it asks.

use std::collections::{HashMap, VecDeque};
use std::io::ErrorKind;
use std::path::Path;

use agent_client_protocol::v1::schema::ToolKind;
use serde_json::Value;

/// The newest ones: a question follows what it is about closely.
const USES_MAX: usize = 1_000;
/// A use that touches more files than that is not looked through: it is taken for one that goes outside.
const PATHS_MAX: usize = 200;
/// Names that agents have for a path among the arguments of a tool.
const PATH_NAMES: [&str; 8] =
    ["path", "filePath", "file_path", "abs_path", "notebook_path", "newPath", "new_path", "destination"];

/// What was told of a use, all of it: nothing is ever taken back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) kind: Option<ToolKind>,
    paths: Vec<String>,
    has_more: bool,
}

#[derive(Debug, Default)]
pub(super) struct Uses {
    known: HashMap<String, Facts>,
    /// Their ids, the oldest first.
    order: VecDeque<String>,
}

impl Uses {
    /// Notes what `update` says of its use: fields of `ToolCall` and `ToolCallUpdate` alike.
    pub(super) fn learn(&mut self, update: &Value) {
        let Some(id) = update["toolCallId"].as_str() else { return };
        if !self.known.contains_key(id) {
            if self.order.len() >= USES_MAX
                && let Some(oldest) = self.order.pop_front()
            {
                self.known.remove(&oldest);
            }
            self.order.push_back(id.to_owned());
        }
        self.known.entry(id.to_owned()).or_default().learn(update);
    }

    pub(super) fn facts(&self, id: &str) -> Facts {
        self.known.get(id).cloned().unwrap_or_default()
    }
}

impl Facts {
    fn learn(&mut self, update: &Value) {
        if let Ok(kind) = serde_json::from_value::<ToolKind>(update["kind"].clone()) {
            self.kind = Some(kind);
        }
        let listed = |list: &Value| list.as_array().cloned().unwrap_or_default();
        let locations = listed(&update["locations"]);
        let diffs: Vec<Value> =
            listed(&update["content"]).into_iter().filter(|block| block["type"] == "diff").collect();
        let told = locations.iter().chain(&diffs).map(|one| &one["path"]);
        let arguments = PATH_NAMES.iter().map(|name| &update["rawInput"][*name]);
        for path in told.chain(arguments).filter_map(Value::as_str) {
            if self.paths.iter().any(|known| known == path) {
                continue;
            }
            if self.paths.len() >= PATHS_MAX {
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

/// Whether what would be opened under this path lies in `dir`: through links and `..`, and also where it does not exist yet.
fn is_in(dir: &Path, path: &str) -> bool {
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
            (Some(ToolKind::Edit), ["x", "z", "y"].map(str::to_owned).to_vec())
        );
        for number in 0..USES_MAX {
            uses.learn(&json!({"toolCallId": format!("b{number}"), "kind": 5}));
        }
        assert_eq!((uses.facts("a"), uses.known.len()), (Facts::default(), USES_MAX));
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
