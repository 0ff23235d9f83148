//! The pages name what is there: every test, filter and `just` recipe that they quote; `docs/reliability.md` besides has a figure, a
//! command and something that was broken for each promise. A table whose tests were renamed away would promise from memory.

use std::fs;

use crate::tidy_source::{root, sources};

/// Those that promise and say what holds it.
const PAGES: [&str; 10] = [
    "reliability.md",
    "security.md",
    "attach.md",
    "around-the-agent.md",
    "agents.md",
    "events.md",
    "profiles.md",
    "usage.md",
    "dashboard.md",
    "performance.md",
];
const COLUMNS: [&str; 6] = ["promise", "how it is tested", "figure reached", "command", "broken once", ""];

/// The full names of the tests of all binaries, as the runner prints them: `webhook::schedule::tests::jitter_…`.
fn tests() -> Vec<String> {
    let mut found = Vec::new();
    for dir in ["src", "tests"] {
        for source in sources(dir) {
            let mut is_test = false;
            for line in source.text.lines().map(str::trim) {
                let signature = line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ");
                if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
                    is_test = true;
                } else if let Some(signature) = signature
                    && std::mem::take(&mut is_test)
                {
                    let name = signature.split('(').next().unwrap();
                    found.push(format!("{}::{name}", module(&source.path)));
                }
            }
        }
    }
    found
}

/// `src/a/b.rs` and `src/a/b_tests.rs` are `a::b::tests`, where this house keeps the tests of a file.
fn module(path: &str) -> String {
    let below = ["src/", "tests/it/", "tests/chaos/"].iter().find_map(|dir| path.strip_prefix(dir));
    let stem = below.unwrap_or(path).trim_end_matches(".rs").replace('/', "::");
    let is_beside_code = path.starts_with("src/") || path.starts_with("tests/chaos/");
    if let Some(stem) = stem.strip_suffix("_tests") {
        return format!("{stem}::tests");
    }
    let stem = stem.trim_end_matches("::mod").to_owned();
    if is_beside_code && !stem.contains("tests") { format!("{stem}::tests") } else { stem }
}

/// Whether a test has the pieces of `quoted` in its name, in this order: `life_ends::a_tree_…`, `store_clock::*`.
fn is_there(quoted: &str, tests: &[String]) -> bool {
    // the page leaves `tests` out of a name where it likes
    let short = tests.iter().map(|test| test.replace("::tests::", "::"));
    tests.iter().cloned().chain(short).any(|test| {
        let mut rest = test.as_str();
        quoted.split(['…', '*']).filter(|piece| !piece.is_empty()).all(|piece| {
            let Some((_, behind)) = rest.split_once(piece) else { return false };
            rest = behind;
            true
        })
    })
}

/// Reason codes, fields and files are quoted as well: a test is what has a path, a gap, or four words.
fn is_test_name(quoted: &str) -> bool {
    let is_plain = quoted.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "_:…*".contains(c));
    is_plain && (quoted.contains("::") || quoted.contains('…') || quoted.matches('_').count() >= 3)
}

/// What is between backquotes.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// The words by which a command picks tests; none for one that runs all.
fn filters(command: &str) -> Vec<&str> {
    let mut words = command.split_whitespace().skip(2).peekable();
    let mut found = Vec::new();
    while let Some(word) = words.next() {
        match word {
            "--test" | "--features" => {
                words.next();
            }
            flag if flag.starts_with('-') => {}
            filter => found.push(filter),
        }
    }
    found
}

fn recipes() -> Vec<String> {
    let text = fs::read_to_string(root().join("justfile")).unwrap();
    let heads = text.lines().filter(|line| line.contains(':') && !line.starts_with([' ', '#']));
    heads.map(|line| line.split([' ', ':']).next().unwrap().to_owned()).collect()
}

/// What a promise of `docs/reliability.md` lacks.
fn gaps(line: &str) -> Vec<String> {
    let mut found = Vec::new();
    let cells: Vec<_> = line.split('|').map(str::trim).collect();
    // the table of the audit has its command above it, its rules are functions of the harness
    let is_row = line.starts_with("| ") && cells.len() == COLUMNS.len() + 1;
    if is_row {
        for (name, cell) in COLUMNS.iter().zip(&cells[1..]).take(5) {
            if cell.is_empty() || *cell == "–" {
                found.push(format!("no {name}"));
            }
        }
    }
    found
}

/// What a line of any page names and is not there.
fn absent(line: &str, tests: &[String], recipes: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    for text in quoted(line) {
        if let Some(rest) = text.strip_prefix("just ") {
            let recipe = rest.split(' ').next().unwrap_or_default().trim_end_matches('…');
            if !recipe.is_empty() && !recipes.iter().any(|known| known.starts_with(recipe)) {
                found.push(format!("no recipe {recipe}"));
            }
        } else if text.starts_with("cargo test") {
            let unknown =
                filters(text).into_iter().filter(|filter| !tests.iter().any(|test| test.contains(filter)));
            found.extend(unknown.map(|filter| format!("no test for {filter}")));
        } else if is_test_name(text) && !is_there(text, tests) {
            found.push(format!("no test {text}"));
        }
    }
    found
}

#[test]
fn every_test_and_recipe_of_the_pages_is_there_and_every_promise_has_its_figure() {
    let (tests, recipes) = (tests(), recipes());
    let mut wrong = Vec::new();
    for name in PAGES {
        let path = root().join("docs").join(name);
        for (at, line) in fs::read_to_string(path).unwrap().lines().enumerate() {
            let gaps = if name == "reliability.md" { gaps(line) } else { Vec::new() };
            let faults = gaps.into_iter().chain(absent(line, &tests, &recipes));
            wrong.extend(faults.map(|fault| format!("{name}:{}: {fault}", at + 1)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn each_fault_of_a_line_is_found() {
    let tests = ["store_clock::a_day_takes_a_day".to_owned()];
    let recipes = ["long-sim".to_owned()];
    let row =
        |tested: &str, figure: &str, command: &str| format!("| p | {tested} | {figure} | {command} | b |");
    let faults = |line: &str| [gaps(line), absent(line, &tests, &recipes)].concat();
    let found = |line: &str| faults(line).len();
    let good = row(
        "`store_clock::*`, `a_day_…`, `out_of_memory`",
        "4",
        "`cargo test --test it -- store_`, `just long-sim 5`",
    );
    assert_eq!(found(&good), 0, "{:?}", faults(&good));
    for (tested, figure, command) in [
        ("`store_clocks::*`", "4", "`just long-sim`"),
        ("`a_night_…`", "4", "`just long-sim`"),
        ("`a_day_takes_a_night`", "4", "`just long-sim`"),
        ("`a_day_…_day_…_day_…`", "4", "`just long-sim`"),
        ("x", "–", "`just long-sim`"),
        ("x", "", "`just long-sim`"),
        ("x", "4", "`just long-simulation`"),
        ("x", "4", "`cargo test --test it -- store_ life_`"),
    ] {
        assert_eq!(found(&row(tested, figure, command)), 1, "{tested} {figure} {command}");
    }
}
