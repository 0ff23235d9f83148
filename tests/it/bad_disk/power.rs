//! What may be on the disk after a power cut.
//!
//! A write counts from the next sync of its file on. What was not synced is there, or not, or in part, sector by sector
//! and in any order: SQLite promises to cope with that as long as a write leaves its neighbours alone
//! (<https://www.sqlite.org/psow.html>). A new name is there when its file was synced, as on ext4, XFS and APFS.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::{Op, Promise};

const SECTOR: usize = 512;
/// Its name is made durable by the store, not by SQLite.
const MAIN: &str = "offshoot.db";

/// Numbers from a seed (SplitMix64).
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % end.max(1) as u64).unwrap()
    }
}

#[derive(Clone, Debug, Default)]
struct Durable {
    /// `None`: no such name.
    bytes: Option<Vec<u8>>,
    pending: Vec<Op>,
}

/// The disk at one moment, and what had been promised by then.
#[derive(Debug)]
pub(crate) struct Cut {
    files: BTreeMap<String, Vec<u8>>,
    pub(crate) promised: BTreeSet<(i64, bool)>,
}

/// How the pending writes fare.
#[derive(Clone, Copy)]
enum Fate {
    AllLost,
    AllKept,
    EachItsOwn,
}

impl Cut {
    /// The power fails after the first `moment` operations.
    pub(crate) fn after(ops: &[Op], moment: usize, dice: &mut Dice) -> Self {
        let mut files: BTreeMap<String, Durable> = BTreeMap::new();
        let mut promised = BTreeSet::new();
        for op in &ops[..moment] {
            match op {
                Op::Promise(Promise::Submitted(number)) => {
                    promised.insert((*number, false));
                }
                Op::Promise(Promise::Ended(number)) => {
                    promised.insert((*number, true));
                }
                Op::Sync { file } => {
                    if files.get(file).is_none_or(|found| found.bytes.is_none()) && file != MAIN {
                        remove_for_good(&mut files);
                    }
                    let found = files.entry(file.clone()).or_default();
                    let bytes = found.bytes.get_or_insert_default();
                    for pending in found.pending.drain(..) {
                        apply(bytes, &pending, |_| true);
                    }
                }
                Op::Delete { file, synced: true } => {
                    files.remove(file);
                }
                Op::Write { file, .. } | Op::Truncate { file, .. } | Op::Delete { file, .. } => {
                    files.entry(file.clone()).or_default().pending.push(op.clone());
                }
            }
        }
        let fate = [Fate::AllLost, Fate::AllKept, Fate::EachItsOwn, Fate::EachItsOwn][dice.below(4)];
        let files = files.into_iter().filter_map(|(name, found)| Some((name, settle(found, fate, dice)?)));
        Self { files: files.collect(), promised }
    }

    pub(crate) fn lay_out(&self, dir: &Path) {
        for (name, bytes) in &self.files {
            std::fs::write(dir.join(name), bytes).unwrap();
        }
    }
}

/// With the first sync of a new log or journal SQLite syncs the directory: what was deleted before stays so.
fn remove_for_good(files: &mut BTreeMap<String, Durable>) {
    for found in files.values_mut() {
        if let Some(deleted) = found.pending.iter().rposition(|op| matches!(op, Op::Delete { .. })) {
            found.bytes = None;
            found.pending.drain(..=deleted);
        }
    }
}

fn settle(found: Durable, fate: Fate, dice: &mut Dice) -> Option<Vec<u8>> {
    let mut bytes = match (found.bytes, fate) {
        (Some(bytes), _) => Some(bytes),
        (None, Fate::AllLost) => None,
        (None, Fate::AllKept) => Some(Vec::new()),
        (None, Fate::EachItsOwn) => (dice.below(2) == 0).then(Vec::new),
    };
    for op in &found.pending {
        let kept = match fate {
            Fate::AllLost => continue,
            Fate::AllKept => 0,
            // kept, lost, or torn
            Fate::EachItsOwn => dice.below(3),
        };
        match (op, kept, &mut bytes) {
            (_, 1, _) | (_, _, None) => {}
            (Op::Delete { .. }, ..) => bytes = None,
            (_, 0, Some(bytes)) => apply(bytes, op, |_| true),
            (_, _, Some(bytes)) => apply(bytes, op, |_| dice.below(2) == 0),
        }
    }
    bytes
}

/// `keeps` is asked for each sector.
fn apply(file: &mut Vec<u8>, op: &Op, mut keeps: impl FnMut(usize) -> bool) {
    match op {
        Op::Truncate { bytes, .. } => file.resize(*bytes, 0),
        Op::Write { offset, bytes, .. } => {
            let mut at = 0;
            while at < bytes.len() {
                // to the end of the sector that it lies in
                let next = bytes.len().min(at + SECTOR - (offset + at) % SECTOR);
                if keeps((offset + at) / SECTOR) {
                    let end = offset + next;
                    if file.len() < end {
                        file.resize(end, 0);
                    }
                    file[offset + at..end].copy_from_slice(&bytes[at..next]);
                }
                at = next;
            }
        }
        Op::Delete { .. } => file.clear(),
        Op::Sync { .. } | Op::Promise(_) => {}
    }
}
