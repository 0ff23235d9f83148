//! Signals as a descriptor to poll: the handler writes the number into a pipe (the self-pipe trick).

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicI32, Ordering};

use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use nix::libc;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

static PIPE: AtomicI32 = AtomicI32::new(-1);

/// Receives SIGTERM and SIGCHLD. Taken without a meaning are SIGINT and SIGHUP, which come from a terminal, and
/// SIGXFSZ: a log that has reached a file size limit is an error of the write, not the end of the shim.
pub(super) struct Signals {
    read: OwnedFd,
    /// Kept open for the handler.
    _write: OwnedFd,
}

impl Signals {
    pub(super) fn install() -> io::Result<Self> {
        let (read, write) = nix::unistd::pipe()?;
        for end in [&read, &write] {
            fcntl(end, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
            fcntl(end, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
        }
        PIPE.store(write.as_raw_fd(), Ordering::SeqCst);
        let action = SigAction::new(SigHandler::Handler(note), SaFlags::SA_RESTART, SigSet::empty());
        for signal in [Signal::SIGTERM, Signal::SIGCHLD, Signal::SIGINT, Signal::SIGHUP, Signal::SIGXFSZ] {
            install(signal, &action)?;
        }
        SigSet::empty().thread_set_mask()?;
        Ok(Self { read, _write: write })
    }

    /// Empties the pipe. True: SIGTERM was among it.
    pub(super) fn take_terminate(&self) -> bool {
        let (mut buffer, mut terminate) = ([0_u8; 256], false);
        // A full pipe holds 64 KiB of notes; more than that cannot be waiting.
        for _ in 0..256 {
            match nix::unistd::read(&self.read, &mut buffer) {
                Ok(count) if count > 0 => {
                    terminate |= buffer[..count].contains(&(Signal::SIGTERM as u8));
                }
                _ => break,
            }
        }
        terminate
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.read.as_fd()
    }
}

#[expect(unsafe_code, reason = "installing a handler is unsafe in every wrapper")]
fn install(signal: Signal, action: &SigAction) -> io::Result<()> {
    // SAFETY: the handler calls only write(2), which is async-signal-safe, and reads one atomic.
    unsafe { sigaction(signal, action)? };
    Ok(())
}

#[expect(unsafe_code, reason = "a signal handler may call nothing but raw system calls")]
extern "C" fn note(signal: libc::c_int) {
    let byte = signal.to_le_bytes()[0];
    // SAFETY: one byte of this stack frame is written to a pipe that stays open as long as the process; errno is
    // restored for the code that was interrupted.
    unsafe {
        let errno = nix::errno::Errno::last_raw();
        libc::write(PIPE.load(Ordering::SeqCst), (&raw const byte).cast(), 1);
        nix::errno::Errno::set_raw(errno);
    }
}
