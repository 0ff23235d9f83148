//! demo
pub mod agent;
pub mod sample;
