//! The tables, row by row.

use std::collections::BTreeSet;

use super::rules::RULES;
use super::*;

mod found;
mod innocent;

fn scanner() -> Scanner {
    Scanner::new(Known::default(), "the key of the tests".into())
}

fn rules_that_find(scanner: &Scanner, path: &str, text: &str) -> Vec<String> {
    let content = Content { path: path.as_bytes(), now: text.as_bytes(), before: &[] };
    scanner.scan(&content).iter().map(|finding| finding.what.to_string()).collect()
}

#[test]
fn what_must_be_found_is_found_by_its_rule_alone() {
    let scanner = scanner();
    let mut faults = Vec::new();
    for (rule, text) in found::FOUND {
        let text = format!("one line\n{}\nand more\n", text.replace('¦', ""));
        let content = Content { path: b"src/a.txt", now: text.as_bytes(), before: &[] };
        let findings = scanner.scan(&content);
        let right =
            matches!(&findings[..], [Finding { line: 2, what: What::Shape { rule: by, .. } }] if by == rule);
        if !right {
            faults.push(format!("{rule}: {findings:?} in {text}"));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(found::FOUND.len() >= 60);
    let tried: BTreeSet<_> = found::FOUND.iter().map(|(rule, _)| *rule).collect();
    let untried: Vec<_> = RULES.iter().map(|rule| rule.name).filter(|name| !tried.contains(name)).collect();
    assert!(untried.is_empty(), "without a row: {untried:?}");
}

#[test]
fn nothing_is_found_in_innocent_text() {
    let scanner = scanner();
    let found: Vec<_> = innocent::INNOCENT
        .iter()
        .map(|(path, text)| (path, text, rules_that_find(&scanner, path, text)))
        .filter(|(_, _, found)| !found.is_empty())
        .collect();
    assert!(found.is_empty(), "{found:#?}");
    assert!(innocent::INNOCENT.len() >= 100);
    // what is innocent for the name of its file alone is not in it
    let plain = innocent::INNOCENT.iter().filter(|(path, _)| *path == "src/a.txt");
    let whole: String = plain.map(|(_, text)| format!("{text}\n")).collect();
    assert_eq!(rules_that_find(&scanner, "a.txt", &whole), Vec::<String>::new(), "nor in all of it together");
}

#[test]
fn the_same_value_has_one_fingerprint_and_what_was_there_before_is_not_told() {
    let scanner = scanner();
    let rows = found::FOUND.iter().filter(|(rule, _)| *rule == "npm-token" || *rule == "anthropic-key");
    let text: String = rows.map(|(_, text)| text.replace('¦', "") + "\n").collect();
    let scan = |path: &[u8], now: &str, before: &[&[u8]]| {
        scanner.scan(&Content { path, now: now.as_bytes(), before })
    };
    let (here, there) = (scan(b"a", &text, &[]), scan(b"b/c", &format!("\n\n  x {text}"), &[]));
    let what = |found: &[Finding]| found.iter().map(|one| one.what.clone()).collect::<Vec<_>>();
    assert_eq!((here.len(), what(&here)), (3, what(&there)));
    assert_eq!((here[0].line, there[0].line), (1, 3));
    assert_eq!(scan(b"a", &format!("// moved\n{text}"), &[b"x", text.as_bytes()]), []);
    let other = Scanner::new(Known::default(), "of another server".into());
    let others = other.scan(&Content { path: b"a", now: text.as_bytes(), before: &[] });
    assert!(what(&here).iter().all(|one| !what(&others).contains(one)), "nobody else can compute them");
    let shown = format!("{here:?}");
    assert!(text.lines().all(|line| !shown.contains(&line[line.len() - 12..])), "{shown}");
}

/// As `>` of PowerShell writes it, and in the other order of bytes; a value of the server too.
#[test]
fn text_of_two_bytes_a_character_is_searched() {
    let secret: secrecy::SecretString = "canary-value-of-the-server".into();
    let scanner = Scanner::new(Known::new([("secrets.canary".to_owned(), &secret)]), "of the server".into());
    let key = found::FOUND[0].1.replace('¦', "");
    let text = format!("a\u{e9}\r\n{key}\r\ncanary-value-of-the-server\r\n");
    for (mark, bytes) in
        [([0xff, 0xfe], u16::to_le_bytes as fn(u16) -> [u8; 2]), ([0xfe, 0xff], u16::to_be_bytes)]
    {
        let wide = [mark.to_vec(), text.encode_utf16().flat_map(bytes).collect()].concat();
        let scan = |before: &[&[u8]]| {
            let found = scanner.scan(&Content { path: b"a.ps1", now: &wide, before });
            found.into_iter().map(|one| one.line).collect::<Vec<_>>()
        };
        assert_eq!(scan(&[]), [2, 3]);
        assert_eq!(scan(&[text.as_bytes()]), Vec::<u64>::new(), "it was there before, in other letters");
        assert_eq!(scan(&[&wide]), Vec::<u64>::new());
    }
}

/// As a picture or a sound may begin, and what another shell has appended to text of two bytes.
#[test]
fn a_mark_at_the_beginning_hides_nothing_behind_it() {
    let scanner = scanner();
    let key = found::FOUND[0].1.replace('¦', "");
    let wide: Vec<u8> = "a\r\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    for begin in [&[0xff, 0xfe][..], &[0xfe, 0xff], &[&[0xff, 0xfe][..], &wide].concat()] {
        let now = [begin, b"first\n", key.as_bytes(), b"\n"].concat();
        let lines = |before: &[&[u8]]| {
            scanner
                .scan(&Content { path: b"a", now: &now, before })
                .into_iter()
                .map(|one| one.line)
                .collect::<Vec<_>>()
        };
        let breaks = begin.iter().filter(|byte| **byte == b'\n').count() as u64;
        assert_eq!(lines(&[]), [2 + breaks]);
        assert_eq!(lines(&[&now]), Vec::<u64>::new());
        let then: Vec<u8> =
            [0xff, 0xfe].into_iter().chain(key.encode_utf16().flat_map(u16::to_le_bytes)).collect();
        assert_eq!(lines(&[&then]), Vec::<u64>::new(), "it was there before, in other letters");
    }
}

/// Neither one endless line nor a file that is nothing but the beginnings of keys takes long: each byte is met a bounded
/// number of times.
#[test]
fn the_shape_of_a_file_does_not_matter() {
    let scanner = scanner();
    let key = found::FOUND[0].1.replace('¦', "");
    for filler in ["x", "ghp_", "eyJ", "-----BEGIN ", "postgres://", "AKIA ", "\n", "sk-proj-"] {
        let text = filler.repeat((1 << 20) / filler.len()) + " " + &key;
        let found = rules_that_find(&scanner, "a.min.js", &text);
        assert!(found.len() == 1 && found[0].starts_with("github-token, "), "{filler:?}: {found:?}");
    }
}

/// What a file had before is read once for all that is looked for in it: searched for each value by itself, this would be
/// hundreds of gigabytes.
#[test]
fn a_file_full_of_keys_that_were_there_before_is_looked_through_once() {
    let secret: secrecy::SecretString = "canary-value-of-the-server".into();
    let known = Known::new([("secrets.canary".to_owned(), &secret)]);
    let scanner = Scanner::new(known, "of the server".into());
    let row = found::FOUND.iter().find(|(rule, _)| *rule == "gitlab-token").unwrap().1.replace('¦', "");
    let key = row.split_whitespace().find(|word| word.contains("glpat-")).unwrap();
    let key = &key[key.find("glpat-").unwrap()..][..26];
    let keys: Vec<String> = (0..9_000).map(|number| format!("{}{number:04}", &key[..22])).collect();
    let canaries = "canary-value-of-the-server\n".repeat(20_000);
    let now = format!("{canaries}{}\n{}zzzz\n", keys.join("\n"), &key[..22]);
    let before = format!("{}\n{}\n{canaries}", "x".repeat(8 << 20), keys.join("\n"));
    let content = Content { path: b"a.txt", now: now.as_bytes(), before: &[before.as_bytes()] };
    let found = scanner.scan(&content);
    assert_eq!(found.iter().map(|one| one.line).collect::<Vec<_>>(), [29_001], "{found:?}");
}
