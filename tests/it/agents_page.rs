//! `docs/agents.md`: its first table is made from the capabilities of the adapters.

use std::fmt::Write as _;

use offshoot::agent::registry::find_agent;
use offshoot::agent::{AGENT_OPTIONS, Capabilities};
use offshoot::domain::agent_kind::AgentKind;
use offshoot::domain::inward::Hears;
use offshoot::domain::options::OptionName;

use crate::openapi::assert_current;

const HEAD: &str = "\
# Agents

Each `[agents.<name>]` entry of the configuration is one login of one program; `kind` says which protocol the program speaks. An
entry of each kind exists from the start, under the kind's own name; a job chooses one by `options.agent`.

What an agent cannot do is not guessed and not dropped: an option that the agent of a job cannot carry out is refused with 422
`not_supported`, wherever it was set (job, client, `[defaults]`). An empty list asks for nothing. `GET /health` lists under
`agents` what is installed, its version, the oldest version that is known to work (`versionMin`; older ones count as not
installed), its login, and under `can` the same facts as this table.

The first table is made from the adapters (`UPDATE_DOCS=1 cargo test --test it docs_`), the one of endings is tested against them.

## What each can do

";

const TAIL: &str = "
- **`permissionMode`** is mapped to what each has. `default` is always: what the program's own configuration says.

  | | `plan` | `acceptEdits` | `bypassPermissions` |
  |---|---|---|---|
  | claude | its own mode | its own mode, with the tools that the configuration lists | its own mode; refused as root outside a sandbox |
  | codex | sandbox `read-only` | sandbox `workspace-write` | no sandbox (`danger-full-access`) |
  | opencode | agent `plan`, no edits, no shell | edits, and `git add, commit, status, diff, log` in the shell | all rules `allow` |
  | gemini | `plan` | `auto_edit`: edits, no shell | `yolo` |

- **Nobody is ever asked.** codex runs with `approval_policy = \"never\"`; gemini does not offer the model what would need an
  approval; opencode's rules deny instead of asking. Where the owner's own rules of opencode ask (`permissionMode` `default`),
  the run ends as `needs_input`, as it does where claude waits for an answer. `command` is ended by its limits at the latest.
- **`appendSystemPrompt`** is claude's own flag and codex's `developer_instructions` (a value of that name in its configuration
  file is replaced). opencode and gemini have no place for it: it stands before the prompt. For `command` it is refused; the
  built-in text is not given to it.
- **The prompt** is standard input for all of them, so no limit of argument lengths applies.
- **Conversations.** An attempt that was cut off, held or stopped is followed by one that goes on with its conversation and its
  files, where the agent can (`resume` above). It starts afresh, with a warning on the job that says why, where

  | | claude | codex | opencode | gemini |
  |---|---|---|---|---|
  | it does not know the conversation | `No conversation found with session ID` | `no rollout found for thread id` | `Session not found` | `Error resuming session: ` |
  | somebody else holds it | `Session ID … is already in use.` | – | – | – |
  | it has grown too long for the model | `Prompt is too long`, after it was summed up in vain | `Codex ran out of room in the model's context window.` | `ContextOverflowError` | `exceeds the maximum number of tokens allowed` |
  | the agent crashed, or ran out of memory, in a conversation that it had gone on with | yes | yes | yes | yes |

  A vain try in which the model said nothing is not counted. `command` has no conversations. In a new conversation a prompt that
  is too long is an `api_error`.
- **Retries of follow-ups.** `offshoot retry` of a follow-up that failed before its commit begins at the base again, without unpublished work
  of the job before it; `retry --resume` goes on with what was there, and so does another follow-up.
