//! An agent of the user's own launchd. Written from its manual; nobody has run it on a Mac yet.

use std::ffi::OsString;
use std::path::PathBuf;

use super::error::ServiceError;
use super::plan::{Plan, Step};
use super::{MARK, Owner, State, nameable, program};

const PLIST: &str = include_str!("../../launchd/dev.offshoot.plist");
const LABEL: &str = "dev.offshoot";
const USUAL_PROGRAM: &str = "<string>@HOME@/.local/bin/offshoot</string>";
const SERVE: &str = "<string>serve</string>";

pub(super) fn file(owner: &Owner) -> PathBuf {
    owner.home.join("Library/LaunchAgents").join(format!("{LABEL}.plist"))
}

fn log_dir(owner: &Owner) -> PathBuf {
    owner.home.join("Library/Logs/offshoot")
}

/// The agent with the places of this machine, without the comment that tells how it is installed by hand.
fn plist(owner: &Owner) -> Result<String, ServiceError> {
    let home = nameable(&owner.home)?;
    let program = nameable(&owner.program)?;
    let mut serve = SERVE.to_owned();
    for argument in &owner.arguments {
        serve.push_str(&format!("\n    <string>{}</string>", nameable(argument.as_ref())?));
    }
    let (head, rest) = PLIST.split_once("<!--").unwrap_or((PLIST, ""));
    let (_, body) = rest.split_once("-->\n").unwrap_or(("", rest));
    let text = format!("{head}<!-- {MARK}; `offshoot service uninstall` removes it. -->\n{body}");
    let text = text.replacen(USUAL_PROGRAM, &format!("<string>{program}</string>"), 1);
    let text = text.replacen(SERVE, &serve, 1).replace("@HOME@", &home);
    let Some(usual) = path_in(&text).and_then(|path| path.into_string().ok()) else { return Ok(text) };
    Ok(text.replacen(&usual, &owner.path(&usual)?, 1))
}

fn launchctl(words: &[&str]) -> Vec<String> {
    ["launchctl"].iter().chain(words).map(|&word| word.to_owned()).collect()
}

/// The domain of a user's own session on the screen.
fn domain(owner: &Owner) -> String {
    format!("gui/{}", owner.uid)
}

fn target(owner: &Owner) -> String {
    format!("{}/{LABEL}", domain(owner))
}

fn bootstrap(owner: &Owner) -> Step {
    let file = file(owner).display().to_string();
    Step::Run { command: launchctl(&["bootstrap", &domain(owner), &file]) }
}

fn bootout(owner: &Owner) -> Step {
    // one that is not loaded cannot be unloaded, and need not
    Step::Try { command: launchctl(&["bootout", &target(owner)]) }
}

pub(super) fn install(owner: &Owner) -> Result<Plan, ServiceError> {
    let text = plist(owner)?;
    Ok(Plan::of([
        Step::MakeDir { dir: log_dir(owner) },
        Step::Write { file: file(owner), text },
        bootout(owner),
        bootstrap(owner),
    ]))
}

pub(super) fn uninstall(owner: &Owner) -> Plan {
    Plan::of([bootout(owner), Step::Remove { file: file(owner) }])
}

pub(super) fn start(owner: &Owner) -> Plan {
    Plan::of([bootout(owner), bootstrap(owner)])
}

pub(super) fn stop(owner: &Owner) -> Plan {
    Plan::of([bootout(owner)])
}

pub(super) fn logs(owner: &Owner, lines: u32, follow: bool) -> Vec<String> {
    let file = log_dir(owner).join("offshoot.log").display().to_string();
    let mut command = vec!["tail".to_owned(), "-n".to_owned(), lines.to_string()];
    if follow {
        // by name: the log turns
        command.push("-F".to_owned());
    }
    command.push(file);
    command
}

pub(super) async fn state(owner: &Owner) -> Result<State, ServiceError> {
    let said = match program::ask(&launchctl(&["print", &target(owner)]), &owner.environment).await {
        Ok(said) => said,
        Err(ServiceError::Refused { .. }) => {
            return Ok(State { installed: true, words: "not loaded".to_owned(), ..State::default() });
        }
        Err(error) => return Err(error),
    };
    let value = |name: &str| said.lines().find_map(|line| line.trim().strip_prefix(name)).unwrap_or_default();
    let words = value("state = ").to_owned();
    Ok(State {
        installed: true,
        running: words == "running",
        words,
        enabled: true,
        lingers: None,
        pid: value("pid = ").parse().ok(),
    })
}

pub(super) fn path_in(text: &str) -> Option<OsString> {
    let (_, rest) = text.split_once("<key>PATH</key>")?;
    let (_, rest) = rest.split_once("<string>")?;
    rest.split_once("</string>").map(|(path, _)| path.into())
}

/// What stands behind `serve` in the command that is started.
pub(super) fn arguments_in(text: &str) -> Vec<String> {
    let Some((_, rest)) = text.split_once("<key>ProgramArguments</key>") else { return Vec::new() };
    let (words, _) = rest.split_once("</array>").unwrap_or_default();
    let words = words.split("<string>").skip(1).filter_map(|word| word.split_once("</string>"));
    words.map(|(word, _)| word.to_owned()).skip_while(|word| word != "serve").skip(1).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::Init;

    #[test]
    fn the_agent_is_the_one_of_the_project_with_the_places_of_this_machine() {
        let owner = Owner {
            init: Init::Launchd,
            home: "/Users/ada".into(),
            config_home: "/Users/ada/.config".into(),
            uid: 501,
            program: "/Users/ada/.cargo/bin/offshoot".into(),
            arguments: vec!["--config".to_owned(), "/Users/ada/offshoot.toml".to_owned()],
            path_before: vec!["/Users/ada/.nvm/bin".into()],
            environment: Default::default(),
        };
        insta::assert_snapshot!(plist(&owner).unwrap());
        assert_eq!(arguments_in(&plist(&owner).unwrap()), owner.arguments);
        let plain = Owner { arguments: Vec::new(), ..owner.clone() };
        assert_eq!(arguments_in(&plist(&plain).unwrap()), [""; 0]);
        let steps = install(&owner).unwrap().lines();
        let commands: Vec<_> = steps.iter().filter(|line| line.starts_with("launchctl")).collect();
        insta::assert_snapshot!(format!("{commands:#?}"));
    }
}
