//! The rules of the house, read off the sources: who may know whom, what appears where, how files begin and end.
//!
//! Each rule is a function from a file to its faults, and each is shown a file that breaks it. Comments and texts do
//! not count as code, unit tests may import what they like.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use crate::tidy_source::{Source, files_below, root, sources};

const LINES_MAX: usize = 500;
#[rustfmt::skip] // pages that are in no folder of ours
const EXAMPLES: [&str; 9] = ["README.md", "prompt.md", "AGENTS.md", "AGENTS.override.md", "CLAUDE.md", "GEMINI.md", "SKILL.md", "system.md", "memory.md"];

/// What a folder may import of the crate, besides itself. The direction is from the programs down to `domain`.
#[rustfmt::skip] // one row a folder
const MAY_IMPORT: &[(&str, &[&str])] = &[
    // pure, and leaves: they could be crates of their own
    ("domain", &[]),
    ("clock", &[]),
    // where a kill may strike: everybody with a side effect names it
    ("failpoint", &[]),
    ("metrics", &[]),
    ("agent", &["domain"]),
    // the program of a step, as the shim is: lines are cut there as here
    ("acp", &["agent"]),
    ("process", &["failpoint"]),
    ("isolation", &[]),
    ("webhook", &["domain"]),
    ("awake", &["process"]), // for the group of a program alone, as `notify`
    ("notify", &["domain", "process", "webhook", "wire"]),
    ("secrets", &[]),
    ("git", &["clock", "failpoint"]),
    ("forge", &["clock", "failpoint"]),
    // shapes
    ("wire", &["domain"]),
    ("config", &["domain"]),
    // pages, from shapes alone
    ("web", &["domain", "wire"]),
    ("telemetry", &["config", "domain"]),
    // the server, from below
    ("store", &["clock", "domain", "failpoint", "wire"]),
    ("worker", &["agent", "clock", "domain", "failpoint", "forge", "git", "isolation", "process", "secrets", "store", "wire"]),
    ("upkeep", &["clock", "domain", "failpoint", "git", "store", "worker"]),
    // `process` for reading the raw log of a step alone, `agent` for what a kind can carry out
    ("app", &[
        "agent", "clock", "config", "domain", "forge", "git", "isolation", "notify", "process", "store", "upkeep", "webhook", "wire", "worker",
    ]),
    // `store` for the key of a repeated request alone, which it carries through to the use case
    ("http", &["app", "clock", "domain", "store", "web", "wire"]),
    // `app` for the shape of a probe's result alone, which health shows
    ("background", &["agent", "app", "awake", "clock", "domain", "failpoint", "notify", "store", "upkeep", "webhook", "worker"]),
    (
        "daemon",
        &[
            "agent",
            "app",
            "awake",
            "background",
            "clock",
            "config",
            "doctor", // for the dashboard: `app` is given it as a function
            "domain",
            "failpoint",
            "forge",
            "git",
            "http",
            "isolation",
            "notify",
            "process",
            "secrets",
            "store",
            "telemetry",
            "upkeep",
            "webhook",
            "worker",
        ],
    ),
    // the programs
    ("api_client", &["wire"]),
    // it asks as the server would: `worker` for an agent's program, `forge` for the token, `isolation` for the sandbox, and
    // `git` for what is new enough
    ("doctor", &["api_client", "clock", "config", "domain", "forge", "git", "isolation", "wire", "worker"]),
    ("service", &["domain"]), // how a path is quoted in what people type
    ("cli", &["api_client", "clock", "config", "doctor", "domain", "service", "wire"]),
    ("demo", &["api_client", "cli", "clock", "config", "daemon", "forge", "git", "webhook", "wire"]),
    ("main", &["acp", "cli", "config", "daemon", "demo", "failpoint", "isolation", "process"]),
    ("lib", &[]),
];

/// Counting is like logging: it is known to all but those who are pure, or run in other processes too.
const COUNTS_NOTHING: &[&str] = &["domain", "clock", "acp", "agent", "process", "wire", "config"];

