//! Claude's stream-json as the scripted agent prints it: only the fields that tell something.

use super::VERSION_LINE;
use serde_json::{Value, json};
use std::io::Write;
use std::path::Path;

/// Prints events, and counts turns and tokens so that the last event can sum them up. A reader that went away is
/// ignored: real agents go on working, too.
pub(super) struct Speaker<W> {
    out: W,
    session_id: String,
    cwd: String,
    turns: u64,
    output_tokens: u64,
    /// Millionths of a dollar, besides what the tokens cost.
    spent: u64,
    denials: Vec<Value>,
}

/// The last event.
pub(super) struct Ending {
    subtype: &'static str,
    is_error: bool,
    terminal_reason: &'static str,
    status: Option<u64>,
    text: String,
}

impl Ending {
    pub(super) fn done(text: &str) -> Self {
        Self::new("success", false, "completed", None, text)
    }

    /// As the real program says it: a success that is an error.
    pub(super) fn api_error(status: Option<u64>, text: &str) -> Self {
        Self::new("success", true, "api_error", status, text)
    }

    pub(super) fn out_of_budget() -> Self {
        Self::new("error_max_budget_usd", true, "budget_exhausted", None, "Reached maximum budget")
    }

    pub(super) fn broken(text: &str) -> Self {
        Self::new("error_during_execution", true, "error", None, text)
    }

    fn new(
        subtype: &'static str,
        is_error: bool,
        terminal_reason: &'static str,
        status: Option<u64>,
        text: &str,
    ) -> Self {
        Self { subtype, is_error, terminal_reason, status, text: text.to_owned() }
    }
}

/// An invented price: one input token costs 3 and one output token 15 millionths of a dollar.
const PRICE: (f64, f64) = (3e-6, 15e-6);

/// What every turn is said to read.
const INPUT_TOKENS_PER_TURN: u64 = 1_200;

impl<W: Write> Speaker<W> {
    pub(super) fn new(out: W, session_id: String, cwd: &Path) -> Self {
        let cwd = cwd.to_string_lossy().into_owned();
        Self { out, session_id, cwd, turns: 0, output_tokens: 0, spent: 0, denials: Vec::new() }
    }

    pub(super) fn init(&mut self, auth: &str) {
        let version = VERSION_LINE.split(' ').next().unwrap_or_default();
        let cwd = self.cwd.clone();
        self.print(json!({
            "type": "system", "subtype": "init", "cwd": cwd, "tools": ["Bash", "Edit", "Read", "Write"],
            "mcp_servers": [], "model": "scripted", "permissionMode": "acceptEdits", "apiKeySource": auth,
            "claude_code_version": version,
        }));
    }

    pub(super) fn say(&mut self, text: &str) {
        self.assistant(&json!({"type": "text", "text": text}));
    }

    /// Prints the use of a tool and gives the id by which its result is named.
    pub(super) fn tool_use(&mut self, name: &str, input: &Value) -> String {
        let id = format!("toolu_scripted_{}", self.turns + 1);
        self.assistant(&json!({"type": "tool_use", "id": id, "name": name, "input": input}));
        id
    }

