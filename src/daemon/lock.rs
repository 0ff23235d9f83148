//! One server per data directory, by a lock that the kernel takes back when the process is gone.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg};
use tokio::time::Instant;

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
        match lock(file) {
            Ok(mut file) => {
                let pid = std::process::id();
                let written =
                    file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "{pid}"));
                written.map_err(io)?;
                Ok(Self { _file: file })
            }
            Err(mut file) => {
                let mut pid = String::new();
                // only for the message
                let _ = file.read_to_string(&mut pid);
                Err(StartError::Locked { pid: pid.trim().to_owned(), dir: data_dir.display().to_string() })
            }
        }
    }
}

/// A server that was killed while it started a program leaves a child that has the lock until it is that program, which
/// takes milliseconds; on a machine that is overloaded, more.
const LEFT_BY_THE_DEAD_MAX: Duration = Duration::from_secs(1);

/// Or the file, when somebody keeps it.
fn lock(mut file: File) -> Result<Flock<File>, File> {
    let until = Instant::now() + LEFT_BY_THE_DEAD_MAX;
    loop {
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(locked) => return Ok(locked),
            Err((again, _)) if Instant::now() < until => file = again,
            Err((kept, _)) => return Err(kept),
        }
        std::thread::park_timeout(Duration::from_millis(10));
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

    #[test]
    fn what_a_killed_server_was_just_starting_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let first = InstanceLock::take(dir.path()).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                std::thread::park_timeout(LEFT_BY_THE_DEAD_MAX / 10);
                drop(first);
            });
            assert!(InstanceLock::take(dir.path()).is_ok());
        });
    }
}
