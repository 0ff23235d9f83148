//! The other end of the Agent Client Protocol: `offshoot acp [OPTIONS] -- COMMAND ARGS`, the program of a step whose agent
//! speaks nothing else.
//!
//! Promises: it starts COMMAND with pipes, asks it what the prompt on its own standard input says, and prints what that says
//! as it comes, a line each, with lines of its own for what is no notification: how the conversation began, how a question
//! was answered, how the turn ended (`said.rs`). Every line of the agent is printed, after its answer as far as 16 MiB: one that is no word of
//! the turn (before the prompt, answers, whatever could be taken for a line of ours) as `{"acp":"heard","line":…}`. Every step of the conversation has a deadline, every question is answered at once
//! by `--mode`, and whatever else it is asked for it does not do: the agent works with its own tools in its own directory. A
//! signal becomes `session/cancel`. It holds one line of the agent and a bounded number of answers at a time. What a look has started
//! (`--probe`) is gone with it. Its exit code is the agent's where
//! that went without an answer.
//!
//! Must not know: jobs, the server, the store, what the words of the agent mean. Of the crate it imports `agent` alone, for the
//! cutting and reading of lines, what an id may be, and what is kept of things that an agent names.
//!
//! Fails: with a line that says at which step and why, never without; an agent that is gone tells by its exit.
//!
//! Tested: options, answers and the sorting of lines beside the code; everything else in `tests/it/life_acp.rs` on whole
//! servers with an agent in Python, and with the real ones in `tests/rig`.

mod child;
mod conversation;
mod deciding;
mod envelope;
mod heard;
mod lines;
mod order;
mod parting;
mod policy;
mod said;
mod settings;
mod signals;
mod uses;

use std::ffi::OsString;
use std::io::Read as _;
use std::process::ExitCode;

use order::Order;
use said::{Said, Speaker};

/// More than any caller may send as a prompt, with the instructions before it.
const PROMPT_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Holds one conversation: the hidden subcommand `acp`. `arguments` are those behind it.
#[must_use]
pub fn acp_main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let speaker = Speaker::new(Box::new(std::io::stdout()));
    let begun = Order::read(arguments).map_err(str::to_owned).and_then(|order| {
        let prompt = if order.is_probe { String::new() } else { read_prompt()? };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        Ok((order, prompt, runtime.map_err(|error| error.to_string())?))
    });
    match begun {
        Ok((order, prompt, runtime)) => runtime.block_on(conversation::hold(&order, prompt, &speaker)),
        Err(why) => {
            speaker.say(&Said::failed("start", &why));
            ExitCode::FAILURE
        }
    }
}

fn read_prompt() -> Result<String, String> {
    let mut bytes = Vec::new();
    let read = std::io::stdin().lock().take(PROMPT_BYTES_MAX + 1).read_to_end(&mut bytes);
    read.map_err(|error| format!("the prompt cannot be read: {error}"))?;
    if bytes.len() as u64 > PROMPT_BYTES_MAX {
        return Err(format!("the prompt is longer than {PROMPT_BYTES_MAX} bytes"));
    }
    String::from_utf8(bytes).map_err(|_| "the prompt is not UTF-8".to_owned())
}
