//! Everything that needs more than one pure function: real sockets, real peers that misbehave.

#![allow(clippy::unwrap_used, reason = "a test may panic, also in its helpers")]

mod fake_github;
mod forge_github;
mod forge_local;
mod webhook_address;
mod webhook_send;
