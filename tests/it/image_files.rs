//! The image: its context is an allow-list, and what the program takes in while it is compiled has to be on it.

use std::path::{Component, Path, PathBuf};

use crate::tidy_source::{root, sources};

/// The files beside `src/` that the source of `file` takes in, from the package's root.
fn taken_in(file: &str, text: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for name in ["include_str!(\"", "include_bytes!(\"", "include!(\""] {
        for after in text.split(name).skip(1) {
            let named = after.split('"').next().unwrap();
            found.push(from_root(&Path::new(file).parent().unwrap().join(named)));
        }
    }
    found.retain(|path| !path.starts_with("src"));
    found
}

/// Without `..`.
fn from_root(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        if part == Component::ParentDir {
            assert!(plain.pop(), "{} leads out of the project", path.display());
        } else {
            plain.push(part);
        }
    }
    plain
}

#[test]
fn the_image_is_built_with_all_that_the_program_takes_in() {
    let ignored = std::fs::read_to_string(root().join(".dockerignore")).unwrap();
    assert!(ignored.lines().any(|line| line == "*"), "all but what is listed stays outside");
    let allowed: Vec<&str> = ignored.lines().filter_map(|line| line.strip_prefix('!')).collect();
    let needed: Vec<PathBuf> =
        sources("src").iter().flat_map(|source| taken_in(&source.path, &source.text)).collect();
    // the looking itself: one from each depth
    for known in ["systemd/offshoot.service", "assets/ui/base.css"] {
        assert!(needed.iter().any(|path| path == Path::new(known)), "{known} was not found in {needed:?}");
    }
    let lost: Vec<_> =
        needed.iter().filter(|path| !allowed.iter().any(|known| path.starts_with(known))).collect();
    assert!(lost.is_empty(), "the image does not build: .dockerignore keeps out {lost:?}");
}