/// Where a crate may be named.
const CRATES: &[(&str, &[&str])] = &[
    ("rusqlite", &["src/store/sqlite/"]),
    ("r2d2", &["src/store/sqlite/"]),
    ("r2d2_sqlite", &["src/store/sqlite/"]),
    ("refinery", &["src/store/sqlite/"]),
    ("octocrab", &["src/forge/github"]),
    // the demonstration's receiver is a server of its own
    ("axum", &["src/http/", "src/demo/receiver.rs"]),
    ("utoipa", &["src/http/", "src/wire/"]),
    ("clap", &["src/cli/"]),
    ("clap_complete", &["src/cli/"]),
    ("clap_mangen", &["src/cli/"]),
    ("maud", &["src/web/"]),
    ("git2", &["src/git/"]),
    ("tar", &["src/git/", "src/cli/"]),
    ("reqwest", &["src/webhook/", "src/api_client/", "src/forge/"]),
    ("agent_client_protocol", &["src/acp/"]),
    ("metrics_exporter_prometheus", &["src/metrics/"]),
    ("directories", &["src/config/"]),
    ("comfy_table", &["src/cli/"]),
    ("landlock", &["src/isolation/line.rs"]),
    // errors are enums; only what is told to a person at the very end is loose
    ("anyhow", &["src/demo/"]),
];

/// Folders without serialised forms.
const WITHOUT_SERDE: &[&str] = &["domain", "clock", "git", "webhook", "background", "daemon", "telemetry"];

/// Code that appears in few places, and why there.
const PLACES: &[(&[&str], &[&str], &str)] = &[
    (&["env", "::", "var"], &["src/config/env.rs"], "the environment is one snapshot"),
    (&["env", "::", "vars"], &["src/config/env.rs"], "the environment is one snapshot"),
    (&["env", "::", "var_os"], &["src/config/env.rs"], "the environment is one snapshot"),
    (&["env", "::", "vars_os"], &["src/config/env.rs"], "the environment is one snapshot"),
    (&["env", "::", "set_var"], &[], "other threads read it"),
    (&["tokio", "::", "spawn"], &[], "somebody joins every piece of work: use a JoinSet"),
    (&["task", "::", "spawn"], &[], "somebody joins every piece of work: use a JoinSet"),
    (&["println", "!"], &[], "output goes through cli/output.rs"),
    (&["print", "!"], &[], "output goes through cli/output.rs"),
    (
        &["eprintln", "!"],
        &["src/process/shim/mod.rs"],
        "output goes through cli/output.rs; the shim has it not",
    ),
    (&["eprint", "!"], &[], "output goes through cli/output.rs"),
    (
        &["stdout", "(", ")"],
        &["src/cli/output.rs", "src/process/shim/mod.rs", "src/acp/mod.rs", "src/demo/agent/mod.rs"],
        "three are protocols of processes of their own",
    ),
    (&["process", "::", "exit"], &[], "only main ends the process, by returning"),
    (&["SystemTime", "::", "now"], &["src/clock.rs"], "tests set the clock"),
    (&["Timestamp", "::", "now"], &[], "tests set the clock"),
    (&["getrandom", "::"], &["src/clock.rs"], "tests set the seed"),
    (
        &["unsafe", "{"],
        &["src/process/shim/", "src/process/system/", "src/git/program.rs"],
        "system calls without a safe wrapper, and one switch of libgit2",
    ),
    (&["todo", "!"], &[], "it is built, or it is refused by name"),
    (&["unimplemented", "!"], &[], "it is built, or it is refused by name"),
];

/// SQL that gets its value from the database instead of the server's clock.
const SQL_CLOCKS: &[&str] =
    &["current_timestamp", "current_time", "datetime(", "strftime(", "unixepoch", "julianday("];

/// Names that say nothing.
const EMPTY_NAMES: &[&str] = &["manager", "helper", "helpers", "util", "utils", "processor"];

