//! The process group of a short command that must not outlive whoever waits for it.

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

/// A process group that ends with whoever asks: when there is an answer, when there is none in time, and when nobody waits any more.
/// Its leader was started with a group of its own.
pub struct OwnGroup(Pid);

impl OwnGroup {
    /// Of the leader with this number, as it was told when it was started; `None`: it is gone already.
    #[must_use]
    pub fn led_by(leader: Option<u32>) -> Option<Self> {
        Some(Self(Pid::from_raw(i32::try_from(leader?).ok()?)))
    }
}

impl Drop for OwnGroup {
    fn drop(&mut self) {
        // nobody is left in it, as a rule
        let _ = killpg(self.0, Signal::SIGKILL);
    }
}
