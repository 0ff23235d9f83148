//! The profile for sandbox-exec(1) of macOS, as a text. **Unproven**: nobody has run it, and nothing uses it yet. It is here
//! so that whoever has such a machine begins with the same walls.
//!
//! What it could not do as it stands: no process numbers and no temporary directory of its own, and the clone's objects
//! and refs would have to be writable, because nothing can be bound over them.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Deny all writing but to `writable`, and all reading of `hidden`; the network as asked. Later rules win.
#[must_use]
pub fn profile(writable: &[PathBuf], hidden: &[PathBuf], network: bool) -> String {
    let mut text = String::from("(version 1)\n(allow default)\n(deny file-write*)\n");
    let mut rule = |verdict: &str, what: &str, path: &Path| {
        let quoted = path.to_string_lossy().replace('\\', "\\\\").replace('"', "\\\"");
        let _ = writeln!(text, "({verdict} {what} (subpath \"{quoted}\"))");
    };
    for path in hidden {
        rule("deny", "file-read* file-write*", path);
    }
    for path in writable {
        rule("allow", "file-read* file-write*", path);
    }
    text.push_str("(allow file-write* (literal \"/dev/null\") (literal \"/dev/tty\"))\n");
    if !network {
        text.push_str("(deny network*)\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_writable_is_allowed_behind_what_is_denied_and_names_are_quoted() {
        let text = profile(&[PathBuf::from("/w/a\"b")], &[PathBuf::from("/home/me/.ssh")], false);
        assert_eq!(
            text,
            "(version 1)\n(allow default)\n(deny file-write*)\n\
             (deny file-read* file-write* (subpath \"/home/me/.ssh\"))\n\
             (allow file-read* file-write* (subpath \"/w/a\\\"b\"))\n\
             (allow file-write* (literal \"/dev/null\") (literal \"/dev/tty\"))\n(deny network*)\n"
        );
        assert!(!profile(&[], &[], true).contains("network"));
    }
}
