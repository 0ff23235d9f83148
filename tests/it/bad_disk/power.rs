//! What may be on the disk after a power cut.
//!
//! A write counts from the next sync of its file on. What was not synced is there, or not, or in part, sector by sector
//! and in any order: SQLite promises to cope with that as long as a write leaves its neighbours alone
//! (<https://www.sqlite.org/psow.html>). A name that was given or taken away counts from the next sync of the directory
//! on, which SQLite makes with the first sync of a new log or journal; a file's own sync does nothing for its name.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::{Op, Promise};

const SECTOR: usize = 512;
/// With its sync SQLite syncs no directory.
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
    bytes: Vec<u8>,
    /// The directory was synced with this name in it.
    named: bool,
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
                    let found = files.entry(file.clone()).or_default();
                    let syncs_names = !found.named && file != MAIN;
                    for pending in found.pending.drain(..) {
                        apply(&mut found.bytes, &pending, |_| true);
                    }
                    if syncs_names {
                        sync_names(&mut files);
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

/// What was made or deleted before stays so.
fn sync_names(files: &mut BTreeMap<String, Durable>) {
    files.retain(|_, found| {
        let deleted = found.pending.iter().rposition(|op| matches!(op, Op::Delete { .. }));
        if let Some(deleted) = deleted {
            found.bytes.clear();
            found.pending.drain(..=deleted);
        }
        found.named = true;
        // nothing came after its end
        deleted.is_none() || !found.pending.is_empty()
    });
}

fn settle(found: Durable, fate: Fate, dice: &mut Dice) -> Option<Vec<u8>> {
    let has_name = match fate {
        _ if found.named => true,
        Fate::AllLost => false,
        Fate::AllKept => true,
        Fate::EachItsOwn => dice.below(2) == 0,
    };
    let mut bytes = has_name.then_some(found.bytes);
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
