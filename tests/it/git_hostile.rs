//! What an agent can prepare.
