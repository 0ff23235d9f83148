//! A filter of system calls around the walls (seccomp(2)): whoever is within has no part in the kernel's keyrings (keyrings(7)). They
//! belong to a session and a user, and neither mounts nor namespaces cut them off: a process possesses the keys of the session it was
//! started in, and can link those of its user to its own by their numbers. Tickets, keys of file systems and tokens lie there.
//!
//! The calls fail as in a kernel without keyrings, which programs know how to do without. A program for another architecture is
//! killed: its calls have other numbers.

#[cfg(target_os = "linux")]
use std::collections::BTreeMap;
#[cfg(target_os = "linux")]
use std::env::consts::ARCH;

#[cfg(target_os = "linux")]
use nix::libc;
#[cfg(target_os = "linux")]
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch};

#[cfg(target_os = "linux")]
const OF_KEYRINGS: [i64; 3] = [libc::SYS_add_key, libc::SYS_request_key, libc::SYS_keyctl];
/// The same call by its number for programs with short pointers, where the kernel knows those (x32).
#[cfg(target_os = "linux")]
const SHORT: i64 = 0x4000_0000;

/// Whether there is such a filter for this machine; puts none up.
#[cfg(target_os = "linux")]
pub(super) fn works() -> bool {
    filter().is_ok() && std::path::Path::new("/proc/sys/kernel/seccomp/actions_avail").exists()
}

#[cfg(target_os = "linux")]
fn filter() -> Result<BpfProgram, String> {
    let arch = TargetArch::try_from(ARCH).map_err(|error| error.to_string())?;
    let calls = OF_KEYRINGS.iter().flat_map(|call| [*call, call | SHORT]);
    let rules: BTreeMap<i64, Vec<_>> = calls.map(|call| (call, Vec::new())).collect();
    let refusal = SeccompAction::Errno(libc::ENOSYS.unsigned_abs());
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refusal, arch);
    filter.and_then(BpfProgram::try_from).map_err(|error| error.to_string())
}

/// For this process and all that come of it, which gain no privileges any more.
#[cfg(target_os = "linux")]
pub(super) fn keep_from_keyrings() -> Result<(), String> {
    seccompiler::apply_filter(&filter()?).map_err(|error| error.to_string())
}

#[cfg(not(target_os = "linux"))]
pub(super) fn works() -> bool {
    false
}

#[cfg(not(target_os = "linux"))]
pub(super) fn keep_from_keyrings() -> Result<(), String> {
    Err("there are no filters of system calls on this system".to_owned())
}
