//! Damage in the log that SQLite would take for its end.
//!
//! SQLite reads its log (the file format is documented: <https://www.sqlite.org/fileformat2.html#walformat>) up to the
//! first frame whose checksum is wrong, because a power cut leaves such an end behind the last durable commit. A frame
//! that went bad further up looks the same, and everything behind it would be dropped without a word. The two can be
//! told apart: each commit is on disk before the next one is begun, so a bad frame with a whole commit behind it, and
//! the next transaction behind that, was durable once.

use std::io;

use super::super::error::StoreError;
use super::place::Place;

const HEAD: usize = 32;
const FRAME_HEAD: usize = 24;
/// Version 3.7.0; the last bit of the magic number says in which byte order checksums are made.
const MAGIC: u32 = 0x377f_0682;

/// # Errors
/// [`StoreError::Corrupt`] when committed frames lie behind a bad one.
pub(super) fn examine(place: &Place) -> Result<(), StoreError> {
    let log = match std::fs::read(place.log()) {
        Ok(log) => log,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    match hole(&log, page_bytes(place)?) {
        None => Ok(()),
        Some(frame) => Err(StoreError::Corrupt(format!(
            "its log is damaged at frame {frame}, and what was committed behind that would be lost"
        ))),
    }
}

/// As the database's own head says it, for when that of the log is damaged.
fn page_bytes(place: &Place) -> io::Result<usize> {
    use std::os::unix::fs::FileExt as _;
    let mut field = [0; 2];
    match std::fs::File::open(place.file())?.read_exact_at(&mut field, 16) {
        Ok(()) => {}
        // too short to be a database: whoever opens it says so
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(4_096),
        Err(error) => return Err(error),
    }
    Ok(match u16::from_be_bytes(field) {
        1 => 65_536,
        bytes => usize::from(bytes).max(512),
    })
}

/// The first bad frame, counted from 1, if durable commits lie behind it. 0 stands for the log's head.
fn hole(log: &[u8], page_bytes: usize) -> Option<usize> {
    let (head, frames) = log.split_at_checked(HEAD)?;
    let little = word(head, 0) & 1 == 0;
    let is_head_good = word(head, 0) & !1 == MAGIC && sum(&head[..24], little, (0, 0)) == pair(head, 24);
    let page_bytes = if is_head_good { word(head, 8) as usize } else { page_bytes };
    let frames: Vec<_> = frames.chunks_exact(FRAME_HEAD + page_bytes).map(Frame).collect();
    let orders: &[bool] = if is_head_good { &[little] } else { &[true, false] };
    orders.iter().find_map(|&little| {
        // of a bad head nothing is known: what the first frame says holds, and that one cannot be checked
        let salt = if is_head_good { pair(head, 16) } else { frames.first()?.salt() };
        let is_good = |at: usize| {
            let before = match at.checked_sub(1) {
                Some(before) => frames[before].sum(),
                None if is_head_good => pair(head, 24),
                None => return false,
            };
            frames[at].salt() == salt && frames[at].computed(little, before) == frames[at].sum()
        };
        let bad = if is_head_good { (0..frames.len()).find(|&at| !is_good(at))? + 1 } else { 0 };
        // chained to each other: of transactions that failed and were written over only one can be whole
        let durable = (bad..frames.len().saturating_sub(1))
            .any(|at| frames[at].is_commit() && is_good(at) && is_good(at + 1));
        durable.then_some(bad)
    })
}

/// Page number, size of the database after a commit (else 0), two salts, two sums; then the page.
struct Frame<'a>(&'a [u8]);

impl Frame<'_> {
    fn is_commit(&self) -> bool {
        word(self.0, 4) != 0
    }

    fn salt(&self) -> (u32, u32) {
        pair(self.0, 8)
    }

    fn sum(&self) -> (u32, u32) {
        pair(self.0, 16)
    }

    fn computed(&self, little: bool, before: (u32, u32)) -> (u32, u32) {
        sum(&self.0[FRAME_HEAD..], little, sum(&self.0[..8], little, before))
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    bytes[at..at + 4].iter().fold(0, |word, byte| word << 8 | u32::from(*byte))
}

fn pair(bytes: &[u8], at: usize) -> (u32, u32) {
    (word(bytes, at), word(bytes, at + 4))
}

fn sum(bytes: &[u8], little: bool, start: (u32, u32)) -> (u32, u32) {
    let read = |bytes, at| if little { word(bytes, at).swap_bytes() } else { word(bytes, at) };
    bytes.chunks_exact(8).fold(start, |(first, second), both| {
        let first = first.wrapping_add(read(both, 0)).wrapping_add(second);
        (first, second.wrapping_add(read(both, 4)).wrapping_add(first))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The log of a database with ten commits, and the bytes of a page.
    fn log() -> (Vec<u8>, usize) {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("w.db");
        let connection = rusqlite::Connection::open(&file).unwrap();
        connection.execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE t (n, text);").unwrap();
        for n in 0..9 {
            connection.execute("INSERT INTO t VALUES (?1, hex(zeroblob(3000)))", [n]).unwrap();
        }
        let log = std::fs::read(dir.path().join("w.db-wal")).unwrap();
        (log, page_bytes(&Place::new(file, None)).unwrap())
    }

    #[test]
    fn a_whole_log_and_every_torn_one_are_good() {
        let (log, page) = log();
        assert_eq!(hole(&log, page), None);
        for end in (0..log.len()).step_by(37) {
            assert_eq!(hole(&log[..end], page), None, "cut at {end}");
        }
    }

    #[test]
    fn a_flipped_bit_is_a_hole_where_two_commits_follow() {
        let (log, page) = log();
        let frame = FRAME_HEAD + page;
        let frames = (log.len() - HEAD) / frame;
        for at in (0..log.len()).step_by(211) {
            let mut bad = log.clone();
            bad[at] ^= 0x10;
            let found = hole(&bad, page);
            let number = (at + frame).saturating_sub(HEAD) / frame;
            if at < HEAD {
                assert!(found == Some(0), "byte {at}: {found:?}");
            } else if number + 6 < frames {
                assert_eq!(found, Some(number), "byte {at} of {}", log.len());
            }
        }
    }

    /// After a restart of the log the frames of its earlier life are still there, under other salts.
    #[test]
    fn what_is_left_of_an_earlier_life_is_no_hole() {
        let (log, page) = log();
        let mut restarted = log.clone();
        for at in (HEAD..HEAD + 2 * (FRAME_HEAD + page)).step_by(FRAME_HEAD + page) {
            restarted[at + 8] ^= 0xff;
        }
        restarted[16] ^= 0xff;
        let head = sum(&restarted[..24], word(&restarted, 0) & 1 == 0, (0, 0));
        restarted[24..28].copy_from_slice(&head.0.to_be_bytes());
        restarted[28..32].copy_from_slice(&head.1.to_be_bytes());
        assert_eq!(hole(&restarted, page), None);
    }
}
