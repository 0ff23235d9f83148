//! Integration tests: real programs, real files, one binary.

mod agent;
mod agent_transcripts;
mod git;
mod git_fixture;
mod git_hostile;
mod git_remote;
mod git_vectors;
mod webhook_address;
mod webhook_send;
mod config;
mod config_example;
mod config_secrets;
mod service_files;
