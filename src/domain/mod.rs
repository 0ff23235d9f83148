//! What `offshoot` is about, as plain values and pure functions.
//!
//! Promises: every rule about jobs, branches, retries and reasons is decided here, from its arguments alone, so that it
//! can be read in one place and tested as a table. [`lifecycle`] is the only place where a status changes its value.
//!
//! Must not know: time sources, files, SQL, HTTP, JSON, processes. It imports nothing of the crate but itself, and has
//! no serde: what crosses a boundary has a type of its own in `wire` or beside the boundary.
//!
//! Fails: by returning an error value that names the broken rule. Tested: beside the code.

pub mod address_class;
pub mod agent_kind;
pub mod allow;
pub mod artifact;
pub mod attachment;
pub mod attempt;
pub mod branch;
pub mod client;
pub mod delivery;
pub mod event;
pub mod glob;
pub mod hold;
pub mod id;
pub mod inward;
pub mod job;
pub mod lifecycle;
pub mod limit;
pub(crate) mod named;
pub mod notice;
pub mod options;
pub mod phrases;
pub mod policy;
pub mod profile;
pub mod reason;
pub mod retention;
pub mod retry;
pub mod step_limit;
pub mod template;
pub mod time;
pub mod token;
pub mod usage;
pub mod visit;
