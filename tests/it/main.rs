//! Integration tests: real programs, real files, one binary.

mod agent;
mod agent_transcripts;
mod config;
mod config_example;
mod config_secrets;
mod git;
mod git_fixture;
mod git_hostile;
mod git_remote;
mod git_vectors;
mod service_files;
mod webhook_address;
mod webhook_send;
