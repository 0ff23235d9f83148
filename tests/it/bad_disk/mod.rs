//! A disk that fails on order and remembers every write and sync: a layer between SQLite and its real file system.
//!
//! It is registered with SQLite under a name of its own, which the store is opened with; production code knows nothing of
//! it. What it remembers can be played up to any moment, with everything that was not synced dropped, kept or torn:
//! that is what a power cut may leave ([`power::Cut`]).

#![allow(unsafe_code, reason = "SQLite's file system layers are tables of C functions")]

pub(crate) mod power;
mod vfs;

use std::ffi::c_int;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use rusqlite::ffi;

/// What happened, in order. Files are named without their directory.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    Write {
        file: String,
        offset: usize,
        bytes: Vec<u8>,
    },
    Truncate {
        file: String,
        bytes: usize,
    },
    Sync {
        file: String,
    },
    Delete {
        file: String,
        synced: bool,
    },
    /// The test noted that something was promised.
    Promise(Promise),
}

/// What a caller was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Promise {
    Submitted(i64),
    Ended(i64),
}

#[derive(Default)]
struct State {
    writes: u64,
    syncs: u64,
    full_from: Option<u64>,
    met_full: bool,
    sync_fails_at: Option<u64>,
    /// Pieces of the log's index that exist; making one more is a write.
    index_pieces: c_int,
    index_is_full: bool,
    garbled: Option<&'static str>,
    held: Option<&'static str>,
    /// A write waits for the end of that.
    holds: bool,
    ops: Option<Vec<Op>>,
}

/// One disk; every database that is opened through its name lies on it.
pub(crate) struct Disk {
    pub(crate) name: String,
    state: Mutex<State>,
    released: Condvar,
}

/// Ends when it is dropped.
pub(crate) struct Held<'a>(&'a Disk);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.state().held = None;
        self.0.released.notify_all();
    }
}

impl Disk {
    pub(crate) fn new() -> Arc<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("bad-disk-{}", NUMBER.fetch_add(1, Ordering::SeqCst));
        let disk = Arc::new(Self { name, state: Mutex::default(), released: Condvar::new() });
        vfs::register(&disk);
        disk
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// From the `nth` write on from now (0: the next one) there is no room, until [`Self::free`].
    pub(crate) fn fill_at(&self, nth: u64) {
        let mut state = self.state();
        state.full_from = Some(state.writes + nth);
    }

    pub(crate) fn free(&self) {
        self.state().full_from = None;
    }

    /// Whether a write has met the full disk by now.
    pub(crate) fn has_been_full(&self) -> bool {
        self.state().met_full
    }

    /// The index of the log gets no further piece, until this is taken back; all other writes work.
    pub(crate) fn keep_index_small(&self, is_full: bool) {
        self.state().index_is_full = is_full;
    }

    /// Of files whose names end so, something else is stored than was written, and nothing is said about it.
    pub(crate) fn garble(&self, ending: Option<&'static str>) {
        self.state().garbled = ending;
    }

    fn garbles(&self, file: &str) -> bool {
        self.state().garbled.is_some_and(|ending| file.ends_with(ending))
    }

    /// Writes to files whose names end so wait until this is dropped, a minute at most.
    pub(crate) fn hold(&self, ending: &'static str) -> Held<'_> {
        self.state().held = Some(ending);
        Held(self)
    }

    /// Whether such a write waits.
    pub(crate) fn holds(&self) -> bool {
        self.state().holds
    }

    fn wait_while_held(&self, file: &str) {
        let mut state = self.state();
        if state.held.is_some_and(|ending| file.ends_with(ending)) {
            state.holds = true;
            let is_held = |state: &mut State| state.held.is_some();
            (state, _) = self.released.wait_timeout_while(state, Duration::from_secs(60), is_held).unwrap();
            state.holds = false;
        }
    }

    /// The `nth` sync from now (0: the next one) fails, once.
    pub(crate) fn fail_sync_at(&self, nth: u64) {
        let mut state = self.state();
        state.sync_fails_at = Some(state.syncs + nth);
    }

    pub(crate) fn syncs(&self) -> u64 {
        self.state().syncs
    }

    pub(crate) fn remember(&self) {
        self.state().ops = Some(Vec::new());
    }

    pub(crate) fn promise(&self, promise: Promise) {
        self.note(|| Op::Promise(promise));
    }

    pub(crate) fn remembered(&self) -> Vec<Op> {
        self.state().ops.clone().unwrap_or_default()
    }

    fn note(&self, op: impl FnOnce() -> Op) {
        if let Some(ops) = &mut self.state().ops {
            ops.push(op());
        }
    }

    fn before_write(&self) -> c_int {
        let mut state = self.state();
        let number = state.writes;
        state.writes += 1;
        if state.full_from.is_some_and(|from| number >= from) {
            state.met_full = true;
            ffi::SQLITE_FULL
        } else {
            ffi::SQLITE_OK
        }
    }

    /// Of the store itself: a backup that fails is made again, and stops nothing.
    fn before_sync(&self, file: &str) -> c_int {
        if !file.starts_with("offshoot.db") {
            return ffi::SQLITE_OK;
        }
        let mut state = self.state();
        let number = state.syncs;
        state.syncs += 1;
        if state.sync_fails_at == Some(number) { ffi::SQLITE_IOERR_FSYNC } else { ffi::SQLITE_OK }
    }

    /// Growing the log's index writes to the same disk.
    fn before_index_piece(&self, piece: c_int, extends: bool) -> c_int {
        let grows = extends && piece >= self.state().index_pieces;
        if grows && (self.state().index_is_full || self.before_write() != ffi::SQLITE_OK) {
            return ffi::SQLITE_IOERR_SHMSIZE;
        }
        let mut state = self.state();
        state.index_pieces = state.index_pieces.max(piece + 1);
        ffi::SQLITE_OK
    }
}

/// A directory in memory where there is one: tests with hundreds of databases wait for no real disk.
pub(crate) fn quick_dir() -> tempfile::TempDir {
    let memory = std::path::Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory).unwrap() } else { tempfile::tempdir().unwrap() }
}
