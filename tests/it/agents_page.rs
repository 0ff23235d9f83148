//! `docs/agents.md`: what stands in it about the capabilities of the adapters is made from them.

use std::fmt::Write as _;

use offshoot::agent::registry::find_agent;
use offshoot::agent::{AGENT_OPTIONS, Capabilities};
use offshoot::domain::agent_kind::AgentKind;
use offshoot::domain::inward::Hears;
use offshoot::domain::options::OptionName;

use crate::openapi::assert_current;

/// Where the table is in the page, and where the sentences about what is heard are.
const TABLE: (&str, &str) = ("## What each can do\n\n", "\n- **`permissionMode`**");
const HEARS: (&str, &str) = ("(events.md#words-for-the-agent). ", "\n");

pub(crate) fn path() -> String {
    format!("{}/docs/agents.md", env!("CARGO_MANIFEST_DIR"))
}

/// The page with `text` between the first place of `marks` and what follows it.
fn with(page: &str, marks: (&str, &str), text: &str) -> String {
    let (before, rest) = page.split_once(marks.0).expect("the page has the place");
    let (_, after) = rest.split_once(marks.1).expect("the place has an end");
    format!("{before}{}{text}{}{after}", marks.0, marks.1)
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
    let mut table = String::new();
    let kinds: Vec<&str> = AgentKind::ALL.iter().map(|kind| kind.as_str()).collect();
    writeln!(table, "| | {} |", kinds.join(" | ")).unwrap();
    writeln!(table, "|---|{}", "---|".repeat(kinds.len())).unwrap();
    row(&mut table, "goes on with a conversation (`retry --resume`)", |can| yes(can.resume));
    row(&mut table, "says what a run cost", |can| yes(can.cost));
    row(&mut table, "tells what it does as it does it", |can| yes(can.structured_events));
    row(&mut table, "says which tools were denied", |can| yes(can.tells_denials));
    let by_hand = |kind: &AgentKind| find_agent(*kind).by_hand("ID").map(|words| words.join(" "));
    let opens =
        |kind| by_hand(kind).map_or_else(|| "a shell".to_owned(), |words| format!("`{kind} {words}`"));
    let cells: Vec<String> = AgentKind::ALL.iter().map(opens).collect();
    writeln!(table, "| opens for a person ([`attach`](attach.md)) | {} |", cells.join(" | ")).unwrap();
    row(&mut table, "hears messages and interruptions", |can| can.hears.as_str().replace('_', " "));
    for option in AGENT_OPTIONS {
        let words = |can: Capabilities| match option {
            OptionName::Effort => can.efforts.iter().map(|word| word.as_str()).collect(),
            OptionName::PermissionMode => can.permission_modes.iter().map(|word| word.as_str()).collect(),
            _ => Vec::new(),
        };
        row(&mut table, &format!("`{}`", option.camel_case()), |can| {
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
    let page = std::fs::read_to_string(path()).unwrap();
    let page = with(&with(&page, TABLE, &table), HEARS, &hears.join(" "));
    assert_current("docs/agents.md", &page);
}
