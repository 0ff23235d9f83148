//! Domain types.
pub mod options;
