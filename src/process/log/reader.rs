//! Reads one log file from an offset, also while it grows.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use nix::libc;

use super::frame::{BadFrame, Decoded, FRAME_PAYLOAD_BYTES_MAX, HEADER_BYTES, Record, decode};

/// One look at a log file.
#[derive(Debug, PartialEq, Eq)]
pub enum ReadFrame {
    /// A whole record; [`LogReader::offset`] is now behind it.
    Record(Record),
    /// Nothing behind the offset.
    End,
    /// The beginning of a frame: it is being written, or its writer died.
    Incomplete,
    /// Not a frame. While the writer lives look again: it may be cutting back a write that found no room.
    Bad(BadFrame),
}

/// Reader of one log file. Holds one buffer of two frames; keeps no bytes of an unfinished frame between looks.
#[derive(Debug)]
pub struct LogReader {
    file: File,
    offset: u64,
    buffer: Vec<u8>,
    /// The part of `buffer` that is not yet given out; it begins at `offset`.
    pending: std::ops::Range<usize>,
}

impl LogReader {
    /// Reads on at `offset`, which is 0 or was the end of a record.
    ///
    /// # Errors
    /// Those of opening a file.
    pub fn open(path: &Path, offset: u64) -> io::Result<Self> {
        let buffer = vec![0; 2 * (FRAME_PAYLOAD_BYTES_MAX + HEADER_BYTES)];
        // Whatever an unconfined command puts in the place of the log, this neither follows nor waits.
        let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
        let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
        Ok(Self { file, offset, buffer, pending: 0..0 })
    }

    /// Where the next record begins.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The next record, or why there is none. Call again after the file has grown.
    ///
    /// # Errors
    /// Those of reading a file.
    #[expect(clippy::should_implement_trait, reason = "an iterator would be over; this may be asked again")]
    pub fn next(&mut self) -> io::Result<ReadFrame> {
        if let Decoded::Record { record, frame_bytes } = decode(&self.buffer[self.pending.clone()]) {
            return Ok(self.give(record, frame_bytes));
        }
        self.refill()?;
        Ok(match decode(&self.buffer[self.pending.clone()]) {
            Decoded::Record { record, frame_bytes } => self.give(record, frame_bytes),
            Decoded::Incomplete if self.pending.is_empty() => ReadFrame::End,
            Decoded::Incomplete => ReadFrame::Incomplete,
            Decoded::Bad(why) => ReadFrame::Bad(why),
        })
    }

    /// True: a further record is in memory, so nothing has to be read for it.
    pub(super) fn has_pending(&self) -> bool {
        matches!(decode(&self.buffer[self.pending.clone()]), Decoded::Record { .. })
    }

    pub(super) fn inode(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.ino())
    }

    fn give(&mut self, record: Record, frame_bytes: usize) -> ReadFrame {
        self.pending.start += frame_bytes;
        self.offset += frame_bytes as u64;
        ReadFrame::Record(record)
    }

    fn refill(&mut self) -> io::Result<()> {
        let mut filled = 0;
        while filled < self.buffer.len() {
            match self.file.read_at(&mut self.buffer[filled..], self.offset + filled as u64) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.pending = 0..filled;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::frame::{Stream, encode};
    use super::*;
    use proptest::prelude::*;

    fn frames(payloads: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (sequence, payload) in payloads.iter().enumerate() {
            encode(&mut bytes, sequence as u64, 1, 2, Stream::Stdout, payload);
        }
        bytes
    }

    fn read_all(reader: &mut LogReader) -> (Vec<Record>, ReadFrame) {
        let mut records = Vec::new();
        loop {
            match reader.next().unwrap() {
                ReadFrame::Record(record) => records.push(record),
                other => return (records, other),
            }
        }
    }

    #[test]
    fn zeros_after_a_power_loss_are_bad_and_the_records_before_them_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut bytes = frames(&[b"one".to_vec(), b"two".to_vec()]);
        bytes.extend_from_slice(&[0; 500]);
        std::fs::write(&path, bytes).unwrap();
        let (records, end) = read_all(&mut LogReader::open(&path, 0).unwrap());
        assert_eq!((records.len(), end), (2, ReadFrame::Bad(BadFrame::Magic)));
    }

    #[test]
    fn a_frame_that_is_cut_back_and_replaced_is_read_as_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let torn = &frames(&[b"torn away".to_vec()])[..44];
        std::fs::write(&path, torn).unwrap();
        let mut reader = LogReader::open(&path, 0).unwrap();
        assert_eq!(reader.next().unwrap(), ReadFrame::Incomplete);
        std::fs::write(&path, frames(&[b"kept".to_vec()])).unwrap();
        assert!(matches!(reader.next().unwrap(), ReadFrame::Record(record) if record.payload == b"kept"));
    }

    #[test]
    fn the_largest_frames_fit_the_buffer() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        std::fs::write(&path, frames(&vec![vec![7; FRAME_PAYLOAD_BYTES_MAX]; 5])).unwrap();
        let (records, end) = read_all(&mut LogReader::open(&path, 0).unwrap());
        assert_eq!((records.len(), end), (5, ReadFrame::End));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_log_that_grows_by_random_pieces_gives_each_record_once_also_to_a_reader_that_restarts(
            payloads in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..400), 1..12),
            cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..8),
        ) {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("log");
            let bytes = frames(&payloads);
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len())).collect();
            cuts.sort_unstable();
            cuts.push(bytes.len());
            std::fs::write(&path, b"").unwrap();
            let mut reader = LogReader::open(&path, 0).unwrap();
            let mut read = Vec::new();
            for (round, cut) in cuts.iter().enumerate() {
                std::fs::write(&path, &bytes[..*cut]).unwrap();
                let (records, end) = read_all(&mut reader);
                read.extend(records.into_iter().map(|record| record.payload));
                let is_end = matches!(end, ReadFrame::End | ReadFrame::Incomplete);
                prop_assert!(is_end);
                if round % 2 == 0 {
                    reader = LogReader::open(&path, reader.offset()).unwrap();
                }
            }
            prop_assert_eq!(read, payloads);
        }
    }
}
