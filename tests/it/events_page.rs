//! `docs/events.md` is made from the kinds of `domain::event` and from the shapes of the OpenAPI document, and what a job
//! really tells has these shapes.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use offshoot::domain::event::EventKind;
use offshoot::wire::event::schema_of;
use serde_json::{Value, json};

use crate::openapi::assert_current;
use crate::stand::{Plan, Stand};

const HEAD: &str = "\
# Events

Everything that happens is an event of one append-only history: what becomes of a job, what its agent says and does, what the
server says of it, what becomes of its callback. An event is stored in the transaction of what it tells, under the next number
of the installation; it is never changed. `GET /jobs/:id/events` gives those of one job, `GET /events` those of all.

This page is made from `src/domain/event.rs` and `src/wire/` (`UPDATE_DOCS=1 cargo test --test it docs_`).

## Streams

Both calls are [server-sent events](https://html.spec.whatwg.org/multipage/server-sent-events.html): `id` is the number, `event`
the type, `data` the event as one line of JSON.

```
id: 41
event: agent.tool_use
data: {\"seq\":41,\"type\":\"agent.tool_use\",\"job\":7,\"jobId\":\"job-…\",\"attempt\":1,\"at\":\"…\",\"data\":{…}}
```

- **Resume.** Whoever comes again with the header `Last-Event-ID` (browsers send it by themselves) or with `?after=` gets what
  follows that number: nothing is missing, nothing comes twice, also after the server was killed. Without either a stream
  begins with the first event, with `?after=latest` at the present end.
- **`done`** ends the stream of a job that is over, with its `status` and `outcome`; everything of the job has been told before
  it. A stream that is opened on such a job tells its history and ends. What becomes of the callback later stands in
  `GET /events`. A client that reconnects by itself closes the stream at `done`.
- **`reset`** comes first when events behind the asked number are forgotten (`retention.event_days`), or when that number is
  none of this history. Whoever has built something from earlier events reads it anew, from `GET /jobs/:id` and
  `GET /jobs/:id/messages`; the stream goes on behind `after` of its data.
- A comment every 15 s says that the server is there. A reader that takes nothing for 30 s is cut off and resumes; it
  never holds up an agent. When the server ends, streams end without `done`.
- At most 128 streams are open at once, 64 of one named token, 112 of all named ones; one more is answered 429 `too_many_streams` with
  `Retry-After`. The last 16 are the built-in token's.

`GET /ws/jobs/:id` gives the same through a WebSocket: each event is a text frame of the JSON above, `reset` and `done` are
`{\"type\":\"done\",\"data\":{…}}`; pings every 15 s; `?after=` as above; closed with 1000 after `done`, 1001 when the server ends.
Inward it takes `{\"type\":\"message\",\"id\":\"…\",\"text\":\"…\"}` and `{\"type\":\"interrupt\"}` (scope `operate`): [words for the
agent](#words-for-the-agent). Each frame is answered, `{\"type\":\"accepted\",\"id\":…}` or `{\"type\":\"refused\",\"id\":…,\"problem\":{…}}`,
where the problem is that of an HTTP answer. A frame has at most 1 MiB.

`GET /jobs/:id/log?follow=true` gives the readable output alone as text until the job is over, with `&raw=true` what the agent
itself writes, byte for byte; `offshoot logs -f JOB` prints the messages and goes on over a restart of the server.

## Words for the agent

A **message** is stored before it is accepted, and then told to the agent:

- in a turn of its own, in the same conversation, as soon as the running one has ended, before anybody looks at the work. What
  comes while `verify` looks at it is told after that, and the work is looked at again; if it is not accepted, the agent is told
  both at once. A message is worth a turn also where no repair is left.
- with the prompt, if no agent runs yet. An attempt that begins anew (after a crash, a limit, `offshoot retry`) is told all that
  was ever said to the job again, as it is told the prompt again.

A running turn is told nothing: its prompt is a file, and that is all of its standard input. Who cannot wait interrupts it. An **interrupt** ends the running turn as a cancel ends a job (interrupt, terminate, kill), keeps the attempt and
what it has done, and begins the next turn in the same conversation, with all messages that wait; without one the agent is told
to bring its work to an end, and what the interrupted turn had been told is told again, for it may not have come so far. What the turn has used is counted. An agent that has not told by then which conversation it holds
(opencode before the first word of the model, codex and gemini in the moment of their start) goes on afresh, with a warning.

`id` (at most 128 bytes) is the caller's own: the same id with the same text is accepted again and told once, so who gets no answer
sends it again. Refused are: a job that is over (`job_over`); one whose work is being committed or published
(`job_publishing`); an interrupt while no turn runs (`agent_not_running`); the same id with another text (`message_id_taken`); more
than 100 things said to a job, or 1 MiB (`too_many_messages`); agents that hear nothing (`not_supported`, [agents.md](agents.md)).
A message that no turn was given when its job ends, in failure or by a cancel, is told to a retry, and the job has a warning
that says so. A retry with a prompt of its own is told none of the old ones.

| promise | how it is tested | broken once |
|---|---|---|
| Told once, in the same conversation, before the work is judged | `life_inward::what_is_said_is_told_…` | words told after the verification only: it failed |
| No message is overtaken by the commit | `life_inward::what_is_said_while_…`, with one that comes during `verify`; `store_inward::a_word_goes_to_…` | no look at what is unheard before the commit: both failed |
| An interrupt ends the turn and neither job nor attempt, and a repair is asked for again | `life_inward::an_interruption_…`, `…a_repair_that_is_interrupted_…`; over a death of the server in `…words_outlive_servers_…` | the turn cancelled instead of interrupted: both failed; the refusal forgotten: `a_repair_…` |
| What an interrupted turn was told is told again | `life_inward::what_an_interrupted_turn_…` | told to one turn only: it failed |
| A server that comes later begins no turn of a round that is over | `life_inward::a_server_that_comes_later_…` | the round not looked at: it failed |
| Over deaths of the server and of the agent nothing is lost and no turn comes twice | `life_inward::words_outlive_servers_…`, `…who_begins_anew_…`; `tests/chaos`, kind `Told`; the real programs: `tests/rig`, `told` | a turn that is told something forgotten by the next server: `words_outlive_…` failed; the prompt of a new attempt without the words: `who_begins_…`; an interruption looked for only when a hint comes: `words_outlive_…` |
| Whatever ends a job, it says what its agent was not told; a retry is told it, unless it asks for something else | `store_inward::whatever_ends_a_job_…`, `life_inward::who_begins_anew_…` | only jobs that a worker ends; every job, also one that only publishes; a retry told whatever it asks for: the first failed each time |
| Nothing is accepted that nobody will hear | `life_inward::nothing_is_accepted_…`, `store_inward::a_word_goes_to_…` | accepted while it is published: both failed |

## What is stored

The words of an agent stand in the transcript of its attempt, once; an event has the number of the message that points there,
and a few facts. So a million lines of plain output are some thousand events (lines that come together share one of at most
32 KiB), and the database stays small; figures in [reliability.md](reliability.md#events). When the output of a job is past its
time (`retention.log_days`) its events stay and their words are `null`.

## Kinds

Every event has `seq`, `type`, `job` (the number), `jobId`, `attempt`, `at` and `data`. Members are always present, `null` when
empty. A program that meets a type it does not know passes over it.

";

/// The members of a shape as rows, with what the code says about them.
fn rows(document: &Value, schema: &str) -> String {
    let schema = &document["components"]["schemas"][schema];
    let properties = schema["properties"].as_object().unwrap_or_else(|| panic!("{schema}"));
    let mut rows = String::new();
    for (name, property) in properties {
        let described = property["description"].as_str().unwrap_or_default();
        // of a word from a list the list says it
        let about = described.replace('\n', " ").replace('|', "\\|");
        let _ = writeln!(rows, "| `{name}` | {} | {about} |", kind_of(document, property));
    }
    rows
}

fn kind_of(document: &Value, property: &Value) -> String {
    if let Some(reference) = property["$ref"].as_str() {
        let target = document.pointer(reference.trim_start_matches('#')).unwrap();
        return kind_of(document, target);
    }
    if let Some(kinds) = property["oneOf"].as_array() {
        let constants: Vec<_> = kinds.iter().filter_map(|kind| kind["enum"][0].as_str()).collect();
        if constants.len() == kinds.len() {
            return constants.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ");
        }
        let names: Vec<_> = kinds.iter().map(|kind| kind_of(document, kind)).collect();
        return names.join(" or ");
    }
    if property["enum"].is_array() {
        let words = property["enum"].as_array().unwrap().iter().filter_map(Value::as_str);
        let words: Vec<_> = words.map(|word| format!("`{word}`")).collect();
        return if words.len() > 8 { "a word".to_owned() } else { words.join(", ") };
    }
    match &property["type"] {
        Value::String(name) => name.clone(),
        Value::Array(names) => names.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" or "),
        _ => "any".to_owned(),
    }
}

#[test]
fn docs_events_are_current() {
    let document: Value = serde_json::from_str(offshoot::http::document()).unwrap();
    let mut page = HEAD.to_owned();
    page.push_str("| type | what it tells | data |\n|---|---|---|\n");
    for kind in EventKind::ALL {
        let schema = schema_of(*kind);
        let _ = writeln!(page, "| `{kind}` | {} | [{schema}](#{}) |", kind.sentence(), schema.to_lowercase());
    }
    let mut told = BTreeSet::new();
    for kind in EventKind::ALL {
        let schema = schema_of(*kind);
        if told.insert(schema) {
            let _ =
                write!(page, "\n## {schema}\n\n| member | | |\n|---|---|---|\n{}", rows(&document, schema));
        }
    }
    for (name, schema) in [("done", "StreamDone"), ("reset", "StreamReset")] {
        let rows = rows(&document, schema);
        let _ = write!(page, "\n## {schema}\n\nData of `{name}`.\n\n| member | | |\n|---|---|---|\n{rows}");
    }
    assert_current("docs/events.md", &page);
}

/// The events of a job as a caller gets them, without the end.
async fn events_of(stand: &Stand, id: &str) -> Vec<Value> {
    let text = stand.get_text(&format!("/jobs/{id}/events")).await;
    let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
    data.map(|data| serde_json::from_str(data).unwrap()).collect()
}

#[tokio::test]
async fn what_jobs_tell_has_the_documented_shapes() {
    let stand = Stand::with(Plan { workers: 1, ..Plan::default() }).await;
    let document: Value = serde_json::from_str(offshoot::http::document()).unwrap();
    let mut seen = BTreeSet::new();
    for prompt in ["Greet", "[[scenario:denied]]", "[[scenario:no-change]]"] {
        let id = stand.submit_prompt(&format!("b{}", seen.len()), prompt).await;
        stand.wait_for(&id, "over", |job| job["completedAt"].is_string()).await;
        stand.callback(&id).await;
        for event in events_of(&stand, &id).await {
            let Some(kind) = event["type"].as_str().and_then(EventKind::parse) else { continue };
            seen.insert(kind.as_str());
            let schema = &document["components"]["schemas"][schema_of(kind)]["properties"];
            let documented: BTreeSet<_> = schema.as_object().unwrap().keys().collect();
            let members: BTreeSet<_> = event["data"].as_object().unwrap().keys().collect();
            assert_eq!(members, documented, "{event:#}");
        }
        // and they are what the messages say
        let told: Vec<_> = events_of(&stand, &id).await.into_iter().filter_map(message).collect();
        assert_eq!(told, stand.messages(&id).await);
    }
    let wanted = ["agent.message", "agent.progress", "agent.tool_result", "agent.tool_use", "job.completed"];
    assert!(wanted.iter().all(|kind| seen.contains(kind)), "{seen:?}");
    stand.finish().await;
}

/// The message that has the event's words, as a program puts it together.
fn message(event: Value) -> Option<Value> {
    let event: offshoot::wire::event::Event = serde_json::from_value(event).ok()?;
    event.message().map(|message| json!(message))
}
