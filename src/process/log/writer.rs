//! Writes the log of one step. Never blocks on a full disk and never leaves a torn frame behind.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};

use super::frame::{FRAME_PAYLOAD_BYTES_MAX, HEADER_BYTES, Stream, encode};
use crate::process::StepDir;
use crate::process::system;

/// Size of one tail file in bytes. One line with the result of an agent was seen at 5 MB; two of these hold at
/// least the last 8 MiB.
const TAIL_BYTES_MAX: u64 = 8 << 20;

/// The only writer of a step's log.
#[derive(Debug)]
pub(in crate::process) struct LogWriter {
    step: StepDir,
    head_bytes_max: u64,
    file: File,
    /// The head could not be synced when it was left.
    head_lost: bool,
    /// The tail file before `file`; still to be synced.
    previous: Option<File>,
    /// End of the last whole frame in `file`.
    offset: u64,
    /// How many tail files were begun; the newest has the slot `(begun - 1) % 2`. 0: still in the head.
    tails_begun: usize,
    sequence: u64,
    /// Not yet told by a `gap` record.
    untold: Untold,
    dropped_bytes: u64,
    buffer: Vec<u8>,
}

#[derive(Debug, Default)]
struct Untold {
    bytes: u64,
    records: u64,
}

impl LogWriter {
    /// Creates the log. That it must not exist makes two shims for one step impossible.
    pub(in crate::process) fn create(step: &StepDir, head_bytes_max: u64) -> io::Result<Self> {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(step.log())?;
        Ok(Self {
            step: step.clone(),
            head_bytes_max,
            file,
            head_lost: false,
            previous: None,
            offset: 0,
            tails_begun: 0,
            sequence: 0,
            untold: Untold::default(),
            dropped_bytes: 0,
            buffer: Vec::with_capacity(FRAME_PAYLOAD_BYTES_MAX + HEADER_BYTES),
        })
    }

    /// Appends a record of at most 64 KiB. False: there was no room, and the loss is counted.
    pub(in crate::process) fn append(&mut self, stream: Stream, payload: &[u8]) -> bool {
        if self.tell_gap() && self.try_append(stream, payload).is_ok() {
            return true;
        }
        self.untold.records += 1;
        self.untold.bytes += payload.len() as u64;
        if matches!(stream, Stream::Stdout | Stream::Stderr) {
            self.dropped_bytes += payload.len() as u64;
        }
        false
    }

    /// Writes the `gap` record that is due, if any. True: none is due any more.
    pub(in crate::process) fn tell_gap(&mut self) -> bool {
        if self.untold.records == 0 {
            return true;
        }
        let mut payload = self.untold.bytes.to_le_bytes().to_vec();
        payload.extend_from_slice(&self.untold.records.to_le_bytes());
        let told = self.try_append(Stream::Gap, &payload).is_ok();
        if told {
            self.untold = Untold::default();
        }
        told
    }

    /// Output that found no room so far.
    pub(in crate::process) fn dropped_bytes(&self) -> u64 {
        self.dropped_bytes
    }

    /// Number of the next record.
    pub(in crate::process) fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Brings everything to the disk. To be called again is no cure: a failed sync may have lost the pages.
    pub(in crate::process) fn sync(&self) -> io::Result<()> {
        if self.head_lost {
            return Err(io::Error::other("the head of the log could not be synced"));
        }
        if let Some(previous) = &self.previous {
            previous.sync_all()?;
        }
        self.file.sync_all()
    }

    fn try_append(&mut self, stream: Stream, payload: &[u8]) -> io::Result<()> {
        let frame_bytes = (HEADER_BYTES + payload.len()) as u64;
        if self.tails_begun == 0 {
            if self.offset + frame_bytes > self.head_bytes_max && self.sequence > 0 {
                self.leave_head()?;
            }
        } else if self.offset + frame_bytes > TAIL_BYTES_MAX {
            self.begin_tail()?;
        }
        self.write(stream, payload)
    }

    /// The tail file is there before the head says that it goes on there; readers pass over an empty one.
    fn leave_head(&mut self) -> io::Result<()> {
        let tail = self.create_tail()?;
        self.write(Stream::Cut, &self.head_bytes_max.to_le_bytes())?;
        // Complete from here on, and not at hand at the end.
        self.head_lost = self.enter(tail).sync_all().is_err();
        Ok(())
    }

    fn begin_tail(&mut self) -> io::Result<()> {
        let tail = self.create_tail()?;
        self.previous = Some(self.enter(tail));
        Ok(())
    }

