//! The fuzz targets without a fuzzer: what they have kept is replayed, and some thousand mutations of it. `just long-fuzz` looks
//! for new inputs.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::bad_disk::power::Dice;
use crate::tidy_source::root;

#[allow(dead_code, unreachable_pub, reason = "a library of its own, for the fuzzer")]
#[path = "../../fuzz/properties/lib.rs"]
mod properties;

use properties::{TARGETS, Target};

/// Of each target: some seconds of one core in all.
const MUTATIONS: usize = 2_000;
/// A file of the corpus has no more.
const KEPT_BYTES_MAX: usize = 16 * 1024;

fn files(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// What the target has kept, and recorded output of real agents where it is about one.
fn kept(target: &Target) -> Vec<(String, Vec<u8>)> {
    let mut found = files(&root().join("fuzz/corpus").join(target.name));
    assert!(found.len() >= 5, "{} has a corpus", target.name);
    for file in &found {
        assert!(file.metadata().unwrap().len() <= KEPT_BYTES_MAX as u64, "{} is too long", file.display());
    }
    let transcripts = files(&root().join("tests/fixtures/transcripts"));
    let beginning = format!("{}-", target.name);
    found.extend(
        transcripts.into_iter().filter(|file| {
            file.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&beginning))
        }),
    );
    let read = |file: PathBuf| (file.display().to_string(), std::fs::read(&file).unwrap());
    found.into_iter().map(read).collect()
}

/// Words that a byte at a time would not find: the entries of a dictionary in libFuzzer's form.
fn words(target: &Target) -> Vec<Vec<u8>> {
    let text = std::fs::read_to_string(root().join(format!("fuzz/dictionaries/{}.dict", target.name)));
    let text = text.unwrap_or_default();
    let quoted = text.lines().filter_map(|line| line.strip_prefix('"')?.strip_suffix('"'));
    let words: Vec<Vec<u8>> = quoted.map(unescaped).collect();
    assert_eq!(words.len(), text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).count());
    words
}

fn unescaped(word: &str) -> Vec<u8> {
    let (mut bytes, mut rest) = (Vec::new(), word.as_bytes());
    while let Some((first, after)) = rest.split_first() {
        let (byte, length) = match (first, after.first()) {
            (b'\\', Some(b'x')) => {
                (u8::from_str_radix(std::str::from_utf8(&after[1..3]).unwrap(), 16).unwrap(), 4)
            }
            (b'\\', Some(escaped)) => (*escaped, 2),
            _ => (*first, 1),
        };
        bytes.push(byte);
        rest = &rest[length..];
    }
    bytes
}

/// One to four changes, each as a fuzzer makes them.
fn mutate(data: &mut Vec<u8>, others: &[(String, Vec<u8>)], words: &[Vec<u8>], dice: &mut Dice) {
    for _ in 0..=dice.below(4) {
        let at = dice.below(data.len() + 1);
        let end = at + dice.below((data.len() - at).min(64) + 1);
        match dice.below(8) {
            0 if at < data.len() => data[at] ^= 1 << dice.below(8),
            1 if at < data.len() => data[at] = u8::try_from(dice.below(256)).unwrap(),
            2 => drop(data.drain(at..end)),
            3 => {
                let piece = data[at..end].to_vec();
                data.splice(at..at, piece);
            }
            4 if !words.is_empty() => {
                data.splice(at..end.min(at + 8), words[dice.below(words.len())].iter().copied());
            }
            5 => data.truncate(at),
            6 => {
                let other = &others[dice.below(others.len())].1;
                let from = dice.below(other.len() + 1);
                let to = from + dice.below((other.len() - from).min(512) + 1);
                data.splice(at..end, other[from..to].iter().copied());
            }
            _ => data.insert(at, b"\0\n/.-:[]%@{}\"\\\xff0"[dice.below(16)]),
        }
    }
    data.truncate(KEPT_BYTES_MAX);
}

/// Says which input it was: it belongs into the corpus.
fn holds(target: &Target, name: &str, data: &[u8]) {
    if catch_unwind(AssertUnwindSafe(|| (target.check)(data))).is_err() {
        let shown = data.escape_ascii().to_string();
        panic!("{}: {name} breaks a promise:\n{}", target.name, &shown[..shown.len().min(4_000)]);
    }
}

fn replay(targets: &[&str]) {
    for target in TARGETS.iter().filter(|target| targets.contains(&target.name)) {
        let (kept, words) = (kept(target), words(target));
        for (name, data) in &kept {
            holds(target, name, data);
        }
        let mut dice = Dice(u64::from(crc32c::crc32c(target.name.as_bytes())));
        for number in 0..MUTATIONS {
            let mut data = kept[dice.below(kept.len())].1.clone();
            data.truncate(KEPT_BYTES_MAX);
            mutate(&mut data, &kept, &words, &mut dice);
            holds(target, &format!("mutation {number}"), &data);
        }
    }
}

#[test]
fn fuzz_names() {
    replay(&["branch", "repository"]);
}

#[test]
fn fuzz_addresses() {
    replay(&["callback_url", "vetting", "allow_entry", "retry_after"]);
}

#[test]
fn fuzz_agents() {
    replay(&["claude", "codex", "gemini", "opencode", "acp"]);
}

#[test]
fn fuzz_log_frames() {
    replay(&["log_frames"]);
}

/// Each target has a program, a corpus and a place in one of the tests above.
#[test]
fn fuzz_targets_are_complete() {
    let own = |dir: &str| -> BTreeSet<String> {
        let stem = |file: PathBuf| file.file_stem().unwrap().to_string_lossy().into_owned();
        files(&root().join("fuzz").join(dir)).into_iter().map(stem).collect()
    };
    let names: BTreeSet<String> = TARGETS.iter().map(|target| target.name.to_owned()).collect();
    assert_eq!(own("fuzz_targets"), names);
    assert_eq!(own("corpus"), names);
    assert!(own("dictionaries").is_subset(&names));
    let here = include_str!("fuzz.rs");
    let manifest = std::fs::read_to_string(root().join("fuzz/Cargo.toml")).unwrap();
    for name in &names {
        assert!(here.contains(&format!("\"{name}\"")), "{name} is replayed");
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name} is a program");
        let program = std::fs::read_to_string(root().join(format!("fuzz/fuzz_targets/{name}.rs"))).unwrap();
        assert!(program.contains(&format!("check(\"{name}\", data)")), "{program}");
    }
}

/// The rules of git as the properties have them are those of the git that is here.
#[test]
fn fuzz_knows_the_rules_of_git() {
    let branch = TARGETS.iter().find(|target| target.name == "branch").unwrap();
    let kept = kept(branch);
    let names = kept.iter().filter_map(|(_, data)| data.split(|byte| *byte == b'\n').next());
    // an argument holds no zero byte, and in a directory that is no repository "@{-1}" names nothing
    let names: BTreeSet<&[u8]> = names.filter(|name| !name.contains(&0)).collect();
    assert!(names.len() > 20, "{}", names.len());
    let dir = tempfile::tempdir().unwrap();
    for name in names.into_iter().take(200) {
        use std::os::unix::ffi::OsStrExt as _;
        let mut git = Command::new("git");
        git.args(["check-ref-format", "--branch"])
            .arg(std::ffi::OsStr::from_bytes(name))
            .current_dir(dir.path());
        let said = git
            .env("GIT_CEILING_DIRECTORIES", "/")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .unwrap();
        assert_eq!(said.success(), properties::git_accepts(name), "{}", name.escape_ascii());
    }
}
