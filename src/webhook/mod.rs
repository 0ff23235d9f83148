//! Callbacks to the caller's server: who may be called, how the call is signed, how it is sent, when it is repeated.
//!
//! Promises:
//! - only an address that [`vet`] passed is ever dialled, and cloud metadata or a listener of this very server never,
//!   whatever the configuration allows;
//! - a try ends by itself ([`TRY_SECONDS_MAX`]), follows no redirect, uses no proxy, keeps at most [`ANSWER_BYTES_MAX`];
//! - the same event carries the same id and bytes in every try; only timestamp and signature are fresh.
//!
//! Must not know: jobs, the store, what the bytes mean. It receives bytes and an event id.
//!
//! Fails: [`AddressError`] for a URL nobody may call, [`SignatureError`] for an unusable secret, and
//! [`SendResult::Failed`] with a [`FailureKind`] for everything the network can do. Whether to try again is
//! [`schedule::Schedule::next_delay`]'s answer and the caller's decision.
//!
//! Tested: signatures against published vectors and the schedule by table beside the code; addresses by a table of
//! hundreds of spellings and sending against receivers that misbehave on order in `tests/it/webhook_*.rs`; limits and
//! waits of a server that is configured as it comes in `tests/it/life_callback_tries.rs`.

mod address;
mod policy;
mod retry_after;
pub mod schedule;
mod send;
mod signature;
mod tls;

pub use crate::domain::address_class::{AddressClass, classify};
pub use crate::domain::allow::{AllowEntry, AllowEntryError};
pub use address::{AddressError, CallbackUrl, URL_BYTES_MAX, check_url, vet};
pub use policy::Policy;
pub use retry_after::parse_retry_after;
pub use send::{
    ANSWER_BYTES_MAX, CONNECT_SECONDS_MAX, Carrier, FailureKind, Post, SendLimits, SendRequest, SendResult,
    Sender, TRY_SECONDS_MAX,
};
pub use signature::{
    HEADER_AGENT_SIGNATURE, HEADER_ID, HEADER_SIGNATURE, HEADER_TIMESTAMP, SignatureError, SigningSecrets,
    Style, TOLERANCE_SECONDS, verify_agent, verify_standard,
};
