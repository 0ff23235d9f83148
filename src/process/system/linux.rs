//! Linux: everything from `/proc` (proc(5)), signals through pidfd (pidfd_open(2), kernel 5.3).

use std::fs::File;
use std::io::{self, Read, Seek as _};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use nix::fcntl::{FcntlArg, OFlag, SealFlag, fcntl};
use nix::libc;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::prctl;
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use nix::sys::stat::Mode;
use nix::unistd::Pid;

use super::{Seen, Usage};

/// Differs after every start of the machine.
pub(in crate::process) fn boot_id() -> io::Result<String> {
    Ok(std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

/// All process ids of this pid namespace.
pub(in crate::process) fn pids() -> Vec<i32> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect()
}

/// `None`: there is no such process.
pub(in crate::process) fn look_at(pid: i32) -> Option<Seen> {
    parse_stat(pid, &std::fs::read(format!("/proc/{pid}/stat")).ok()?)
}

/// The name in parentheses may hold anything, also `)`, so fields count from the last one.
fn parse_stat(pid: i32, stat: &[u8]) -> Option<Seen> {
    let after_name = memchr::memrchr(b')', stat)? + 1;
    let fields: Vec<&str> = std::str::from_utf8(&stat[after_name..]).ok()?.split_ascii_whitespace().collect();
    // The state is field 3 of the manual page, the parent 4, the start time 22.
    Some(Seen {
        pid,
        parent: fields.get(1)?.parse().ok()?,
        started: fields.get(19)?.parse().ok()?,
        zombie: matches!(*fields.first()?, "Z" | "X" | "x"),
        stopped: *fields.first()? == "T",
    })
}

/// Resident bytes, descriptors, threads of this process.
pub(in crate::process) fn own_numbers() -> Option<(u64, u64, u64)> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let number = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_ascii_whitespace().next()?.parse::<u64>().ok()
    };
    // one of them is the directory that is being read
    let descriptors = std::fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1);
    Some((number("VmRSS:")? * 1024, u64::try_from(descriptors).ok()?, number("Threads:")?))
}

/// True when the initial environment of the process holds exactly this `NAME=value`.
pub(in crate::process) fn has_marker(pid: i32, marker: &[u8]) -> bool {
    let Ok(mut file) = File::open(format!("/proc/{pid}/environ")) else { return false };
    // The kernel limits arguments and environment together to a quarter of the stack limit, usually 2 MiB.
    let mut environ = Vec::new();
    let _ = (&mut file).take(4 << 20).read_to_end(&mut environ);
    environ.split(|byte| *byte == 0).any(|entry| entry == marker)
}

/// `None` also for processes of other users.
pub(in crate::process) fn working_directory(pid: i32) -> Option<PathBuf> {
    std::fs::read_link(format!("/proc/{pid}/cwd")).ok()
}

/// Signals the process that has this pid and start time. The pidfd is taken first, so that the process that is
/// looked at is the one that is signalled. False: no such process.
pub(in crate::process) fn signal(pid: i32, started: u64, signal: Signal) -> bool {
    let pidfd = pidfd_open(pid);
    if look_at(pid).is_none_or(|seen| seen.started != started) {
        return false;
    }
    match pidfd {
        Ok(pidfd) => pidfd_send_signal(&pidfd, signal),
        Err(error) if error.raw_os_error() == Some(libc::ENOSYS) => kill(Pid::from_raw(pid), signal).is_ok(),
        Err(_) => false,
    }
}