- **Messages and interruptions** (`/ws/jobs/:id`): [events.md](events.md#words-for-the-agent). HEARS
- **Forgetting.** `GET /sessions` lists the conversations that jobs name, `DELETE /sessions/:id` has every job forget one: no retry
  and no follow-up goes on with it. The agent's own files of it are the agent's, and stay.
- **Tokens and money**, and how budgets are held: [usage.md](usage.md). claude ends itself at the budget that it is given, opencode
  is ended; the others do not say what they cost, and nothing is guessed, so budgets are refused for them.
- **Commits.** codex in `workspace-write` cannot commit in a worktree: the repository is outside of what it may write. offshoot
  commits for it, as it does for gemini in `auto_edit`.
- **Tools that are told late.** opencode tells of a tool when it is done, so a tool that works without a word for longer than
  `idleTimeoutSeconds` ends the job; raise it for such work.

## How each can end

Reasons that its own output can bring about; every kind can be `interrupted` and `crashed`, and meets the limits of
[reasons.md](reasons.md).

| reason | claude | codex | opencode | gemini | command |
|---|---|---|---|---|---|
| `usage_limit` | yes | yes | yes | yes | no |
| `not_logged_in` | yes | yes | yes | yes | no |
| `overloaded` | yes | yes | yes | yes | no |
| `api_error` | yes | yes | yes | yes | no |
| `refused` | yes | yes | yes | no | no |
| `needs_input` | yes | no | yes | no | no |
| `max_turns` | yes | no | no | yes | no |
| `max_budget` | yes | no | no | no | no |

Only words that are known become a hold of a login; anything else about a limit is an `api_error` or `overloaded`: a 429 of claude
holds its login where the stream or the result says that a subscription's limit is reached, else the job waits alone. claude and
opencode (with Anthropic's subscriptions) tell when a limit ends; codex and gemini do not, or in words of the local time, so their
login is looked at every half hour.

## Logins and keys

A program finds its own login where it always does: `CLAUDE_CONFIG_DIR`, `CODEX_HOME`, `OPENCODE_CONFIG` and `XDG_DATA_HOME`, `HOME`
are passed on. Keys that are billed by use (`ANTHROPIC_API_KEY`, `OPENAI_API_KEY`, `CODEX_API_KEY`, `GEMINI_API_KEY`, ...) are withheld
unless the entry names them in `env`.

| kind | how its login is looked at | says no when |
|---|---|---|
| claude | `claude auth status` | nobody is logged in |
| codex | `codex login status` | never: keys of own providers are unknown to it, so a missing login is `null` |
| opencode | `opencode auth list` | never, for the same reason |
| gemini | cannot be asked | never |
| command | cannot be asked | never |

A login that is held for `not_logged_in` or `agent_missing` is looked at once a minute. When the look turns from no to yes, or finds
another version, one job tries the login at once. A look that says yes all the time proves little (a login that was revoked far away,
a program that cannot run): then one job tries after a minute, and further ones after twice as long each time, up to about an hour.
`offshoot queue try-now` tries at once.

## Programs behind scripts

npm installs `codex` as a script of Node that starts the program. offshoot starts the program itself where it finds it beside the
script, in its package for the platform; else the script. gemini is told not to start itself a second time.

## Why not the Agent Client Protocol

See [0010](adr/0010-no-agent-client-protocol.md).
";

pub(crate) fn path() -> String {
    format!("{}/docs/agents.md", env!("CARGO_MANIFEST_DIR"))
}

fn row(page: &mut String, name: &str, cell: impl Fn(Capabilities) -> String) {
    let cells: Vec<String> =
        AgentKind::ALL.iter().map(|kind| cell(find_agent(*kind).capabilities())).collect();
    writeln!(page, "| {name} | {} |", cells.join(" | ")).unwrap();
}

fn yes(fact: bool) -> String {
    if fact { "yes" } else { "no" }.to_owned()
}

#[test]
fn docs_agents_are_current() {
    let mut page = HEAD.to_owned();
    let kinds: Vec<&str> = AgentKind::ALL.iter().map(|kind| kind.as_str()).collect();
    writeln!(page, "| | {} |", kinds.join(" | ")).unwrap();
    writeln!(page, "|---|{}", "---|".repeat(kinds.len())).unwrap();
    row(&mut page, "goes on with a conversation (`retry --resume`)", |can| yes(can.resume));
    row(&mut page, "says what a run cost", |can| yes(can.cost));
    row(&mut page, "tells what it does as it does it", |can| yes(can.structured_events));
    row(&mut page, "says which tools were denied", |can| yes(can.tells_denials));
    row(&mut page, "hears messages and interruptions", |can| can.hears.as_str().replace('_', " "));
    for option in AGENT_OPTIONS {
        let words = |can: Capabilities| match option {
            OptionName::Effort => can.efforts.iter().map(|word| word.as_str()).collect(),
            OptionName::PermissionMode => can.permission_modes.iter().map(|word| word.as_str()).collect(),
            _ => Vec::new(),
        };
        row(&mut page, &format!("`{}`", option.camel_case()), |can| {
            let words: Vec<&str> = words(can);
            match can.options.contains(option) {
                true if words.is_empty() => "yes".to_owned(),
                true => words.join(", "),
                false => "refused".to_owned(),
            }
        });
    }
    let hears: Vec<String> = Hears::ALL
        .iter()
        .map(|it| format!("*{}*: {}", it.as_str().replace('_', " "), it.sentence()))
        .collect();
    page.push_str(&TAIL.replace("HEARS", &hears.join(" ")));
    assert_current("docs/agents.md", &page);
}
