//! store
pub(crate) mod sqlite;
