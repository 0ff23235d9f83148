//! The table of failpoints is true: each edge has one place, and only the harness's build has any.

use offshoot::failpoint::Edge;

use crate::tidy_source::{Source, root, sources};

/// The edges that a file names.
fn named(file: &Source) -> Vec<String> {
    let paths = file.tokens.windows(3).filter(|part| part[0] == "Edge" && part[1] == "::");
    paths.map(|part| part[2].clone()).filter(|name| name != "ALL").collect()
}

/// What is wrong with the places of the edges in these files.
fn misplaced(files: &[Source]) -> Vec<String> {
    let table = |file: &&Source| file.path != "src/failpoint.rs" && !file.is_test();
    let all: Vec<_> = files.iter().filter(table).flat_map(named).collect();
    let count = |edge: &Edge| all.iter().filter(|name| **name == format!("{edge:?}")).count();
    let wrong = Edge::ALL.iter().map(|edge| (edge, count(edge))).filter(|(_, count)| *count != 1);
    wrong.map(|(edge, count)| format!("{edge:?} has {count} places")).collect()
}

/// The lines that build with failpoints something else than the harness.
fn builds(text: &str) -> Vec<&str> {
    let harness = |line: &str| ["--test chaos", "clippy"].iter().any(|allowed| line.contains(allowed));
    let with = |line: &&str| line.contains("failpoints") || line.contains("all-features");
    text.lines()
        .filter(|line| !line.trim_start().starts_with('#'))
        .filter(with)
        .filter(|line| !harness(line))
        .collect()
}

#[test]
fn every_edge_has_its_one_place() {
    assert_eq!(misplaced(&sources("src")), Vec::<String>::new());
}

#[test]
fn nothing_but_the_harness_is_built_with_failpoints() {
    let read = |name: &str| std::fs::read_to_string(root().join(name)).unwrap();
    for name in [".ci/run", "justfile"] {
        assert_eq!(builds(&read(name)), Vec::<&str>::new(), "{name}");
    }
    let manifest: toml::Value = toml::from_str(&read("Cargo.toml")).unwrap();
    let features = manifest["features"].as_table().unwrap();
    assert_eq!(features.keys().collect::<Vec<_>>(), ["failpoints"], "a default set may not bring them in");
    let knows = |file: &Source| file.text.contains("feature = \"failpoints\"");
    let places: Vec<_> = sources("src").into_iter().filter(knows).map(|file| file.path).collect();
    assert_eq!(places, ["src/failpoint.rs", "src/main.rs"]);
}

#[test]
fn both_rules_find_their_fault() {
    let mut files = sources("src");
    files.push(Source::new("src/git/again.rs", "fn f() { failpoint::at(Edge::Push, g) }"));
    assert_eq!(misplaced(&files), ["Push has 2 places"]);
    files.retain(|file| file.path != "src/git/push.rs" && file.path != "src/git/again.rs");
    assert_eq!(misplaced(&files), ["Push has 0 places"]);
    assert_eq!(builds("# failpoints\ncargo build --release --features failpoints").len(), 1);
    assert_eq!(builds("cargo test --features failpoints --test chaos").len(), 0);
}
