//! A unit of the user's own systemd.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::error::ServiceError;
use super::plan::{Plan, Step};
use super::{MARK, Owner, State, nameable, program};

const UNIT: &str = include_str!("../../systemd/offshoot.service");
const NAME: &str = "offshoot.service";
/// In a file whose installation has turned lingering on, so that its removal turns it off again.
const LINGER_MARK: &str = "# Lingering was turned on with it.";

pub(super) fn file(owner: &Owner) -> PathBuf {
    owner.config_home.join("systemd/user").join(NAME)
}

fn systemctl(words: &[&str]) -> Vec<String> {
    ["systemctl", "--user"].iter().chain(words).map(|&word| word.to_owned()).collect()
}

/// The unit with the places of this machine. What stands above its first section tells how it is installed by hand.
fn unit(owner: &Owner, lingers_by_us: bool) -> Result<String, ServiceError> {
    let (_, body) = UNIT.split_once("\n[Unit]\n").unwrap_or(("", UNIT));
    let program = nameable(&owner.program)?;
    let mut started = vec![program, "serve".to_owned()];
    for argument in &owner.arguments {
        started.push(nameable(Path::new(argument))?);
    }
    let mut text = format!("# {MARK}; `offshoot service uninstall` removes it.\n");
    if lingers_by_us {
        text.push_str(&format!("{LINGER_MARK}\n"));
    }
    text.push_str("\n[Unit]\n");
    for line in body.lines() {
        if line.starts_with("ExecStart=") {
            text.push_str(&format!("ExecStart={}", started.join(" ")));
        } else if let Some(usual) = line.strip_prefix("Environment=PATH=") {
            text.push_str(&format!("Environment=PATH={}", owner.path(usual)?));
        } else {
            text.push_str(line);
        }
        text.push('\n');
    }
    Ok(text)
}

pub(super) async fn install(owner: &Owner) -> Result<Plan, ServiceError> {
    let there = std::fs::read_to_string(file(owner)).unwrap_or_default();
    let turn_on = lingers(owner).await == Some(false);
    let text = unit(owner, turn_on || there.contains(LINGER_MARK))?;
    let mut steps = Vec::new();
    if turn_on {
        // first: where it is refused nothing is there, and the file says that it was turned on only if it was
        steps.push(Step::Run { command: vec!["loginctl".to_owned(), "enable-linger".to_owned()] });
    }
    steps.push(Step::Write { file: file(owner), text: text.clone() });
    steps.push(Step::Run { command: systemctl(&["daemon-reload"]) });
    if there.is_empty() || there == text {
        steps.push(Step::Run { command: systemctl(&["enable", "--now", NAME]) });
    } else {
        // one that runs goes on with the old file until it is started anew; one that does not is started once
        steps.push(Step::Run { command: systemctl(&["enable", NAME]) });
        steps.push(Step::Run { command: systemctl(&["restart", NAME]) });
    }
    Ok(Plan::of(steps))
}

pub(super) fn uninstall(owner: &Owner) -> Plan {
    let there = std::fs::read_to_string(file(owner)).unwrap_or_default();
    let mut steps = vec![
        Step::Run { command: systemctl(&["disable", "--now", NAME]) },
        Step::Remove { file: file(owner) },
        Step::Run { command: systemctl(&["daemon-reload"]) },
        // a unit that has failed is listed for ever; one that has not is not known any more
        Step::Try { command: systemctl(&["reset-failed", NAME]) },
    ];
    if there.contains(LINGER_MARK) {
        steps.push(Step::Run { command: vec!["loginctl".to_owned(), "disable-linger".to_owned()] });
    }
    Plan::of(steps)
}

pub(super) fn start() -> Plan {
    Plan::of([Step::Run { command: systemctl(&["start", NAME]) }])
}

pub(super) fn stop() -> Plan {
    Plan::of([Step::Run { command: systemctl(&["stop", NAME]) }])
}

pub(super) fn logs(lines: u32, follow: bool) -> Vec<String> {
    let lines = lines.to_string();
    let words = ["journalctl", "--user", "--unit", NAME, "--no-pager", "--lines", &lines];
    let mut command: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
    if follow {
        command.push("--follow".to_owned());
    }
    command
}

pub(super) async fn state(owner: &Owner) -> Result<State, ServiceError> {
    let asked = "--property=ActiveState,SubState,MainPID,UnitFileState";
    let said = program::ask(&systemctl(&["show", NAME, asked]), &owner.environment).await?;
    let value = |name: &str| {
        said.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('=')).unwrap_or_default()
    };
    Ok(State {
        installed: true,
        running: value("ActiveState") == "active",
        words: format!("{} ({})", value("ActiveState"), value("SubState")),
        enabled: value("UnitFileState") == "enabled",
        lingers: lingers(owner).await,
        pid: value("MainPID").parse().ok().filter(|pid| *pid != 0),
    })
}

/// Whether the user's services go on without anybody logged in.
pub(super) async fn lingers(owner: &Owner) -> Option<bool> {
    let uid = owner.uid.to_string();
    let words = ["loginctl", "show-user", &uid, "--property=Linger", "--value"];
    let command: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
    match program::ask(&command, &owner.environment).await.ok()?.trim() {
        "yes" => Some(true),
        "no" => Some(false),
        _ => None,
    }
}

