//! The framed log of a step: written by one shim, read by anybody at any time.
//!
//! Promises: a record is whole and unchanged or it is not given out; sequence numbers rise by one, so a reader
//! that stores [`LogPosition`] resumes without gap or repetition; memory stays bounded by one frame of 64 KiB
//! whatever the command writes. Bytes are kept as they came.
//!
//! Must not know: what the bytes mean, whether anybody reads them.
//!
//! Fails: a full disk loses output, never the log: the torn frame is cut off, lost bytes are counted, a `gap`
//! record follows when there is room. Readers tell a frame still being written from a broken one.
//!
//! Tested: here with properties over random records, cuts and flipped bits; a golden file pins format 1.

mod chain;
mod frame;
mod reader;
mod writer;

pub(super) use chain::{LogChain, ReadChain};
pub(super) use frame::FRAME_PAYLOAD_BYTES_MAX;
pub use frame::{BadFrame, LogPosition, Record, Stream};
pub use reader::{LogReader, ReadFrame};
pub(super) use writer::LogWriter;
