//! Whether the program that does transfers is there and works.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::LFS_INSTALL;
use crate::git::error::{GitError, last_lines};
use crate::git::program::{Call, Git};
use crate::git::settings::GitSettings;

/// Where the system looks when nobody says where (execvp(3)).
const PATH_USUAL: &str = "/bin:/usr/bin";

/// Why nothing can be transferred. Its text goes on from a name: "…, which is not installed …".
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LfsLack {
    /// It is in no directory of PATH that can be searched.
    Missing,
    /// It is there, and cannot be started or does not say its version: what it or the system said instead.
    Broken(String),
}

impl fmt::Display for LfsLack {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => write!(to, "which is not installed where the server runs: {LFS_INSTALL}"),
            Self::Broken(said) => {
                write!(to, "which does not work where the server runs (try `git-lfs version` there): {said}")
            }
        }
    }
}

impl Git {
    /// `None`: transfers are possible. The program may be installed or mended while the server runs.
    ///
    /// # Errors
    /// [`GitError::Deadline`] for one that does not answer, as on a machine with too much to do.
    pub(in crate::git) async fn lfs_lack(&self) -> Result<Option<LfsLack>, GitError> {
        let settings = self.settings();
        // the system's own word for it depends on directories of PATH that it may not search
        if !is_there(settings) {
            return Ok(Some(LfsLack::Missing));
        }
        let step = "ask git-lfs for its version";
        let args = vec![OsString::from("version")];
        let deadline = settings.query_deadline;
        let call = Call { step, git_dir: None, work_tree: None, args, config: Vec::new(), deadline };
        match self.run_lfs(call).await {
            Ok(output) if output.success => Ok(None),
            Ok(output) => Ok(Some(LfsLack::Broken(last_lines(&output.stderr)))),
            Err(GitError::Io { source, .. }) => Ok(Some(LfsLack::Broken(source.to_string()))),
            Err(error) => Err(error),
        }
    }
}

fn is_there(settings: &GitSettings) -> bool {
    let program = &settings.lfs_program;
    let is_program = |file: &Path| {
        file.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    };
    if program.components().nth(1).is_some() {
        return is_program(program);
    }
    let path =
        settings.environment.get(OsStr::new("PATH")).map_or(OsStr::new(PATH_USUAL), OsString::as_os_str);
    std::env::split_paths(path).any(|dir| is_program(&dir.join(program)))
}
