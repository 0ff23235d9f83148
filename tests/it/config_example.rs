//! `config.example.toml` and the code say the same.

use std::path::Path;

use offshoot::config::{Config, Environment, Flags, example};
use offshoot::domain::options::{EffectiveOptions, RunOptions};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/config.example.toml");

fn load(text: &str) -> Config {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("config.toml");
    std::fs::write(&file, text).unwrap();
    let env = Environment::from_pairs([("HOME", "/home/ada")]);
    Config::load(&Flags::default(), &env, Some(&file)).unwrap()
}

fn uncommented(wanted: impl Fn(&str) -> bool) -> String {
    let text = std::fs::read_to_string(FILE).unwrap();
    let lines = text.lines().filter_map(|line| line.strip_prefix('#'));
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with(' '));
    lines.filter(|line| wanted(line)).fold(String::new(), |all, line| all + line + "\n")
}

#[test]
fn the_file_is_made_from_the_table_of_keys() {
    let expected = example();
    if std::fs::read_to_string(FILE).unwrap_or_default() != expected {
        let wanted = Path::new(env!("CARGO_TARGET_TMPDIR")).join("config.example.toml");
        std::fs::write(&wanted, expected).unwrap();
        panic!("config.example.toml is out of date: cp {} {FILE}", wanted.display());
    }
}

#[test]
fn the_shown_defaults_are_those_of_the_code() {
    let text = uncommented(|line| !line.ends_with("# not set by default"));
    let (shown, silent) = (load(&text), load(""));
    let values = |config: &Config| -> Vec<(String, String)> {
        config.rows().iter().map(|row| (row.key.clone(), row.value.clone())).collect()
    };
    assert_eq!(values(&shown), values(&silent));
    assert!(shown.warnings().is_empty(), "{:?}", shown.warnings());
}

#[test]
fn the_shown_run_options_are_those_that_jobs_get() {
    let shown = load(&uncommented(|line| !line.ends_with("# not set by default"))).defaults;
    assert!(shown.set_names().len() > 10, "the shown lines were really read");
    let silent = EffectiveOptions::resolve(RunOptions::default(), false);
    assert_eq!(EffectiveOptions::resolve(shown, false), silent);
}

#[test]
fn every_key_is_shown_and_every_shown_key_exists() {
    let all: toml::Table = toml::from_str(&uncommented(|_| true)).unwrap();
    let mut shown = Vec::new();
    for (section, keys) in &all {
        for (name, value) in keys.as_table().unwrap() {
            let named = matches!(section.as_str(), "agents" | "profiles" | "notify");
            match value.as_table().filter(|_| named) {
                Some(keys) => shown.extend(keys.keys().map(|key| format!("{section}.{name}.{key}"))),
                None => shown.push(format!("{section}.{name}")),
            }
        }
    }
    let config = load("");
    for row in
        config.rows().iter().filter(|row| !row.key.starts_with("agents.") || row.key.contains(".claude."))
    {
        assert!(shown.contains(&row.key), "{} is missing in the example", row.key);
    }
    for key in shown
        .iter()
        .filter(|key| !["profiles.", "notify.", "secrets."].iter().any(|top| key.starts_with(top)))
    {
        assert!(config.rows().iter().any(|row| row.key == *key), "{key} is shown and does not exist");
    }
}

#[test]
fn every_shown_value_is_of_the_right_kind() {
    // Examples contradict each other (a secret and its file), and may name what is not built: only kinds count here.
    let text = uncommented(|_| true);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("config.toml");
    std::fs::write(&file, text).unwrap();
    let env = Environment::from_pairs([("HOME", "/home/ada")]);
    let error = Config::load(&Flags::default(), &env, Some(&file)).unwrap_err();
    for problem in &error.problems {
        let rule = &problem.rule;
        assert!(!rule.starts_with("must be") && !rule.contains("not a known key"), "{problem}");
    }
}

#[test]
fn the_ready_made_claude_entry_is_the_one_shown() {
    let text = uncommented(|line| {
        line.starts_with('[')
            || ["kind = \"claude\"", "command = \"claude\"", "args", "env = [\"CLAUDE"]
                .iter()
                .any(|start| line.starts_with(start))
    });
    let (shown, silent) = (load(&text), load(""));
    assert_eq!(format!("{:?}", shown.agents["claude"]), format!("{:?}", silent.agents["claude"]));
    let set = shown.rows().iter().filter(|row| {
        row.key.starts_with("agents.claude.") && row.origin != offshoot::config::Origin::Default
    });
    assert_eq!(set.count(), 4, "the shown lines were really read");
}
