//! What must hold of every reader of foreign text and bytes, whatever it is given.
//!
//! Promises: one function a target ([`TARGETS`]); it panics when a promise is broken and returns otherwise. What is right is
//! written here a second time and in another way than in the program (rules of git, tables of addresses, a decoder of
//! frames), so that both would have to be wrong alike.
//!
//! Must not know: how the inputs come about. Two sides use it: `fuzz_targets/`, where libFuzzer looks for inputs, and
//! `tests/it/fuzz.rs`, which replays the kept ones and some thousand seeded mutations of them in every run of the tests.
//! It reaches what is public in the crate and nothing else: no door was made for it.
//!
//! Fails: by panicking, with the input's part in words. Tested: by breaking the program; README.md has the list.

mod address;
mod agents;
mod frames;
mod names;
mod retry_after;

pub use names::git_accepts;

/// A target: its name, which is that of its corpus and of its program, and what must hold.
pub struct Target {
    pub name: &'static str,
    pub check: fn(&[u8]),
}

pub const TARGETS: &[Target] = &[
    Target { name: "branch", check: names::branch },
    Target { name: "repository", check: names::repository },
    Target { name: "callback_url", check: address::callback_url },
    Target { name: "vetting", check: address::vetting },
    Target { name: "allow_entry", check: address::allow_entry },
    Target { name: "retry_after", check: retry_after::retry_after },
    Target { name: "claude", check: agents::claude },
    Target { name: "codex", check: agents::codex },
    Target { name: "gemini", check: agents::gemini },
    Target { name: "opencode", check: agents::opencode },
    Target { name: "acp", check: agents::acp },
    Target { name: "log_frames", check: frames::log_frames },
];

/// Runs the target of this name.
///
/// # Panics
/// When there is none, or a promise is broken.
pub fn check(name: &str, data: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name).expect("a target of this name");
    (target.check)(data);
}
