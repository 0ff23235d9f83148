//! What this very process takes of the machine.

use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage};

use super::system;

/// Without its children.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OwnUsage {
    pub resident_bytes: u64,
    pub descriptors: u64,
    pub descriptors_max: u64,
    pub threads: u64,
    /// In user and system mode.
    pub cpu_seconds: f64,
}

/// Looks. Reads two small files of the kernel; `None` where it does not say.
#[must_use]
pub fn own_usage() -> Option<OwnUsage> {
    let (resident_bytes, descriptors, threads) = system::own_numbers()?;
    let (descriptors_max, _) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    let used = getrusage(UsageWho::RUSAGE_SELF).ok()?;
    let seconds = |time: nix::sys::time::TimeVal| {
        std::time::Duration::new(
            u64::try_from(time.tv_sec()).unwrap_or(0),
            u32::try_from(time.tv_usec()).unwrap_or(0) * 1_000,
        )
        .as_secs_f64()
    };
    let cpu_seconds = seconds(used.user_time()) + seconds(used.system_time());
    Some(OwnUsage { resident_bytes, descriptors, descriptors_max, threads, cpu_seconds })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_what_every_process_has() {
        let before = own_usage().unwrap();
        assert!(before.resident_bytes > 1 << 20 && before.threads >= 1 && before.cpu_seconds > 0.0);
        assert!((3..=before.descriptors_max).contains(&before.descriptors), "{before:?}");
    }
}
