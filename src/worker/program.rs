//! Which file an agent's command really starts, and short questions to it.

use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

use crate::agent::Agent;

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

/// Runs a short command of an agent in this environment alone, and gives what it said. `None`: it cannot be run, or hangs.
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
    command.args(arguments).env_clear().envs(environment).current_dir("/");
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .process_group(0);
    timeout(ASKED_MAX, command.output()).await.ok()?.ok()
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
    use crate::agent::registry::find_agent;
    use crate::domain::agent_kind::AgentKind;

    #[test]
    fn a_program_is_there_when_the_system_would_find_it() {
        let path = OsStr::new("/nowhere:/bin");
        for (name, there) in
            [("/bin/sh", true), ("sh", true), ("/bin/none", false), ("none", false), ("/bin", false)]
        {
            assert_eq!(find_program(name, path).is_some(), there, "{name}");
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