/// `%h` is the home directory; other specifiers do not stand in paths of ours.
pub(super) fn path_in(unit: &str, home: &Path) -> Option<OsString> {
    let path = unit.lines().rev().find_map(|line| line.strip_prefix("Environment=PATH="))?;
    Some(path.replace("%h", home.to_str()?).into())
}

/// The file of variables that the unit reads.
pub(super) fn env_file(owner: &Owner) -> PathBuf {
    owner.config_home.join("offshoot/env")
}

/// The variables of such a file, the last of a name last. Line by line: systemd.exec(5) also goes on behind a `\` at the end of a line and
/// to the closing quote of a text of several lines, which nobody needs for a PATH.
pub(super) fn variables(text: &str) -> Vec<(String, String)> {
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';']));
    let named = lines.filter_map(|line| line.split_once('='));
    let bare = |value: &str| {
        let value = value.trim();
        let quoted = |mark: char| value.strip_prefix(mark)?.strip_suffix(mark);
        quoted('"').or_else(|| quoted('\'')).unwrap_or(value).to_owned()
    };
    named.map(|(name, value)| (name.trim().to_owned(), bare(value))).collect()
}

/// What stands behind `serve` in the command that is started. Nothing where words are quoted or hold variables: no file of ours does.
pub(super) fn arguments_in(unit: &str, home: &Path) -> Vec<String> {
    let command = unit.lines().rev().find_map(|line| line.strip_prefix("ExecStart=")).unwrap_or_default();
    let behind = command.split_whitespace().skip_while(|word| *word != "serve").skip(1);
    let all: Option<Vec<String>> = behind
        .map(|word| {
            let word = word.replace("%h", home.to_str()?);
            nameable(Path::new(&word)).ok()
        })
        .collect();
    all.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::Init;

    pub(in crate::service) fn ada(init: Init) -> Owner {
        Owner {
            init,
            home: "/home/ada".into(),
            config_home: "/home/ada/.config".into(),
            uid: 1000,
            program: "/home/ada/.cargo/bin/offshoot".into(),
            arguments: Vec::new(),
            path_before: vec!["/home/ada/.nvm/bin".into(), "/usr/bin".into(), "/home/ada/.nvm/bin".into()],
            environment: Default::default(),
        }
    }

    #[test]
    fn the_unit_is_the_one_of_the_project_with_the_places_of_this_machine() {
        let text = unit(&ada(Init::Systemd), true).unwrap();
        let settings = |text: &str| -> Vec<String> {
            let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
            let other = lines.filter(|line| !line.starts_with("ExecStart=") && !line.contains("=PATH="));
            other.map(str::to_owned).collect()
        };
        assert_eq!(settings(&text), settings(UNIT));
        assert!(text.contains("\nExecStart=/home/ada/.cargo/bin/offshoot serve\n"), "{text}");
        assert!(text.contains("\nEnvironment=PATH=/home/ada/.nvm/bin:%h/.local/bin:"), "{text}");
        assert!(text.contains(MARK) && text.contains(LINGER_MARK));
        let path = path_in(&text, Path::new("/home/ada")).unwrap();
        assert!(path.to_str().unwrap().starts_with("/home/ada/.nvm/bin:/home/ada/.local/bin:"));
    }

    #[test]
    fn a_file_of_variables_is_read_line_by_line() {
        let text = "# PATH=/no\n;PATH=/no\n\nA=1\n PATH = /x:/y \nB=\"two words\"\nC='it\"'\nD=\"\nnothing\nPATH=/z\n";
        let pairs =
            [("A", "1"), ("PATH", "/x:/y"), ("B", "two words"), ("C", "it\""), ("D", "\""), ("PATH", "/z")];
        assert_eq!(variables(text), pairs.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }

    #[test]
    fn the_arguments_are_those_that_were_written() {
        let home = Path::new("/home/ada");
        let arguments = ["--config".to_owned(), "/home/ada/w/my.toml".to_owned()];
        let owner = Owner { arguments: arguments.to_vec(), ..ada(Init::Systemd) };
        assert_eq!(arguments_in(&unit(&owner, false).unwrap(), home), arguments);
        assert_eq!(arguments_in(&unit(&ada(Init::Systemd), false).unwrap(), home), [""; 0]);
        let by_hand = |line: &str| arguments_in(&format!("[Service]\nExecStart={line}\n"), home);
        assert_eq!(by_hand("%h/bin/offshoot serve --config %h/w/my.toml"), arguments);
        for line in
            ["/bin/offshoot serve --config \"a b\"", "/bin/offshoot serve --config $FILE", "/bin/true"]
        {
            assert_eq!(by_hand(line), [""; 0], "{line}");
        }
    }

    #[test]
    fn a_place_that_a_unit_cannot_name_is_refused() {
        for place in ["/home/a b/offshoot", "/home/100%/offshoot", "/home/\n/offshoot"] {
            let owner = Owner { program: place.into(), ..ada(Init::Systemd) };
            assert!(matches!(unit(&owner, false), Err(ServiceError::Unnameable { .. })), "{place}");
        }
    }
}
