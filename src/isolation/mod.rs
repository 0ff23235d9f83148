//! What the programs of a job are kept inside of: a sandbox of the system's own making, so that an agent can harm its own
//! worktree and nothing else.
//!
//! Promises: a *wrapper*, the arguments of a program that starts another one inside. In there the system and the home
//! directory are read-only, what holds secrets is not there ([`hidden`](mod@hidden), [`closed`](mod@closed)), nor are the server's own
//! places and the other worktrees; temporary directories are its own, and so are its process numbers. Where the kernel has Landlock,
//! sockets with abstract names of others are out of reach too (`line.rs`), as are the kernel's keyrings (`calls.rs`) and what listens
//! under a name in the file system when the walls are put up ([`sockets`]). What may be written
//! is named one by one, and what the server or its owner runs outside stays as it is even there (`pins.rs`). [`Sandbox`] says whether that works on this machine, by trying it.
//!
//! Must not know: jobs, agents, git, the configuration. What is to be shown and what not comes in as paths.
//!
//! Fails: closed. Where the sandbox does not work there is no wrapper, with the reason in words; a path that cannot be
//! named makes none either, nor does more to close than a sandbox can be told. What a program can do inside is the kernel's to hold, not ours.
//!
//! Tested: the argument lists beside the code, the walls by whole servers with agents that try them
//! (`tests/it/life_sandbox.rs`; docs/security.md has a row for each). The profile for macOS (`seatbelt.rs`) is a text that
//! nobody has run yet: there every job works without a sandbox, and says so.

mod bubblewrap;
mod calls;
pub mod closed;
pub mod hidden;
mod line;
mod pins;
mod probe;
pub mod seatbelt;
pub mod sockets;

pub use bubblewrap::{Bind, Inside, Unnameable, is_fresh, wrapper};
pub use line::walls_main;
pub use pins::{Held, of_dir, of_program};
pub use probe::{Found, Sandbox};
