//! `offshoot`: a job queue for coding agents on one's own machine.
//!
//! Start with `docs/ARCHITECTURE.md`: it follows one job through these folders.

pub mod acp;
pub mod agent;
pub mod api_client;
pub mod app;
pub mod awake;
pub mod background;
pub mod cli;
pub mod clock;
pub mod config;
pub mod daemon;
pub mod demo;
pub mod doctor;
pub mod domain;
pub mod failpoint;
pub mod forge;
pub mod git;
pub mod http;
pub mod isolation;
pub mod metrics;
pub mod notify;
pub mod process;
pub mod secrets;
pub mod service;
pub mod store;
pub mod telemetry;
pub mod upkeep;
pub mod web;
pub mod webhook;
pub mod wire;
pub mod worker;
