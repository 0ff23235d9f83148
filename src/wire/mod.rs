//! Every JSON shape that others rely on: answers, requests, callbacks, events, and the options column of the store.
//!
//! Promises: names are camelCase; a documented member is always present, `null` when empty; times are RFC 3339 in UTC
//! with milliseconds; money is a number of dollars. A request is read leniently by [`fields`]: all faults are found at
//! once, each with a JSON pointer, and members that nobody knows become warnings instead of errors.
//!
//! Must not know: HTTP, SQL, files, the present time. It turns `domain` values into JSON and back, and decides nothing
//! about jobs. Every answer can be read back too, because the command line reads what the server writes.
//!
//! Fails: with a list of [`problem::Fault`]s; rendering cannot fail. Tested: snapshots and tables beside the code.

pub mod attachment;
pub mod attempt;
pub mod audit;
pub mod backup;
pub mod callback;
pub mod changes;
pub mod client;
pub mod delivery;
pub mod diff;
pub mod doctor;
pub mod event;
pub mod fields;
pub mod gc;
pub mod health;
pub mod inward;
pub mod job;
pub mod live;
pub mod message;
pub mod notice;
pub mod options;
pub mod pass;
pub mod problem;
pub mod profile;
pub mod queue;
pub mod request;
pub mod session;
pub mod snapshot;
pub mod sync;
pub mod time;
pub mod token;
pub mod told;
pub mod usage;
pub mod visit;
pub mod words;
