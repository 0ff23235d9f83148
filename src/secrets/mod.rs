//! What looks like a secret, and what is one: keys of well-known services by their shape, and the values that the owner's
//! configuration holds.
//!
//! Promises: a file of any size is looked through in one pass, within bounds that depend on how much of it looks like a key
//! and not on how it is laid out. What the file had before is not told again. A finding tells where and of which kind; what was found stands in
//! nobody's message, log or `Debug`. Its fingerprint is the same wherever the value stands, and needs the server's own key
//! to be computed: who reads it can try no guesses.
//!
//! Must not know: git, jobs, policies, where values come from, what becomes of a finding.
//!
//! Fails: never. What it cannot know it does not find: a secret of no known shape, or one that somebody wrapped up on purpose.
//! It is there for accidents.
//!
//! Tested: by two tables beside the code (`tests/`), of what must be found and of what must not.

mod known;
mod made_up;
mod rules;
mod scanner;

pub use known::Known;
pub use scanner::{Content, Finding, Scanner, What};

#[cfg(test)]
mod tests;
