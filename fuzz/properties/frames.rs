//! The log of a step, which a shim writes and a command that is not walled in could bend.

use std::fs::{DirBuilder, File};
use std::io::Write as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;
use std::thread::ThreadId;

use offshoot::process::{BadFrame, LogReader, ReadFrame, Record, Stream};

const MAGIC: &[u8] = b"oFs\xF1";
const HEADER_BYTES: usize = 40;
const PAYLOAD_BYTES_MAX: usize = 64 << 10;

/// A file as it is; where the first byte is odd, with the checksums of all that looks like a frame put right, which no
/// accident does and a malicious writer can.
pub(super) fn log_frames(data: &[u8]) {
    let Some((mode, bytes)) = data.split_first() else { return };
    let mut bytes = bytes.to_vec();
    if mode % 2 == 1 {
        put_checksums_right(&mut bytes);
    }
    let file = Scratch::new(&bytes);
    let (records, rest) = whole_frames(&bytes);
    let found = read(&file, 0, bytes.len());
    assert_eq!(found.len(), records.len() + 1, "as many records, and one end");
    for (record, (offset, expected)) in found.iter().zip(&records) {
        assert_eq!(record, &ReadFrame::Record(expected.clone()), "at {offset}");
    }
    let end = found.last().expect("there is an end");
    match &bytes[rest..] {
        [] => assert_eq!(end, &ReadFrame::End),
        rest if !rest.starts_with(&MAGIC[..rest.len().min(4)]) => {
            assert_eq!(end, &ReadFrame::Bad(BadFrame::Magic));
        }
        _ => assert!(matches!(end, ReadFrame::Incomplete | ReadFrame::Bad(_)), "{end:?}"),
    }
    // who comes back with a place that was given out reads on from there
    if let Some((offset, _)) = records.get(records.len() / 2) {
        assert_eq!(read(&file, *offset, bytes.len()), found[records.len() / 2..]);
    }
}

fn put_checksums_right(bytes: &mut [u8]) {
    let mut at = 0;
    while at + HEADER_BYTES <= bytes.len() {
        let length = u32_at(bytes, at + 32) as usize;
        if !bytes[at..].starts_with(MAGIC) || bytes.len() - at - HEADER_BYTES < length {
            at += 1;
            continue;
        }
        let end = at + HEADER_BYTES + length;
        let sum = checksum(&bytes[at..end]);
        bytes[at + 36..at + 40].copy_from_slice(&sum.to_le_bytes());
        at = end;
    }
}

fn checksum(frame: &[u8]) -> u32 {
    crc32c::crc32c(&[&frame[..36], &frame[HEADER_BYTES..]].concat())
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes[at..at + 4].iter().rev().fold(0, |sum, byte| sum << 8 | u32::from(*byte))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes[at..at + 8].iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

/// The frames at the beginning, with their places, and where they end: format 1, read a second time.
fn whole_frames(bytes: &[u8]) -> (Vec<(u64, Record)>, usize) {
    const STREAMS: [Stream; 8] = [
        Stream::Stdout,
        Stream::Stderr,
        Stream::In,
        Stream::Released,
        Stream::Slept,
        Stream::Gap,
        Stream::Cut,
        Stream::Note,
    ];
    let (mut records, mut at) = (Vec::new(), 0);
    loop {
        let frame = &bytes[at..];
        if frame.len() < HEADER_BYTES || !frame.starts_with(MAGIC) || frame[4] != 1 {
            return (records, at);
        }
        let length = u32_at(frame, 32) as usize;
        let stream = usize::from(frame[5]).checked_sub(1).and_then(|code| STREAMS.get(code));
        let is_whole = length <= PAYLOAD_BYTES_MAX && frame.len() - HEADER_BYTES >= length;
        let (true, Some(stream)) = (is_whole, stream) else { return (records, at) };
        let frame = &frame[..HEADER_BYTES + length];
        if checksum(frame) != u32_at(frame, 36) {
            return (records, at);
        }
        let record = Record {
            sequence: u64_at(frame, 8),
            monotonic_ms: u64_at(frame, 16),
            wall_ms: u64_at(frame, 24).cast_signed(),
            stream: *stream,
            payload: frame[HEADER_BYTES..].to_vec(),
        };
        records.push((at as u64, record));
        at += frame.len();
    }
}

/// All that is given out from `offset` on, with what ends it.
fn read(file: &Scratch, offset: u64, bytes: usize) -> Vec<ReadFrame> {
    let mut reader = LogReader::open(&file.file(), offset).expect("the file opens");
    let mut found = Vec::new();
    loop {
        let before = reader.offset();
        let next = reader.next().expect("the file is read");
        let is_over = !matches!(next, ReadFrame::Record(_));
        assert_eq!(reader.offset() > before, !is_over, "a record moves on, nothing else does");
        assert!(reader.offset() <= bytes as u64, "never behind the end");
        found.push(next);
        if is_over {
            return found;
        }
    }
}

/// A file in a directory of its own, which nobody else can have put there.
struct Scratch(PathBuf);

impl Scratch {
    fn new(bytes: &[u8]) -> Self {
        let taken = std::io::ErrorKind::AlreadyExists;
        for number in 0_u64.. {
            let thread: ThreadId = std::thread::current().id();
            let name = format!("offshoot-frames-{}-{thread:?}-{number}", std::process::id());
            let dir = std::env::temp_dir().join(name.replace(['(', ')'], ""));
            match DirBuilder::new().mode(0o700).create(&dir) {
                Err(error) if error.kind() == taken => continue,
                made => made.expect("a temporary directory"),
            }
            let scratch = Self(dir);
            let mut file = File::create_new(scratch.file()).expect("a temporary file");
            file.write_all(bytes).expect("a temporary file is written");
            return scratch;
        }
        unreachable!("there is always a further number")
    }

    fn file(&self) -> PathBuf {
        self.0.join("frames")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
