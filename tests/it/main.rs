//! Everything that needs more than pure logic: real git, real SQLite, real processes, peers that misbehave on order.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails, and says where")]

mod agent;
mod agent_transcripts;
mod config;
mod config_example;
mod config_secrets;
mod service_files;
