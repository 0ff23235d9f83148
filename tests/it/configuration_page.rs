//! `docs/configuration.md` is made from the table of keys, and what it says of variables and flags is so.

use offshoot::config::{Config, Environment, Flags, Origin, page};

use crate::openapi::assert_current;

#[test]
fn docs_configuration_is_current() {
    assert_current("docs/configuration.md", &page());
}

/// Key, flag, variables and default of each row.
fn rows() -> Vec<(String, Vec<String>)> {
    let text = page();
    let mut section = String::new();
    let mut rows = Vec::new();
    for line in text.lines() {
        if let Some(title) = line.strip_prefix("## `[").and_then(|line| line.strip_suffix("]`")) {
            title.clone_into(&mut section);
        }
        let cells: Vec<String> = line.split('|').map(|cell| cell.trim().to_owned()).collect();
        if cells.len() >= 7 && cells[1].starts_with('`') {
            rows.push((format!("{section}.{}", cells[1].trim_matches('`')), cells[2..5].to_vec()));
        }
    }
    rows
}

fn quoted(cell: &str) -> impl Iterator<Item = String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned)
}

#[test]
fn every_variable_sets_its_key_and_every_default_is_what_holds() {
    let home = ("HOME", "/home/ada");
    let silent = Config::load(&Flags::default(), &Environment::from_pairs([home]), None).unwrap();
    let rows = rows();
    for row in silent.rows().iter().filter(|row| !row.key.starts_with("agents.")) {
        assert!(rows.iter().any(|(key, _)| *key == row.key), "{} is missing", row.key);
    }
    for (key, cells) in &rows {
        let key = key.replace("<name>", "x");
        if let Some(default) = quoted(&cells[2]).next() {
            let shown = silent.rows().iter().find(|row| row.key == key).unwrap_or_else(|| panic!("{key}"));
            assert_eq!(shown.value, default, "{key}");
        }
        assert!(quoted(&cells[1]).next().is_some(), "{key} has no variable");
        for variable in quoted(&cells[1]) {
            let name = variable.replace("<NAME>", "X");
            // where this is no value, the complaint names the key
            let env = Environment::from_pairs([home, (name.as_str(), "\u{7}")]);
            let told = match Config::load(&Flags::default(), &env, None) {
                Ok(config) => config.rows().iter().any(|row| row.key == key && row.origin != Origin::Default),
                Err(error) => error.problems.iter().any(|one| one.to_string().contains(&key)),
            };
            assert!(told, "{variable} does not set {key}");
        }
    }
}

#[test]
fn every_flag_sets_its_key() {
    let flags = Flags {
        bind: Some("127.0.0.2".to_owned()),
        port: Some(1),
        max_concurrent_jobs: Some(3),
        data_dir: Some("/srv/offshoot".into()),
        log_level: Some("warn".to_owned()),
        log_format: Some("json".to_owned()),
        ..Flags::default()
    };
    let config = Config::load(&flags, &Environment::from_pairs([("HOME", "/home/ada")]), None).unwrap();
    let said: Vec<(String, String)> =
        rows().into_iter().filter_map(|(key, cells)| Some((key, quoted(&cells[0]).next()?))).collect();
    let held: Vec<(String, String)> = config
        .rows()
        .iter()
        .filter_map(|row| match &row.origin {
            Origin::Flag(name) => Some((row.key.clone(), (*name).to_owned())),
            _ => None,
        })
        .collect();
    assert_eq!(said, held);
    // by name, too: the page and the reading have one table
    let named: Vec<_> = said.iter().map(|(key, flag)| (flag.as_str(), key.as_str())).collect();
    let meant = [
        ("--bind", "server.bind"),
        ("--port", "server.port"),
        ("--max-concurrent-jobs", "server.max_concurrent_jobs"),
        ("--data-dir", "paths.data_dir"),
        ("--log-format", "log.format"),
        ("--log-level", "log.level"),
    ];
    assert_eq!(named, meant);
}
