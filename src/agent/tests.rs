//! What the adapters' tests start from.

use std::path::PathBuf;

use super::{Invocation, Session};

pub(super) const SESSION: &str = "0bd3fb1e-6a5c-4b8f-9f4e-0d6c9c8f2a11";

/// A new session of a program in `/w/tree`, with a prompt that a careless command line takes for an option, and nothing else wished for.
pub(super) fn invocation(program: &str) -> Invocation {
    Invocation {
        program: vec![program.to_owned()],
        prompt: "--help and fix it".to_owned(),
        working_dir: PathBuf::from("/w/tree"),
        attachments: Vec::new(),
        model: None,
        effort: None,
        permission_mode: None,
        allowed_tools: None,
        disallowed_tools: vec![],
        max_turns: None,
        max_budget_usd_micros: None,
        append_system_prompt: None,
        session: Session::New { id: SESSION.to_owned() },
        sandboxed: false,
        as_root: false,
    }
}
