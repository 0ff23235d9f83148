//! Reads the log of a step as one: the head, then the tail files as they replace each other.

use std::io;
use std::os::unix::fs::MetadataExt;

use super::frame::{BadFrame, LogPosition, Record};
use super::reader::{LogReader, ReadFrame};
use crate::process::StepDir;

/// One look at the log.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::process) enum ReadChain {
    Record(Record),
    /// So many records were overwritten in the tail files before they were read; the next one follows.
    Skipped(u64),
    /// What follows was written by a newer program.
    Newer,
    /// Nothing more at present. `torn`: there are bytes, but they are no record.
    Nothing {
        torn: bool,
    },
}

/// Reader of a whole step log. Position offsets count in the head only: behind its end the sequence number
/// finds the place, by reading at most two tail files again.
#[derive(Debug)]
pub(in crate::process) struct LogChain {
    step: StepDir,
    position: LogPosition,
    file: Option<Open>,
}

#[derive(Debug)]
struct Open {
    reader: LogReader,
    is_head: bool,
}

/// A tail file that holds at least one record.
struct TailFile {
    reader: LogReader,
    first: u64,
}

impl LogChain {
    /// Touches no file yet: the log may not exist before the step is released.
    pub(in crate::process) fn open(step: &StepDir, from: LogPosition) -> Self {
        Self { step: step.clone(), position: from, file: None }
    }

    /// Behind the last record that was given out.
    pub(in crate::process) fn position(&self) -> LogPosition {
        self.position
    }

    /// The next record.
    pub(in crate::process) fn next(&mut self) -> io::Result<ReadChain> {
        loop {
            // What comes next is looked up before this file is read: once a successor exists this file is complete.
            let successor = self.find_successor()?;
            let Some(open) = &mut self.file else {
                match LogReader::open(&self.step.log(), self.position.offset) {
                    Ok(reader) => self.file = Some(Open { reader, is_head: true }),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {
                        return Ok(ReadChain::Nothing { torn: false });
                    }
                    Err(error) => return Err(error),
                }
                continue;
            };
            match open.reader.next()? {
                ReadFrame::Record(record) if record.sequence < self.position.sequence => {}
                ReadFrame::Record(record) => {
                    self.position.sequence = record.sequence + 1;
                    if open.is_head {
                        self.position.offset = open.reader.offset();
                    }
                    return Ok(ReadChain::Record(record));
                }
                ReadFrame::Bad(BadFrame::Format) => return Ok(ReadChain::Newer),
                other => {
                    let Some(next) = successor else {
                        return Ok(ReadChain::Nothing { torn: other != ReadFrame::End });
                    };
                    let skipped = next.first.saturating_sub(self.position.sequence);
                    self.position.sequence += skipped;
                    self.file = Some(Open { reader: next.reader, is_head: false });
                    if skipped > 0 {
                        return Ok(ReadChain::Skipped(skipped));
                    }
                }
            }
        }
    }

    /// The tail file to go on with behind the present file: the one that holds the next record, else the next newer.
    fn find_successor(&self) -> io::Result<Option<TailFile>> {
        let Some(open) = &self.file else { return Ok(None) };
        if open.reader.has_pending() {
            return Ok(None);
        }
        let mut found: Option<TailFile> = None;
        for slot in 0..2 {
            let path = self.step.tail(slot);
            let Some(inode) = inode(&path)? else { continue };
            if !open.is_head && open.reader.inode()? == inode {
                continue;
            }
            let mut reader = LogReader::open(&path, 0)?;
            let ReadFrame::Record(record) = reader.next()? else { continue };
            let (first, wanted) = (record.sequence, self.position.sequence);
            let better = match &found {
                None => true,
                // Both begin at or before the wanted record: the later one holds it. Else the earlier one is nearer.
                Some(other) if first <= wanted => first > other.first || other.first > wanted,
                Some(other) => other.first > wanted && first < other.first,
            };
            if better {
                found = Some(TailFile { reader: LogReader::open(&path, 0)?, first });
            }
        }
        // The other file may be the older one.
        Ok(found.filter(|tail| open.is_head || tail.first >= self.position.sequence))
    }
}

fn inode(path: &std::path::Path) -> io::Result<Option<u64>> {
    match std::fs::symlink_metadata(path) {
        Ok(metadata) => Ok(Some(metadata.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