#[expect(unsafe_code, reason = "no wrapper for pidfd_open")]
fn pidfd_open(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: the call takes two integers and touches no memory.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    match i32::try_from(fd) {
        // SAFETY: the kernel has just handed out this descriptor, nobody else owns it.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}

#[expect(unsafe_code, reason = "no wrapper for pidfd_send_signal")]
fn pidfd_send_signal(pidfd: &OwnedFd, signal: Signal) -> bool {
    let no_info: *const libc::siginfo_t = std::ptr::null();
    // SAFETY: the descriptor is open; a null pointer in place of the signal information is allowed.
    unsafe {
        libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal as libc::c_int, no_info, 0) == 0
    }
}

/// What is left to read of a file, in memory, where nobody can change it any more. A descriptor of the file itself would be a way to it:
/// whoever has it may open it again by `/proc/self/fd`, to be written, whatever hides its name (proc_pid_fd(5)).
pub(in crate::process) fn sealed(mut file: File) -> io::Result<File> {
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    // machines can demand that nobody runs such a file; kernels before 6.3 do not know the word
    let not_run = flags | MFdFlags::from_bits_retain(libc::MFD_NOEXEC_SEAL);
    let memory = memfd_create(c"input", not_run).or_else(|_| memfd_create(c"input", flags))?;
    let mut memory = File::from(memory);
    io::copy(&mut file, &mut memory)?;
    memory.rewind()?;
    let seals =
        SealFlag::F_SEAL_WRITE | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_SEAL;
    fcntl(&memory, FcntlArg::F_ADD_SEALS(seals))?;
    Ok(memory)
}

/// Orphans of the tree become children of this process instead of process 1.
pub(in crate::process) fn become_subreaper() -> io::Result<()> {
    Ok(prctl::set_child_subreaper(true)?)
}

/// For the child between fork and exec: it is killed when the thread that started it ends.
pub(in crate::process) fn die_with_parent(parent: Pid) -> io::Result<()> {
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    // The parent may have ended before the line above.
    if nix::unistd::getppid() == parent { Ok(()) } else { Err(io::ErrorKind::BrokenPipe.into()) }
}

/// How much likelier than others a command is chosen when the kernel has to kill for want of memory, in thousandths of
/// the machine's memory: rather an agent, which is tried again, than its shim or the server.
const OOM_SCORE: &[u8] = b"500";
const OOM_SCORE_FILE: &std::ffi::CStr = c"/proc/self/oom_score_adj";

/// True when the score of this process is lower than what its command should have: nobody lowers one here.
pub(in crate::process) fn may_volunteer_for_oom() -> bool {
    let own = std::fs::read_to_string("/proc/self/oom_score_adj").ok();
    own.and_then(|text| text.trim().parse::<i32>().ok()).is_some_and(|score| score < 500)
}

/// For the child between fork and exec. Where it cannot be done nothing else is lost.
pub(in crate::process) fn volunteer_for_oom() {
    let flags = OFlag::O_WRONLY | OFlag::O_CLOEXEC;
    if let Ok(file) = nix::fcntl::open(OOM_SCORE_FILE, flags, Mode::empty()) {
        let _ = nix::unistd::write(&file, OOM_SCORE);
    }
}

/// Threads of a process, and the bytes of memory that are its own and of nobody else: a little too many for a process
/// that was forked and shares them still.
pub(in crate::process) fn usage(pid: i32) -> Option<Usage> {
    let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    let after_name = memchr::memrchr(b')', &stat)? + 1;
    // Field 20 of the manual page; the state is field 3.
    let threads = std::str::from_utf8(&stat[after_name..]).ok()?.split_ascii_whitespace().nth(17)?;
    let statm = std::fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let pages: Vec<u64> =
        statm.split_ascii_whitespace().take(3).filter_map(|word| word.parse().ok()).collect();
    let [_, resident, shared] = pages[..] else { return None };
    Some(Usage {
        threads: threads.parse().ok()?,
        memory_bytes: resident.saturating_sub(shared) * page_bytes(),
    })
}

/// The exact share of memory: a page that several processes have counts for each by its part. Costs milliseconds for
/// each GiB. `None` for a process that is gone or may not be looked at.
pub(in crate::process) fn memory_share(pid: i32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

fn page_bytes() -> u64 {
    let size = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok().flatten();
    size.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(4096)
}

/// Closes every descriptor but the standard three; fails without harm before kernel 5.9.
#[expect(unsafe_code, reason = "no wrapper for close_range")]
pub(in crate::process) fn close_inherited() {
    // SAFETY: called once at the very start, when nothing in this process owns a descriptor above 2.
    unsafe {
        libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, 0_u32);
    }
}

/// The user at the other end of a local socket.
pub(in crate::process) fn peer_uid(stream: &UnixStream) -> io::Result<u32> {
    Ok(getsockopt(stream, PeerCredentials)?.uid())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_name_cannot_forge_fields() {
        let stat = b"42 (a) Z 1 (b)) S 7 42 42 0 -1 4194304 1 0 0 0 0 0 0 0 20 0 1 0 987654 1 2 3";
        let seen = parse_stat(42, stat).unwrap();
        assert_eq!(seen, Seen { pid: 42, parent: 7, started: 987_654, zombie: false, stopped: false });
        assert!(parse_stat(42, b"42 (short) S 7").is_none());
    }
}
