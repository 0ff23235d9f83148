//! One server per data directory, by a lock that the kernel takes back when the process is gone.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use nix::fcntl::{Flock, FlockArg};

use super::StartError;

/// Held as long as it lives. Not inherited by children: the file is opened close-on-exec.
pub(super) struct InstanceLock {
    _file: Flock<File>,
}

impl InstanceLock {
    /// # Errors
    /// [`StartError::Locked`] names the process that has it.
    pub(super) fn take(data_dir: &Path) -> Result<Self, StartError> {
        let io = |source| StartError::Io { what: "the lock file cannot be opened", source };
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(data_dir.join("lock"))
            .map_err(io)?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(mut file) => {
                let pid = std::process::id();
                let written =
                    file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "{pid}"));
                written.map_err(io)?;
                Ok(Self { _file: file })
            }
            Err((mut file, _)) => {
                let mut pid = String::new();
                // only for the message
                let _ = file.read_to_string(&mut pid);
                Err(StartError::Locked { pid: pid.trim().to_owned(), dir: data_dir.display().to_string() })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_told_who_is_first() {
        let dir = tempfile::tempdir().unwrap();
        let first = InstanceLock::take(dir.path()).unwrap();
        let Err(StartError::Locked { pid, .. }) = InstanceLock::take(dir.path()) else {
            panic!("two servers in one directory")
        };
        assert_eq!(pid, std::process::id().to_string());
        drop(first);
        assert!(InstanceLock::take(dir.path()).is_ok());
    }
}
