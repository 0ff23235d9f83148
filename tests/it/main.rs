//! Everything that needs more than pure logic: real git, real SQLite, real processes, peers that misbehave on order.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails, and says where")]

mod agent;
mod agent_transcripts;
mod api_calls;
mod api_stop;
mod cli;
mod cli_api;
mod cli_fake;
mod config;
mod config_example;
mod config_secrets;
mod fake_github;
mod forge_github;
mod forge_local;
mod git;
mod git_fixture;
mod git_hostile;
mod git_remote;
mod git_vectors;
mod life_branches;
mod life_ends;
mod life_holds;
mod life_main;
mod openapi;
mod process;
mod process_log;
mod process_rig;
mod process_tree;
mod readme;
mod reasons;
mod service_files;
mod stand;
mod tidy;
mod tidy_source;
mod webhook_address;
mod webhook_send;
