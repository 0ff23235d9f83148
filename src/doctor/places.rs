//! Where the agents' programs lie.

use std::path::{Path, PathBuf};

use crate::config::{Config, Environment};
use crate::worker::find_program;

/// The directories of PATH in which this environment finds the agents, in its order: another one that is searched before them
/// could have another program of that name.
#[must_use]
pub fn where_agents_are(config: &Config, env: &Environment) -> Vec<PathBuf> {
    let path = env.get("PATH").unwrap_or_default();
    let names = config.agents.values().filter_map(|entry| entry.command.as_deref());
    let found: Vec<PathBuf> =
        names.filter(|name| !name.contains('/')).filter_map(|name| find_program(name, path)).collect();
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
    use crate::config::Flags;

    #[test]
    fn agents_lie_where_the_shell_finds_them_and_in_its_order() {
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
        let dirs = ["data", "z", "a", "z", "unused"].map(|dir| home.path().join(dir));
        let path = std::env::join_paths(&dirs).unwrap();
        let env = Environment::from_pairs([
            ("HOME".into(), home.path().as_os_str().to_owned()),
            ("PATH".into(), path),
        ] as [(std::ffi::OsString, std::ffi::OsString); 2]);
        let config = Config::load(&Flags::default(), &env, None).unwrap();
        assert_eq!(where_agents_are(&config, &env), [dirs[1].clone(), dirs[2].clone()]);
    }
}
