//! What the finished product costs beside what the machine can do: `cargo bench`, or `cargo bench -- queue git` for some groups.
//!
//! Every figure is a ratio of two sides that take turns in one run, with its median and spread over the rounds, because a
//! shared machine is never twice as fast as it just was. Nothing is asserted: docs/performance.md says what was reached, where,
//! and what is missed. Facts that can be counted are tests, in `tests/it/counted.rs`.
//!
//! `--rounds N` (3 at least), `--dir PATH` for the database and logs, `--git-dir PATH` for repositories and worktrees,
//! `--program PATH` for another server than the one that was just built: that of yesterday.

#![allow(clippy::unwrap_used, reason = "a measurement that cannot go on says where")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "tables are what it is for")]
#![allow(
    clippy::disallowed_methods,
    reason = "it measures this machine's time, and belongs to no loop of the server"
)]

mod baseline;
mod figures;
mod fill;
mod footprint;
mod git;
mod http;
mod jobs;
mod machine;
mod output;
mod pages;
mod queue;
mod repositories;
mod server;
mod store;

use std::path::PathBuf;

use figures::Report;

/// Rounds of each measurement where nobody says how many.
const ROUNDS: usize = 5;
const ROUNDS_MIN: usize = 3;

/// What a group of measurements is told.
pub(crate) struct Plan {
    pub(crate) rounds: usize,
    /// For databases and logs: a directory on the disk that is measured.
    pub(crate) dir: PathBuf,
    /// For repositories and worktrees.
    pub(crate) git_dir: PathBuf,
}

type Group = (&'static str, fn(&Plan) -> Report);

const GROUPS: &[Group] = &[
    ("queue", queue::measure),
    ("store", store::measure),
    ("pages", pages::measure),
    ("output", output::measure),
    ("footprint", footprint::measure),
    ("git", git::measure),
];

fn main() {
    let mut words = std::env::args().skip(1).peekable();
    if words.peek().is_some_and(|word| word == baseline::VERB) {
        return baseline::serve(words.nth(1).map(PathBuf::from));
    }
    let mut plan = Plan { rounds: ROUNDS, dir: std::env::temp_dir(), git_dir: machine::memory_dir() };
    let mut chosen = Vec::new();
    while let Some(word) = words.next() {
        let mut value = || words.next().unwrap_or_else(|| panic!("{word} needs a value"));
        match word.as_str() {
            "--rounds" => plan.rounds = value().parse::<usize>().unwrap().max(ROUNDS_MIN),
            "--dir" => plan.dir = value().into(),
            "--program" => server::PROGRAM.set(value().into()).unwrap(),
            "--git-dir" => plan.git_dir = value().into(),
            // from cargo
            word if word.starts_with("--") => {}
            _ => chosen.push(word),
        }
    }
    for word in &chosen {
        assert!(GROUPS.iter().any(|(name, _)| name == word), "no group is called {word}");
    }
    println!("{}", machine::described(&plan));
    for (name, measure) in GROUPS {
        if chosen.is_empty() || chosen.iter().any(|word| word == name) {
            eprintln!("measuring {name} …");
            println!("\n## {name}\n\n{}", measure(&plan));
        }
    }
}
