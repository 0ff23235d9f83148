//! Where the programs lie that a server needs.

use std::path::{Path, PathBuf};

use crate::config::{Config, Environment};
use crate::worker::find_program;

/// What a server runs besides the agents, as far as it is found: repositories need it, or the token is asked of it.
pub(super) fn beside_the_agents(config: &Config) -> impl Iterator<Item = &'static str> {
    let asks_gh = config.github.token.is_none() && config.github.app.is_none();
    ["git", "git-lfs", "gh"].into_iter().filter(move |name| *name != "gh" || asks_gh)
}

/// The directories of PATH in which this environment finds the agents, git, git-lfs and, without a configured token or App, gh, in
/// its order: another one that is searched before them could have another program of that name.
#[must_use]
pub fn where_programs_are(config: &Config, env: &Environment) -> Vec<PathBuf> {
    let path = env.get("PATH").unwrap_or_default();
    let find = |name: &str| find_program(name, path);
    let agents = config.agents.values().filter_map(|entry| entry.command.as_deref());
    let agents = agents.filter(|name| !name.contains('/')).filter_map(find);
    let found: Vec<PathBuf> = agents.chain(beside_the_agents(config).filter_map(find)).collect();
    let holds_one =
        |dir: &Path| dir.is_absolute() && found.iter().any(|program| program.parent() == Some(dir));
    let mut dirs: Vec<PathBuf> = Vec::new();
    for dir in std::env::split_paths(path).filter(|dir| holds_one(dir)) {
        if !dirs.contains(&dir) {
            dirs.push(dir);
        }
    }
    dirs
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::config::{Flags, GithubApp};

    #[test]
    fn programs_lie_where_the_shell_finds_them_and_in_its_order() {
        let home = tempfile::tempdir().unwrap();
        let program = |dir: &str, name: &str, mode: u32| {
            let dir = home.path().join(dir);
            std::fs::create_dir_all(&dir).unwrap();
            std::fs::write(dir.join(name), "").unwrap();
            std::fs::set_permissions(dir.join(name), PermissionsExt::from_mode(mode)).unwrap();
        };
        // what cannot be run is none; claude and codex are found in z, gemini in a
        program("data", "claude", 0o644);
        program("z", "claude", 0o755);
        program("z", "codex", 0o755);
        program("a", "claude", 0o755);
        program("a", "gemini", 0o755);
        program("unused", "codex", 0o755);
        program("tools", "git", 0o755);
        program("hub", "gh", 0o755);
        let dirs = ["data", "z", "a", "z", "unused", "tools", "hub"].map(|dir| home.path().join(dir));
        let path = std::env::join_paths(&dirs).unwrap();
        let env = Environment::from_pairs([
            ("HOME".into(), home.path().as_os_str().to_owned()),
            ("PATH".into(), path),
        ] as [(std::ffi::OsString, std::ffi::OsString); 2]);
        let mut config = Config::load(&Flags::default(), &env, None).unwrap();
        let chosen = |config: &Config| where_programs_are(config, &env);
        assert_eq!(chosen(&config), [1, 2, 5, 6].map(|at: usize| dirs[at].clone()));
        // nobody asks gh where an App or a token is configured
        config.github.app = Some(GithubApp { id: 1, key: "of an App".into(), installation_id: 2 });
        assert_eq!(chosen(&config), [1, 2, 5].map(|at: usize| dirs[at].clone()));
        config.github.app = None;
        config.github.token = Some("ghp_x".into());
        assert_eq!(chosen(&config), [1, 2, 5].map(|at: usize| dirs[at].clone()));
    }
}