fn imports(file: &Source) -> Vec<String> {
    let own = file.folder();
    let Some((_, allowed)) = MAY_IMPORT.iter().find(|(folder, _)| *folder == own) else {
        return vec![format!("{own} has no line in the table of imports")];
    };
    // `crate::Something` that is no folder is a macro or the crate's own root
    let folders =
        file.crate_folders().into_iter().filter(|name| MAY_IMPORT.iter().any(|(folder, _)| folder == name));
    let counts = |name: &String| name == "metrics" && !COUNTS_NOTHING.contains(&own);
    folders
        .filter(|name| name != own && !counts(name) && !allowed.contains(&name.as_str()))
        .map(|name| format!("{own} must not know {name}"))
        .collect()
}

/// The scripted agent stands for somebody else's program.
fn scripted_agent(file: &Source) -> Vec<String> {
    if !file.is_below(&["src/demo/agent/"]) {
        return Vec::new();
    }
    let known = file.crate_folders().into_iter().filter(|name| name != "clock" && name != "demo");
    known.map(|name| format!("the scripted agent must not know {name}")).collect()
}

fn crates(file: &Source) -> Vec<String> {
    let named = |name: &str| file.tokens.iter().any(|token| token == name);
    let mut faults: Vec<_> = CRATES
        .iter()
        .filter(|(name, places)| !file.is_below(places) && named(name))
        .map(|(name, places)| format!("{name} belongs to {places:?}"))
        .collect();
    if WITHOUT_SERDE.contains(&file.folder()) && (named("serde") || named("serde_json")) {
        faults.push("has no serialised form".to_owned());
    }
    faults
}

fn places(file: &Source) -> Vec<String> {
    let misplaced = PLACES.iter().filter(|(code, places, _)| !file.is_below(places) && file.says(code));
    misplaced.map(|(code, _, why)| format!("{}: {why}", code.concat())).collect()
}

/// SQL in its folder, time from the clock, and a status moved in two files only.
fn sql(file: &Source) -> Vec<String> {
    let mut faults = Vec::new();
    for text in &file.texts {
        let is_statement = ["SELECT ", "INSERT INTO ", "UPDATE ", "DELETE FROM "]
            .iter()
            .any(|verb| text.trim_start().starts_with(verb));
        if is_statement && !file.is_below(&["src/store/sqlite/"]) {
            faults.push(format!("SQL outside of the store: {text}"));
        }
        faults.extend(sql_clock(text).filter(|_| is_statement));
        let moves = text.contains("UPDATE jobs SET status");
        if moves && !file.is_below(&["src/store/sqlite/finish.rs", "src/store/sqlite/claim.rs"]) {
            faults.push("moves a status: only finish.rs and claim.rs do, by domain::lifecycle".to_owned());
        }
    }
    faults
}

fn sql_clock(text: &str) -> Option<String> {
    let text = text.to_lowercase();
    let clock = SQL_CLOCKS.iter().find(|clock| text.contains(**clock))?;
    Some(format!("{clock}: instants come from the server's clock"))
}

/// A name that was given or moved outlives a power cut only when its directory is synced.
fn durable_names(file: &Source) -> Vec<String> {
    /// So far behind it the sync may stand, in tokens: a dozen lines.
    const NEAR: usize = 120;
    let moves = |tokens: &[String]| {
        tokens[1] == "::" && tokens[0] == "fs" && matches!(tokens[2].as_str(), "rename" | "hard_link")
    };
    let found = file.tokens.windows(3).enumerate().filter(|(_, tokens)| moves(tokens));
    let unsynced = found.filter(|(at, _)| {
        let behind = file.tokens.iter().skip(*at).take(NEAR);
        file.is_below(&["src/store/"])
            && !behind.into_iter().any(|token| token == "sync_dir" || token == "sync_all")
    });
    let mut faults: Vec<_> =
        unsynced.map(|_| "a name is moved, and its directory is not synced".to_owned()).collect();
    // SQLite syncs the directory of a new database too, but takes no notice when that fails
    let begins = file.tokens.windows(4).position(|tokens| tokens == ["begin_epoch", "(", "&", "connection"]);
    if begins.is_some_and(|at| {
        !file.tokens[at.saturating_sub(2 * NEAR)..at].iter().any(|token| token == "sync_dir")
    }) {
        faults.push("something is promised before the directory of the database is synced".to_owned());
    }
    faults
}

