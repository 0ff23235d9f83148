//! One frame of the log: format 1.
//!
//! Little-endian: magic (4), format (1), stream (1), zero (2), sequence (8), monotonic ms (8), wall ms (8),
//! payload length (4), crc32c of all other header bytes and the payload (4), payload.

/// Never zero bytes: a file that was extended but not written must not look like frames.
const MAGIC: [u8; 4] = *b"oFs\xF1";
const FORMAT: u8 = 1;

/// Bytes before the payload.
pub(super) const HEADER_BYTES: usize = 40;

/// Largest payload: one pipe buffer, so that one read of a pipe makes one frame.
pub(in crate::process) const FRAME_PAYLOAD_BYTES_MAX: usize = 64 << 10;

/// What a record holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Bytes of the command's standard output, cut anywhere.
    Stdout,
    /// Bytes of its standard error, cut anywhere.
    Stderr,
    /// A message for its standard input, before it was written: length of the id (1), id, a piece of the text.
    In,
    /// The barrier was opened; the command is about to be started.
    Released,
    /// Milliseconds (8, little-endian) by which wall time outran awake time: the machine slept.
    Slept,
    /// Output that found no room on the disk: bytes (8), records (8).
    Gap,
    /// The head of the log is full (its size limit, 8); the newest output follows in the tail files.
    Cut,
    /// UTF-8 text of the shim itself.
    Note,
}

impl Stream {
    const ALL: [(u8, Self); 8] = [
        (1, Self::Stdout),
        (2, Self::Stderr),
        (3, Self::In),
        (4, Self::Released),
        (5, Self::Slept),
        (6, Self::Gap),
        (7, Self::Cut),
        (8, Self::Note),
    ];

    fn code(self) -> u8 {
        Self::ALL.iter().find(|(_, stream)| *stream == self).map_or(0, |(code, _)| *code)
    }

    fn from_code(code: u8) -> Option<Self> {
        Self::ALL.iter().find(|(known, _)| *known == code).map(|(_, stream)| *stream)
    }
}

/// Where a reader stands: store it with what was read, hand it back to go on. The default is the beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogPosition {
    /// Byte offset in the head of the log.
    pub offset: u64,
    /// Number of the next record.
    pub sequence: u64,
}

/// One whole record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Counts from 0 without holes.
    pub sequence: u64,
    /// Milliseconds of a clock that never jumps and stands while the machine sleeps.
    pub monotonic_ms: u64,
    /// Unix milliseconds.
    pub wall_ms: i64,
    /// What it is.
    pub stream: Stream,
    /// At most 64 KiB.
    pub payload: Vec<u8>,
}

/// Why bytes are not a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadFrame {
    /// No frame begins here; zeros of an unwritten block look like this.
    #[error("no frame begins here")]
    Magic,
    /// Written by a newer program.
    #[error("unknown log format")]
    Format,
    /// No frame has such a payload.
    #[error("impossible length")]
    Length,
    /// The bytes changed after they were written, or were never all written.
    #[error("checksum does not match")]
    Checksum,
}

/// What the first bytes of a slice are.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Decoded {
    Record {
        record: Record,
        frame_bytes: usize,
    },
    /// A beginning of a frame.
    Incomplete,
    Bad(BadFrame),
}

/// Appends one frame to `buffer`. The payload has at most [`FRAME_PAYLOAD_BYTES_MAX`] bytes.
pub(super) fn encode(
    buffer: &mut Vec<u8>,
    sequence: u64,
    monotonic_ms: u64,
    wall_ms: i64,
    stream: Stream,
    payload: &[u8],
) {
    debug_assert!(payload.len() <= FRAME_PAYLOAD_BYTES_MAX);
    let start = buffer.len();
    buffer.extend_from_slice(&MAGIC);
    buffer.extend_from_slice(&[FORMAT, stream.code(), 0, 0]);
    buffer.extend_from_slice(&sequence.to_le_bytes());
    buffer.extend_from_slice(&monotonic_ms.to_le_bytes());
    buffer.extend_from_slice(&wall_ms.to_le_bytes());
    buffer.extend_from_slice(&u32::try_from(payload.len()).unwrap_or(u32::MAX).to_le_bytes());
    let checksum = crc32c::crc32c_append(crc32c::crc32c(&buffer[start..]), payload);
    buffer.extend_from_slice(&checksum.to_le_bytes());
    buffer.extend_from_slice(payload);
}

