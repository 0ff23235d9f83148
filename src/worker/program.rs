//! Which file an agent's command really starts, and short questions to it.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::process::Command;
use tokio::time::timeout;

use crate::agent::registry::find_agent;
use crate::agent::{Agent, AuthState};
use crate::domain::agent_kind::AgentKind;
use crate::process::OwnGroup;

/// `claude auth status` takes 0.4 s, `gemini --version` 7 s on a busy machine; several times that is a hang.
const ASKED_MAX: Duration = Duration::from_secs(30);

/// The file that the system would run for `name`, a path or a name to be looked for in `path`, the value of PATH.
#[must_use]
pub fn find_program(name: &str, path: &OsStr) -> Option<PathBuf> {
    if name.contains('/') {
        return is_program(Path::new(name)).then(|| PathBuf::from(name));
    }
    std::env::split_paths(path).map(|dir| dir.join(name)).find(|file| is_program(file))
}

/// `command` with the program itself in the place of a script that only starts it, where the agent knows of such
/// scripts and the program is there: a killed script would leave it running.
#[must_use]
pub fn native_command(agent: &dyn Agent, command: &[String], path: &OsStr) -> Vec<String> {
    let mut command = command.to_vec();
    let Some(name) = command.first_mut() else { return command };
    let file = find_program(name, path).and_then(|file| file.canonicalize().ok());
    let programs = file.map(|file| agent.native_programs(&file)).unwrap_or_default();
    if let Some(native) =
        programs.iter().find(|program| is_program(program)).and_then(|program| program.to_str())
    {
        native.clone_into(name);
    }
    command
}

/// What a program says of its version or its login is a few lines; more than that nobody reads.
const TOLD_BYTES_MAX: u64 = 64 * 1024;

/// Runs a short command of an agent in this environment alone, and gives what it said on standard output, at most 64 KiB. `None`: it
/// cannot be run, or hangs. Nothing that it has started in its process group outlives the answer.
pub async fn ask_program<K, V>(
    argv: &[String],
    environment: impl IntoIterator<Item = (K, V)>,
) -> Option<Output>
where
    K: AsRef<OsStr>,
    V: AsRef<OsStr>,
{
    let (program, arguments) = argv.split_first()?;
    let mut command = Command::new(program);
    command.args(arguments).env_clear().envs(environment);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let (mut child, group) = OwnGroup::spawn(&mut command).ok()?;
    let said = child.stdout.take()?;
    let asked = async {
        let mut stdout = Vec::new();
        said.take(TOLD_BYTES_MAX).read_to_end(&mut stdout).await.ok()?;
        let status = child.wait().await.ok()?;
        Some(Output { status, stdout, stderr: Vec::new() })
    };
    let answer = timeout(ASKED_MAX, asked).await.ok().flatten();
    drop(group);
    answer
}

/// What a look at an agent's program found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProgramLook {
    /// It is there and not older than `version_min`.
    pub installed: bool,
    pub version: Option<String>,
    /// The oldest version that is known to work; `None` for programs that have no version to ask for.
    pub version_min: Option<String>,
    /// `None` when it cannot be known without spending.
    pub authenticated: Option<bool>,
}

/// Asks `command`, a program of this kind with its arguments, for its version and its login, in the environment that the
/// agent itself would be given. Each answer has a deadline; nothing is spent.
pub async fn look_at_program(
    kind: AgentKind,
    command: &[String],
    environment: &BTreeMap<OsString, OsString>,
) -> ProgramLook {
    let agent = find_agent(kind);
    let path = environment.get(OsStr::new("PATH")).cloned().unwrap_or_default();
    let mut look = ProgramLook::default();
    let asked = spoken_command(agent, native_command(agent, command, &path));
    let Some(spec) = agent.probe(&asked) else {
        // what has no version to ask for is there or not
        look.installed = command.first().is_some_and(|name| find_program(name, &path).is_some());
        return look;
    };
    look.version_min = Some(spec.version_min.to_string());
    let Some(version) = ask_program(&spec.version_argv, environment).await else { return look };
    let found = (spec.parse_version)(&String::from_utf8_lossy(&version.stdout));
    look.version = found.map(|found| found.to_string());
    look.installed = found.is_some_and(|found| found >= spec.version_min);
    if look.installed
        && let Some(ask) = &spec.auth
        && let Some(auth) = ask_program(&ask.argv, environment).await
    {
        let state = (ask.parse)(auth.status.code(), &String::from_utf8_lossy(&auth.stdout));
        look.authenticated = match state {
            AuthState::LoggedIn { .. } => Some(true),
            AuthState::NotLoggedIn => Some(false),
            AuthState::Unknown => None,
        };
    }
    look
}