/// Production code does not know that it is tested.
fn switches(file: &Source) -> Vec<String> {
    let tokens = &file.tokens;
    let is = |at: usize, token: &str| tokens.get(at).is_some_and(|found| found == token);
    let mut faults = Vec::new();
    for (at, token) in
        tokens.iter().enumerate().filter(|(_, token)| matches!(token.as_str(), "cfg" | "cfg_attr"))
    {
        let close = (at..tokens.len()).find(|at| is(*at, "]") || is(*at, ";")).unwrap_or(tokens.len());
        if !tokens[at..close].iter().any(|token| token == "test") {
            continue;
        }
        let mut next = close + 1;
        while is(next, "#") {
            next = (next..tokens.len()).find(|at| is(*at, "]")).map_or(tokens.len(), |at| at + 1);
        }
        if is(next, "pub") {
            next += if is(next + 1, "(") { 4 } else { 1 };
        }
        if !(token == "cfg" && is(next, "mod") && is(next + 1, "tests")) {
            faults.push("a switch for tests in production code".to_owned());
        }
    }
    faults
}

fn length(file: &Source) -> Vec<String> {
    let lines = file.text.lines().count();
    if lines > LINES_MAX { vec![format!("{lines} lines, {LINES_MAX} are the limit")] } else { Vec::new() }
}

/// A folder's first page says what it promises, what it must not know, how it fails and how it is tested.
fn essay(file: &Source) -> Vec<String> {
    if !file.path.ends_with("/mod.rs") {
        return Vec::new();
    }
    let first: String = file
        .text
        .lines()
        .map_while(|line| line.strip_prefix("//!"))
        .flat_map(str::split_whitespace)
        .flat_map(|word| [word, " "])
        .collect();
    let lower = first.to_lowercase();
    let missing =
        ["promises", "must not know", "fails", "tested"].into_iter().filter(|part| !lower.contains(part));
    let mut faults: Vec<_> = missing.map(|part| format!("the essay has no word on: {part}")).collect();
    // `tests/it/name*.rs` stands for several files
    for place in first.split('`').filter(|text| text.starts_with("tests/it/") && text.ends_with(".rs")) {
        let stem = place.trim_start_matches("tests/it/").trim_end_matches(".rs").trim_end_matches('*');
        let is_there = |path: &std::path::PathBuf| {
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(stem))
        };
        if !files_below("tests/it", ".rs").iter().any(is_there) {
            faults.push(format!("there is no {place}"));
        }
    }
    faults
}

fn names(file: &Source) -> Vec<String> {
    let stem = file.path.rsplit('/').next().unwrap_or_default().trim_end_matches(".rs");
    let defined = file
        .tokens
        .windows(2)
        .filter(|pair| matches!(pair[0].as_str(), "struct" | "enum" | "trait" | "mod" | "type"))
        .map(|pair| pair[1].as_str());
    let is_empty = |name: &&str| {
        EMPTY_NAMES
            .iter()
            .any(|empty| name.to_lowercase() == *empty || name.to_lowercase().ends_with(&format!("_{empty}")))
            || ["Manager", "Helper", "Util", "Utils", "Processor"].iter().any(|end| name.ends_with(end))
    };
    defined.chain([stem]).filter(is_empty).map(|name| format!("{name} says nothing")).collect()
}

