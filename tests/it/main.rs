#![allow(clippy::unwrap_used, reason = "a failed step of a test is a failed test")]

mod config;
mod config_example;
mod config_secrets;
mod service_files;
