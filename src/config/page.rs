//! The page of all keys, `docs/configuration.md`, made from the table of keys.

use std::fmt::Write as _;

use super::keys::{self, Key, Kind};
use super::{Flags, env, flag_values};

/// Every section with its keys: the flag of `serve`, the variables in order of rank, the default, the meaning.
#[must_use]
pub fn page() -> String {
    let mut text = String::from(HEAD);
    let mut section = "";
    for key in keys::all() {
        if key.section != section {
            section = key.section;
            let title = section.replace(".*", ".<name>");
            let about = about(section);
            let _ = write!(text, "\n## `[{title}]`\n\n{about}{COLUMNS}");
        }
        let _ = writeln!(
            text,
            "| `{}` | {} | {} | {} | {} |",
            if key.name == "*" { "<name>" } else { key.name },
            flag(key),
            variables(key),
            default(key),
            cell(&meaning(key))
        );
    }
    text.push_str(FOOT);
    text
}

const HEAD: &str = "\
# Configuration

Every key there is, made from `src/config/keys.rs` (`UPDATE_DOCS=1 cargo test --test it docs_`). The same as a file to start from:
[config.example.toml](../config.example.toml).

- The file is `~/.config/offshoot/config.toml`; on macOS `~/Library/Application Support/dev.offshoot/config.toml`. `OFFSHOOT_CONFIG` or
  `--config` names another.
- **A flag beats a variable, a variable the file, the file the default.** Of two variables the short name wins. `offshoot config show --origin` says
  what holds and why.
- A misspelt key or variable is an error that names the nearest one. Faults are told all at once, and the server does not start (exit code 78).
- In a variable a list is written with commas or as JSON, a map as JSON; an empty variable is as good as none. `<NAME>` is the name in capitals; names that
  are to be set so have no hyphen.
- A file with secrets in it has to be of mode 0600, and so has one with texts in `set_env`: what is in them nobody knows. A secret may also come as a systemd credential that bears the key's name (`server.secret`).
- The command line finds the server by `OFFSHOOT_URL`, else by this configuration, and its token by `OFFSHOOT_TOKEN`, else by `server.secret`.
";

const COLUMNS: &str = "| key | flag of `serve` | environment | default | meaning |\n|---|---|---|---|---|\n";

const FOOT: &str = "
## Besides

| variable | |
|---|---|
| `HOME` | from which the directories follow, by the platform's convention |
| `OFFSHOOT_CONFIG` | the configuration file |
| `OFFSHOOT_URL`, `OFFSHOOT_TOKEN` | for the command line: the server, the token |
| `CREDENTIALS_DIRECTORY` | set by systemd: files named `server.secret`, `callbacks.secret`, `github.token` and so on |
";

fn about(section: &str) -> &'static str {
    match section {
        "agents.*" => {
            "One section for each agent program or login; entries named as the kinds are there from the start. What each can do: [agents.md](agents.md).\n\n"
        }
        "defaults" => {
            "Run options of every job. They merge one by one: the job's own, then its profile's, then its client's, then these. In the API they are \
             written in camelCase.\n\n"
        }
        "profiles.*" => "Besides these two keys, every one of `[defaults]`: [profiles.md](profiles.md).\n\n",
        "sandbox" => {
            "What is hidden and what may be written anyhow: [security.md](security.md#what-an-agent-can-reach).\n\n"
        }
        "notify.*" => {
            "What you are told of, and what each kind needs: [notifications.md](notifications.md).\n\n"
        }
        "callbacks" => "What is sent, and how it is checked: [callbacks.md](callbacks.md).\n\n",
        _ => "",
    }
}

fn flag(key: &Key) -> String {
    let path = key.path();
    let all = flag_values(&Flags::default());
    let found = all.iter().find(|(_, of, _)| *of == path);
    found.map(|(name, ..)| format!("`{name}`")).unwrap_or_default()
}

fn variables(key: &Key) -> String {
    let path = key.path();
    let short = env::FROZEN.iter().filter(|(_, of)| *of == path).map(|(name, _)| format!("`{name}`, "));
    let own = path.replace('*', "<name>").replace('.', "_").to_ascii_uppercase();
    format!("{}`OFFSHOOT_{own}`", short.collect::<String>())
}

fn default(key: &Key) -> String {
    match key.default {
        "" => String::new(),
        // between backticks nothing but the bar has a meaning
        text => format!("`{}`", text.replace('|', "\\|")),
    }
}

/// The sentence about the key, and what may be written where that does not follow from it.
fn meaning(key: &Key) -> String {
    let range = match key.kind {
        Kind::Integer(least, most) if i64::try_from(most) == Ok(i64::MAX) => format!(" From {least} on."),
        Kind::Integer(least, most) => format!(" {least} to {most}."),
        Kind::Integers(least, most) => format!(" At most 20 numbers, each {least} to {most}."),
        Kind::Bool if key.default.is_empty() => " `true` or `false`.".to_owned(),
        Kind::Words(words) if !words.iter().all(|word| key.about.contains(word)) => {
            let words: Vec<_> = words.iter().map(|word| format!("`{word}`")).collect();
            format!(" One of {}.", words.join(", "))
        }
        _ => String::new(),
    };
    let path = key.path();
    let unbuilt = keys::NOT_BUILT.contains(&path.as_str());
    let unbuilt = if unbuilt { " **Not built yet.**" } else { "" };
    // in the example file some sentences go on over several keys
    let about = key.about.trim_end_matches([',', ':', '.']);
    let (first, rest) = about.split_at(1);
    format!("{}{rest}.{range}{unbuilt}", first.to_uppercase())
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('<', "&lt;")
}