pub(super) fn decode(bytes: &[u8]) -> Decoded {
    let known = bytes.len().min(MAGIC.len());
    if bytes[..known] != MAGIC[..known] {
        return Decoded::Bad(BadFrame::Magic);
    }
    if bytes.get(4).is_some_and(|format| *format != FORMAT) {
        return Decoded::Bad(BadFrame::Format);
    }
    if bytes.len() < HEADER_BYTES {
        return Decoded::Incomplete;
    }
    let length = u32::from_le_bytes(array(bytes, 32)) as usize;
    if length > FRAME_PAYLOAD_BYTES_MAX {
        return Decoded::Bad(BadFrame::Length);
    }
    let frame_bytes = HEADER_BYTES + length;
    let Some(payload) = bytes.get(HEADER_BYTES..frame_bytes) else { return Decoded::Incomplete };
    let checksum = crc32c::crc32c_append(crc32c::crc32c(&bytes[..36]), payload);
    if checksum != u32::from_le_bytes(array(bytes, 36)) {
        return Decoded::Bad(BadFrame::Checksum);
    }
    let Some(stream) = Stream::from_code(bytes[5]) else { return Decoded::Bad(BadFrame::Format) };
    let record = Record {
        sequence: u64::from_le_bytes(array(bytes, 8)),
        monotonic_ms: u64::from_le_bytes(array(bytes, 16)),
        wall_ms: i64::from_le_bytes(array(bytes, 24)),
        stream,
        payload: payload.to_vec(),
    };
    Decoded::Record { record, frame_bytes }
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(&bytes[at..at + N]);
    array
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stream() -> impl Strategy<Value = Stream> {
        (0..Stream::ALL.len()).prop_map(|index| Stream::ALL[index].1)
    }

    #[test]
    fn format_1_is_pinned_byte_for_byte() {
        let golden = hex::decode(include_str!("format-1.hex").replace('\n', "")).unwrap();
        let mut written = Vec::new();
        for (sequence, (_, stream)) in Stream::ALL.iter().enumerate() {
            let payload = format!("payload {sequence} \u{fc}");
            encode(
                &mut written,
                sequence as u64,
                1_000 + sequence as u64,
                1_700_000_000_000,
                *stream,
                payload.as_bytes(),
            );
        }
        assert_eq!(hex::encode(&written), hex::encode(golden));
    }

    #[test]
    fn zeros_are_no_frame() {
        for length in [1, 4, 40, 4096] {
            assert_eq!(decode(&vec![0; length]), Decoded::Bad(BadFrame::Magic));
        }
        assert_eq!(decode(&[]), Decoded::Incomplete);
    }

    #[test]
    fn a_newer_format_and_an_impossible_length_are_told_apart() {
        let mut frame = Vec::new();
        encode(&mut frame, 0, 0, 0, Stream::Note, b"x");
        let mut newer = frame.clone();
        newer[4] = 2;
        assert_eq!(decode(&newer), Decoded::Bad(BadFrame::Format));
        let mut long = frame;
        long[34] = 0xff;
        assert_eq!(decode(&long), Decoded::Bad(BadFrame::Length));
    }

    proptest! {
        #[test]
        fn what_was_encoded_is_decoded(
            sequence: u64, monotonic_ms: u64, wall_ms: i64, stream in stream(),
            payload in proptest::collection::vec(any::<u8>(), 0..2000),
        ) {
            let mut frame = Vec::new();
            encode(&mut frame, sequence, monotonic_ms, wall_ms, stream, &payload);
            let frame_bytes = frame.len();
            frame.extend_from_slice(b"more");
            let record = Record { sequence, monotonic_ms, wall_ms, stream, payload };
            prop_assert_eq!(decode(&frame), Decoded::Record { record, frame_bytes });
        }

        #[test]
        fn every_beginning_is_incomplete_and_every_flipped_bit_is_noticed(
            payload in proptest::collection::vec(any::<u8>(), 0..300), cut: prop::sample::Index, bit: prop::sample::Index,
        ) {
            let mut frame = Vec::new();
            encode(&mut frame, 3, 4, 5, Stream::Stdout, &payload);
            prop_assert_eq!(decode(&frame[..cut.index(frame.len())]), Decoded::Incomplete);
            let bit = bit.index(frame.len() * 8);
            frame[bit / 8] ^= 1 << (bit % 8);
            let noticed = !matches!(decode(&frame), Decoded::Record { .. });
            prop_assert!(noticed);
        }
    }
}