/// The project speaks of itself alone: no path of somebody's machine, no page that is not in the repository.
fn own_words(path: &str, text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    for place in ["/root/", "/Users/", "/work/"] {
        // the examples' own person
        if text.replace("/Users/ada", "").contains(place) {
            faults.push(format!("{place} is a place on one machine"));
        }
    }
    let part = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '/');
    for word in text.split(|c| !part(c)).filter(|word| word.ends_with(".md") && word.len() > 3) {
        let name = word.rsplit('/').next().unwrap_or(word);
        let here = root().join(path).parent().map(|dir| dir.join(word).exists()).unwrap_or_default();
        let is_example = EXAMPLES.contains(&name);
        if !here
            && !root().join(word).exists()
            && !is_example
            && !files_below("docs", name).iter().any(|_| true)
        {
            faults.push(format!("there is no {word}"));
        }
    }
    faults
}

type Rule = fn(&Source) -> Vec<String>;
const RULES: &[Rule] = &[imports, scripted_agent, crates, places, sql, durable_names, switches, essay, names];

fn told(faults: impl IntoIterator<Item = (String, Vec<String>)>) -> String {
    let lines = faults
        .into_iter()
        .flat_map(|(path, faults)| faults.into_iter().map(move |fault| format!("{path}: {fault}")));
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn the_sources_keep_the_rules() {
    let sources = sources("src");
    assert!(sources.len() > 100, "the sources were not found");
    let production = sources.iter().filter(|file| !file.is_test());
    let faults = production.flat_map(|file| RULES.iter().map(|rule| (file.path.clone(), rule(file))));
    let faults = told(faults);
    assert!(faults.is_empty(), "\n{faults}\n");
}

#[test]
fn no_file_is_too_long() {
    let all = sources("src").into_iter().chain(sources("tests"));
    let faults = told(all.map(|file| (file.path.clone(), length(&file))));
    assert!(faults.is_empty(), "\n{faults}\n");
}

#[test]
fn migrations_take_no_time_of_their_own_and_are_numbered() {
    let migrations = files_below("migrations", ".sql");
    assert!(!migrations.is_empty());
    for (index, path) in migrations.iter().enumerate() {
        let name = path.file_name().unwrap().to_string_lossy();
        assert!(name.starts_with(&format!("V{:04}__", index + 1)), "{name} is out of line");
        let text: String = std::fs::read_to_string(path)
            .unwrap()
            .lines()
            .map(|line| line.split("--").next().unwrap_or_default())
            .collect();
        assert_eq!(sql_clock(&text), None, "{name}");
    }
}

#[test]
fn the_project_speaks_of_itself_alone() {
    let places = ["src", "tests", "docs", "migrations", "systemd", "launchd"];
    let all = places.iter().flat_map(|dir| {
        [".rs", ".md", ".sql", ".service", ".conf", ".plist"].map(|end| files_below(dir, end))
    });
    let top = [
        "README.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
        "NOTICE",
        "Cargo.toml",
        "config.example.toml",
        "deny.toml",
    ];
    let all = all.flatten().chain(top.map(|name| root().join(name)));
    let faults = told(all.filter(|path| !path.ends_with("tests/it/tidy.rs")).map(|path| {
        let shown = path.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
        let faults = own_words(&shown, &std::fs::read_to_string(&path).unwrap());
        (shown, faults)
    }));
    assert!(faults.is_empty(), "\n{faults}\n");
}

/// A rule that cannot fail is worthless: each is broken here once, and each time by one fault.
#[test]
fn every_rule_finds_its_fault() {
    let broken: &[(Rule, &str, &str)] = &[
        (imports, "src/domain/job.rs", "use crate::wire::job::Job;"),
        (imports, "src/domain/job.rs", "use super::super::store::Store;"),
        (imports, "src/process/log/frame.rs", "fn f() { super::super::super::clock::now() }"),
        (imports, "src/git/mod.rs", "use crate::{clock::Clock, forge::Forge};"),
        (imports, "src/store/logs.rs", "type A = crate::worker::Worker;"),
        (imports, "src/cli/mod.rs", "use crate::store::Store;"),
        (imports, "src/process/tail.rs", "use crate::metrics;"),
        (imports, "src/metrics/mod.rs", "use crate::clock::Clock;"),
        (imports, "src/nowhere/mod.rs", ""),
        (scripted_agent, "src/demo/agent/edit.rs", "use crate::wire::job::Job;"),
        (crates, "src/store/mod.rs", "use rusqlite::Connection;"),
        (crates, "src/forge/local.rs", "fn f(a: octocrab::Octocrab) {}"),
        (crates, "src/app/jobs.rs", "use axum::Json;"),
        (crates, "src/worker/mod.rs", "use git2::Oid;"),
        (crates, "src/git/remote.rs", "use reqwest::Client;"),
        (crates, "src/domain/job.rs", "#[derive(serde::Serialize)] struct A;"),
        (places, "src/git/program.rs", "fn f() { std::env::var(\"HOME\"); }"),
        (places, "src/app/mod.rs", "fn f() { tokio::spawn(async {}); }"),
        (places, "src/worker/mod.rs", "fn f() { println!(\"x\"); }"),
        (places, "src/http/mod.rs", "fn f() { std::process::exit(1) }"),
        (places, "src/store/mod.rs", "fn f() { std::time::SystemTime::now(); }"),
        (places, "src/store/mod.rs", "fn f() { unsafe { g() } }"),
        (sql, "src/app/jobs.rs", "const A: &str = \"SELECT 1\";"),
        (sql, "src/store/sqlite/jobs.rs", "const A: &str = \"UPDATE t SET at = CURRENT_TIMESTAMP\";"),
        (sql, "src/store/sqlite/jobs.rs", "const A: &str = r#\"UPDATE jobs SET status = 'x'\"#;"),
        (durable_names, "src/store/restore.rs", "fn f() { fs::rename(a, b)?; Ok(()) }"),
        (
            durable_names,
            "src/store/sqlite/mod.rs",
            "fn f() { place.open()?; begin_epoch(&connection, clock) }",
        ),
        (switches, "src/app/jobs.rs", "#[cfg(test)] fn f() {}"),
        (switches, "src/app/jobs.rs", "fn f() { if cfg!(test) { g(); } }"),
        (switches, "src/app/jobs.rs", "#[cfg_attr(test, derive(Debug))] struct A;"),
        (essay, "src/app/mod.rs", "//! Promises a lot. Must not know anything. Fails never."),
        (essay, "src/app/mod.rs", "//! Promises. Must not\n//! know. Fails. Tested in `tests/it/absent.rs`."),
        (names, "src/app/util.rs", ""),
        (names, "src/app/jobs.rs", "pub struct JobManager;"),
    ];
    for (rule, path, text) in broken {
        assert_eq!(rule(&Source::new(path, text)).len(), 1, "{path}: {text}");
    }
    assert_eq!(length(&Source::new("src/a.rs", &"\n".repeat(501))).len(), 1);
    assert_eq!(own_words("docs/a.md", "see absent.md in /root/x").len(), 2);
}

#[test]
fn comments_texts_and_unit_tests_are_not_code() {
    let harmless = r##"
        //! crate::store and println!
        /* tokio::spawn /* nested */ rusqlite */
        const A: &str = "use axum::Json; \" println!(";
        const B: &str = r#"octocrab " clap"#;
        const C: (char, char) = ('"', '\'');
        fn f<'a>(a: &'a str) -> &'a str { a }
        #[cfg(test)]
        #[path = "x_tests.rs"]
        mod tests;
        #[cfg(target_os = "linux")]
        fn g() {}
        #[cfg(test)]
        pub(super) mod tests {
            use crate::store::Store;
            fn h() { println!("x"); }
        }
    "##;
    let file = Source::new("src/domain/a.rs", harmless);
    for rule in RULES {
        assert_eq!(rule(&file), Vec::<String>::new());
    }
    assert_eq!(file.texts[1], "octocrab \" clap");
}