    pub(super) fn tool_result(&mut self, id: &str, ok: bool, text: &str) {
        self.print(json!({
            "type": "user",
            "message": {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": id, "content": text, "is_error": !ok},
            ]},
        }));
    }

    /// A question to whoever could allow a tool.
    pub(super) fn asks(&mut self, tool: &str) {
        self.print(json!({
            "type": "control_request", "request_id": "req_scripted",
            "request": {"subtype": "can_use_tool", "tool_name": tool, "input": {}},
        }));
    }

    /// A tool that the agent may not use, and words that pretend otherwise.
    pub(super) fn denied(&mut self, tool: &str, path: &Path) {
        let input = json!({"file_path": path, "content": "x\n"});
        let id = self.tool_use(tool, &input);
        let message = format!("The permission to use {tool} was not granted.");
        self.print(json!({
            "type": "system", "subtype": "permission_denied", "tool_name": tool, "tool_use_id": id,
            "message": message,
        }));
        self.tool_result(&id, false, &message);
        self.denials.push(json!({"tool_name": tool, "tool_use_id": id, "tool_input": input}));
        self.say("Created the file.");
    }

    pub(super) fn retry(&mut self, attempt: u64, max: u64, status: u64) {
        self.print(json!({
            "type": "system", "subtype": "api_retry", "attempt": attempt, "max_retries": max,
            "retry_delay_ms": 0, "error_status": status, "error": "server_error",
        }));
    }

    pub(super) fn limit_reached(&mut self, resets_at: u64, window: &str) {
        self.print(json!({
            "type": "rate_limit_event",
            "rate_limit_info": {
                "status": "rejected", "resetsAt": resets_at, "rateLimitType": window, "isUsingOverage": false,
            },
        }));
    }

    /// The message that agents print instead of a model's answer when they got none. It costs nothing.
    pub(super) fn api_error_message(&mut self, tag: &str, text: &str) {
        self.print(json!({
            "type": "assistant", "error": tag, "parent_tool_use_id": null,
            "message": {
                "id": "msg_scripted_error", "role": "assistant", "model": "<synthetic>",
                "content": [{"type": "text", "text": text}],
                "usage": {"input_tokens": 0, "output_tokens": 0},
            },
        }));
    }

    /// As if the model had cost so many millionths of a dollar more.
    pub(super) fn spend(&mut self, micro_usd: u64) {
        self.spent += micro_usd;
    }

    /// US dollars so far.
    #[expect(clippy::cast_precision_loss, reason = "small numbers, and the price is invented")]
    pub(super) fn cost(&self) -> f64 {
        let input_tokens = self.turns * INPUT_TOKENS_PER_TURN;
        let tokens = input_tokens as f64 * PRICE.0 + self.output_tokens as f64 * PRICE.1;
        tokens + self.spent as f64 / 1e6
    }

    pub(super) fn result(&mut self, ending: &Ending) {
        let (input_tokens, cost) = (self.turns * INPUT_TOKENS_PER_TURN, self.cost());
        let usage = json!({"scripted": {
            "inputTokens": input_tokens, "outputTokens": self.output_tokens, "cacheReadInputTokens": 0,
            "cacheCreationInputTokens": 0, "costUSD": cost,
        }});
        let mut event = json!({
            "type": "result", "subtype": ending.subtype, "is_error": ending.is_error,
            "terminal_reason": ending.terminal_reason, "api_error_status": ending.status,
            "stop_reason": "end_turn", "num_turns": self.turns, "duration_ms": self.turns * 100,
            "total_cost_usd": cost,
            "usage": {
                "input_tokens": input_tokens, "output_tokens": self.output_tokens,
                "cache_read_input_tokens": 0, "cache_creation_input_tokens": 0,
            },
            "modelUsage": usage, "model_usage_since_last_result": usage, "permission_denials": self.denials,
        });
        let text = if ending.subtype == "success" {
            ("result", json!(ending.text))
        } else {
            ("errors", json!([ending.text]))
        };
        event[text.0] = text.1;
        self.print(event);
    }

    fn assistant(&mut self, block: &Value) {
        self.turns += 1;
        let tokens = block.to_string().len() as u64 / 4;
        self.output_tokens += tokens;
        self.print(json!({
            "type": "assistant", "parent_tool_use_id": null,
            "message": {
                "id": format!("msg_scripted_{}", self.turns), "type": "message", "role": "assistant",
                "model": "scripted", "content": [block],
                "usage": {"input_tokens": INPUT_TOKENS_PER_TURN, "output_tokens": tokens},
            },
        }));
    }

    fn print(&mut self, mut event: Value) {
        event["session_id"] = json!(self.session_id);
        let _ = writeln!(self.out, "{event}").and_then(|()| self.out.flush());
    }
}