    /// Puts an empty file into the slot of the oldest tail. Readers that have the old one open keep it.
    fn create_tail(&self) -> io::Result<File> {
        let path = self.step.tail(self.tails_begun % 2);
        let beside = path.with_extension("part");
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        std::fs::rename(&beside, &path)?;
        Ok(file)
    }

    /// Goes on in `file` and gives back the one before.
    fn enter(&mut self, file: File) -> File {
        self.offset = 0;
        self.tails_begun += 1;
        std::mem::replace(&mut self.file, file)
    }

    fn write(&mut self, stream: Stream, payload: &[u8]) -> io::Result<()> {
        self.buffer.clear();
        encode(&mut self.buffer, self.sequence, system::awake_ms(), system::wall_ms(), stream, payload);
        if let Err(error) = self.file.write_all_at(&self.buffer, self.offset) {
            // A half frame would hide every later one. If even this fails the next frame overwrites it.
            let _ = self.file.set_len(self.offset);
            return Err(error);
        }
        self.offset += self.buffer.len() as u64;
        self.sequence += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{LogChain, LogPosition, ReadChain, Record};
    use super::*;

    fn step(dir: &std::path::Path) -> StepDir {
        StepDir::new(dir, "/tmp", "x-1-1-agent-1".parse().unwrap()).unwrap()
    }

    fn read_all(chain: &mut LogChain) -> (Vec<Record>, u64) {
        let (mut records, mut skipped) = (Vec::new(), 0);
        loop {
            match chain.next().unwrap() {
                ReadChain::Record(record) => records.push(record),
                ReadChain::Skipped(count) => skipped += count,
                ReadChain::Newer => panic!("a format of its own"),
                ReadChain::Nothing { torn } => {
                    assert!(!torn);
                    return (records, skipped);
                }
            }
        }
    }

    #[test]
    fn a_log_cannot_be_begun_twice() {
        let dir = tempfile::tempdir().unwrap();
        let step = step(dir.path());
        let _first = LogWriter::create(&step, 1000).unwrap();
        assert_eq!(LogWriter::create(&step, 1000).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    }

    #[test]
    fn behind_the_cut_the_newest_output_is_kept_and_a_reader_that_keeps_up_misses_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let step = step(dir.path());
        let mut log = LogWriter::create(&step, 100_000).unwrap();
        let payload = vec![b'x'; FRAME_PAYLOAD_BYTES_MAX];
        let mut follower = LogChain::open(&step, LogPosition::default());
        let (mut followed, mut position) = (0, LogPosition::default());
        for round in 0..600 {
            assert!(log.append(Stream::Stdout, &payload));
            if round % 50 == 7 {
                follower = LogChain::open(&step, position);
            }
            let (records, skipped) = read_all(&mut follower);
            assert_eq!(skipped, 0);
            assert_eq!(records.first().map(|record| record.sequence), Some(followed));
            followed += records.len() as u64;
            position = follower.position();
        }
        assert_eq!(followed, 601, "600 records and the cut");
        let bytes: u64 = (0..2).map(|slot| std::fs::metadata(step.tail(slot)).unwrap().len()).sum();
        assert!((TAIL_BYTES_MAX..=2 * TAIL_BYTES_MAX).contains(&bytes), "{bytes}");
        let (late, skipped) = read_all(&mut LogChain::open(&step, LogPosition::default()));
        assert_eq!(late.len() as u64 + skipped, 601);
        assert_eq!(late.last().unwrap().sequence, 600);
        assert_eq!(late.iter().filter(|record| record.stream == Stream::Cut).count(), 1);
    }

    #[test]
    fn a_disk_without_room_costs_output_and_says_how_much() {
        let dir = tempfile::tempdir().unwrap();
        let step = step(dir.path());
        let mut log = LogWriter::create(&step, 1 << 20).unwrap();
        assert!(log.append(Stream::Stdout, b"before"));
        let real =
            std::mem::replace(&mut log.file, OpenOptions::new().write(true).open("/dev/full").unwrap());
        assert!(!log.append(Stream::Stdout, b"lost"));
        assert!(!log.append(Stream::Stderr, b"lost too"));
        log.file = real;
        assert!(log.append(Stream::Stdout, b"after"));
        assert_eq!(log.dropped_bytes(), 12);
        let (records, _) = read_all(&mut LogChain::open(&step, LogPosition::default()));
        let streams: Vec<Stream> = records.iter().map(|record| record.stream).collect();
        assert_eq!(streams, [Stream::Stdout, Stream::Gap, Stream::Stdout]);
        assert_eq!(records[1].payload, [12_u64.to_le_bytes(), 2_u64.to_le_bytes()].concat());
        assert_eq!(records[2].sequence, 2);
    }
}