/// What is started for `command`, a program of this kind with its arguments: itself, or this program, which speaks with it.
#[must_use]
pub fn spoken_command(agent: &dyn Agent, command: Vec<String>) -> Vec<String> {
    match agent.speaker() {
        [] => command,
        speaker => {
            let own = std::iter::once(own_program());
            own.chain(speaker.iter().map(|&word| word.to_owned())).chain(command).collect()
        }
    }
}

/// The file of the running program. One that was replaced since is the newer one, under the same name: what it is asked to do here it
/// does as well. A name that cannot be told is found to be missing when it is started.
fn own_program() -> String {
    /// What Linux adds to the name of a file that is not there any more: proc_pid_exe(5).
    const GONE: &str = " (deleted)";
    let file = std::env::current_exe().ok().and_then(|file| file.to_str().map(str::to_owned));
    let file = file.unwrap_or_else(|| "offshoot".to_owned());
    file.strip_suffix(GONE).map(str::to_owned).unwrap_or(file)
}

fn is_program(path: &Path) -> bool {
    path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_os = "linux")]
    use crate::process::group::tests::lives;

    #[test]
    fn a_program_is_there_when_the_system_would_find_it() {
        let path = OsStr::new("/nowhere:/bin");
        for (name, there) in
            [("/bin/sh", true), ("sh", true), ("/bin/none", false), ("none", false), ("/bin", false)]
        {
            assert_eq!(find_program(name, path).is_some(), there, "{name}");
        }
    }

    #[cfg(target_os = "linux")]
    async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
        let so = async {
            while !is_so() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        assert!(timeout(Duration::from_secs(30), so).await.is_ok(), "{what}");
    }

    /// Deaf ones, and one in the background of each: whether the asker gives up or the program answers.
    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn nothing_that_was_asked_outlives_the_question() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str| dir.path().join(name);
        let script = |name: &str, end: &str| {
            let place = file(name);
            let text = format!(
                "trap '' TERM HUP; sleep 600 > /dev/null & echo $$ $! > {0}.new; mv {0}.new {0}; {end}",
                place.display()
            );
            ["/bin/sh".to_owned(), "-c".to_owned(), text]
        };
        let none: [(&str, &str); 0] = [];
        let pids = |name: &str| -> Vec<String> {
            let text = std::fs::read_to_string(file(name)).unwrap_or_default();
            text.split_whitespace().map(str::to_owned).collect()
        };
        let argv = script("hangs", "while :; do sleep 600; done");
        {
            let asked = ask_program(&argv, none);
            let mut asked = std::pin::pin!(asked);
            tokio::select! {
                _ = &mut asked => panic!("it hangs"),
                () = until("it begins", || pids("hangs").len() == 2) => {}
            }
        }
        let argv = script("answers", "echo 1.2.3");
        let answer = ask_program(&argv, none).await.unwrap();
        assert_eq!((answer.status.success(), answer.stdout), (true, b"1.2.3\n".to_vec()));
        for pid in pids("hangs").iter().chain(&pids("answers")) {
            until("all are gone", || !lives(pid)).await;
        }
    }

    #[test]
    fn the_program_behind_a_script_is_started_where_it_is_and_else_the_script() {
        let codex = find_agent(AgentKind::Codex);
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let make = |path: &str| {
            let file = root.join(path);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(&file, "").unwrap();
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
            file.to_str().unwrap().to_owned()
        };
        let script = make("node_modules/@openai/codex/bin/codex.js");
        std::fs::create_dir(root.join("bin")).unwrap();
        std::os::unix::fs::symlink(&script, root.join("bin/codex")).unwrap();
        let path = root.join("bin");
        let command = ["codex".to_owned(), "--strict-config".to_owned()];
        assert_eq!(native_command(codex, &command, path.as_os_str()), command, "there is none");
        let native = make("node_modules/@openai/codex-linux-x64/vendor/x86_64-unknown-linux-musl/bin/codex");
        let found = native_command(codex, &command, path.as_os_str());
        assert_eq!(found, [native, "--strict-config".to_owned()]);
        assert_eq!(native_command(codex, &[script], OsStr::new("")).len(), 1);
        let claude = find_agent(AgentKind::Claude);
        assert_eq!(native_command(claude, &command, path.as_os_str()), command);
        assert_eq!(native_command(codex, &[], OsStr::new("")), Vec::<String>::new());
    }
}
