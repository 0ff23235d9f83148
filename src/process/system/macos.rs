//! macOS: libproc. There is no subreaper, no parent-death signal, no pidfd: what has lost its
//! parent is not found again, and environments of other processes are not looked at. So the figure of
//! survivors is a report, not a promise, and a pid is checked just before it is signalled, not together with it.

use std::io;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use nix::libc;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getpeereid};

use super::{Seen, Usage};

/// `kern.bootsessionuuid`; the time of the start is no identity, it drifts with the clock.
#[expect(unsafe_code, reason = "no wrapper for sysctlbyname")]
pub(in crate::process) fn boot_id() -> io::Result<String> {
    let mut text = [0_u8; 64];
    let mut length = text.len();
    // SAFETY: the name is NUL-terminated, the buffer has `length` bytes, nothing is set.
    let answer = unsafe {
        libc::sysctlbyname(
            c"kern.bootsessionuuid".as_ptr(),
            text.as_mut_ptr().cast(),
            &raw mut length,
            std::ptr::null_mut(),
            0,
        )
    };
    if answer != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(String::from_utf8_lossy(&text[..length]).trim_end_matches('\0').to_owned())
}

/// All process ids.
#[expect(unsafe_code, reason = "no wrapper for proc_listallpids")]
pub(in crate::process) fn pids() -> Vec<i32> {
    // More than `kern.maxproc` allows on any machine.
    let mut pids = vec![0_i32; 65_536];
    let bytes = i32::try_from(pids.len() * size_of::<i32>()).unwrap_or(i32::MAX);
    // SAFETY: the buffer has `bytes` bytes.
    let count = unsafe { libc::proc_listallpids(pids.as_mut_ptr().cast(), bytes) };
    pids.truncate(usize::try_from(count).unwrap_or(0));
    pids
}

/// `None`: there is no such process, or it belongs to another user.
#[expect(unsafe_code, reason = "no wrapper for proc_pidinfo")]
pub(in crate::process) fn look_at(pid: i32) -> Option<Seen> {
    let mut seen = std::mem::MaybeUninit::<libc::proc_bsdinfo>::zeroed();
    let size = i32::try_from(size_of::<libc::proc_bsdinfo>()).ok()?;
    // SAFETY: the buffer is as large as announced; all zeros are a valid value of this plain structure.
    let seen = unsafe {
        if libc::proc_pidinfo(pid, libc::PROC_PIDTBSDINFO, 0, seen.as_mut_ptr().cast(), size) != size {
            return None;
        }
        seen.assume_init()
    };
    Some(Seen {
        pid,
        parent: i32::try_from(seen.pbi_ppid).ok()?,
        started: seen.pbi_start_tvsec * 1_000_000 + seen.pbi_start_tvusec,
        zombie: seen.pbi_status == libc::SZOMB,
        stopped: seen.pbi_status == libc::SSTOP,
    })
}

/// Resident bytes, descriptors, threads of this process.
#[expect(unsafe_code, reason = "no wrapper for proc_pidinfo")]
pub(in crate::process) fn own_numbers() -> Option<(u64, u64, u64)> {
    let mut task = std::mem::MaybeUninit::<libc::proc_taskinfo>::zeroed();
    let size = i32::try_from(size_of::<libc::proc_taskinfo>()).ok()?;
    let pid = nix::unistd::getpid().as_raw();
    // SAFETY: the buffer is as large as announced; all zeros are a valid value of this plain structure.
    let task = unsafe {
        if libc::proc_pidinfo(pid, libc::PROC_PIDTASKINFO, 0, task.as_mut_ptr().cast(), size) != size {
            return None;
        }
        task.assume_init()
    };
    // one of them is the directory that is being read
    let descriptors = std::fs::read_dir("/dev/fd").ok()?.count().saturating_sub(1);
    let threads = u64::try_from(task.pti_threadnum).ok()?;
    Some((task.pti_resident_size, u64::try_from(descriptors).ok()?, threads))
}

/// Not looked at on this system.
pub(in crate::process) fn has_marker(_pid: i32, _marker: &[u8]) -> bool {
    false
}

/// Not looked at on this system.
pub(in crate::process) fn working_directory(_pid: i32) -> Option<PathBuf> {
    None
}

/// Signals the process that has this pid and start time. False: no such process.
pub(in crate::process) fn signal(pid: i32, started: u64, signal: Signal) -> bool {
    look_at(pid).is_some_and(|seen| seen.started == started) && kill(Pid::from_raw(pid), signal).is_ok()
}

/// Does not exist here.
pub(in crate::process) fn become_subreaper() -> io::Result<()> {
    Ok(())
}

/// Does not exist here.
pub(in crate::process) fn die_with_parent(_parent: Pid) -> io::Result<()> {
    Ok(())
}

/// Does not exist here.
pub(in crate::process) fn may_volunteer_for_oom() -> bool {
    false
}

/// Does not exist here.
pub(in crate::process) fn volunteer_for_oom() {}

/// Threads and resident memory of a process.
#[expect(unsafe_code, reason = "no wrapper for proc_pidinfo")]
pub(in crate::process) fn usage(pid: i32) -> Option<Usage> {
    let mut task = std::mem::MaybeUninit::<libc::proc_taskinfo>::zeroed();
    let size = i32::try_from(size_of::<libc::proc_taskinfo>()).ok()?;
    // SAFETY: the buffer is as large as announced; all zeros are a valid value of this plain structure.
    let task = unsafe {
        if libc::proc_pidinfo(pid, libc::PROC_PIDTASKINFO, 0, task.as_mut_ptr().cast(), size) != size {
            return None;
        }
        task.assume_init()
    };
    Some(Usage { threads: u64::try_from(task.pti_threadnum).ok()?, memory_bytes: task.pti_resident_size })
}

/// There is no cheap exact share here: what is resident counts.
pub(in crate::process) fn memory_share(pid: i32) -> Option<u64> {
    usage(pid).map(|usage| usage.memory_bytes)
}

/// Not needed: everything the server opens is close-on-exec.
pub(in crate::process) fn close_inherited() {}

/// The user at the other end of a local socket.
pub(in crate::process) fn peer_uid(stream: &UnixStream) -> io::Result<u32> {
    Ok(getpeereid(stream)?.0.as_raw())
}

/// Descriptors are no way back to a file's name here.
pub(in crate::process) fn sealed(file: std::fs::File) -> io::Result<std::fs::File> {
    Ok(file)
}
