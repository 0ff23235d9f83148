//! `offshoot logs -f` and `offshoot wait` as processes, against a server that breaks off where the test says.

use serde_json::{Value, json};

use crate::cli::{DEADLINE, command, finish, page, run};
use crate::cli_fake::{Answer, Fake, job};

const ID: &str = "job-7fk2qdabcd234567";

fn running() -> Value {
    job(&json!({ "status": "running", "phase": "agent", "outcome": null, "completedAt": null }))
}

/// An event with words, as the stream has it.
fn told(seq: i64, message: i64, text: &str) -> String {
    let data = json!({ "seq": seq, "type": "agent.message", "job": 142, "jobId": ID, "attempt": 1,
        "at": "2026-11-21T12:00:02.000Z", "data": { "text": text, "messageSeq": message } });
    format!("event: agent.message\ndata: {data}\nid: {seq}\n\n")
}

fn stream(blocks: &[String]) -> Answer {
    Answer::text(200, blocks.concat()).header("content-type", "text/event-stream")
}

fn done() -> String {
    "event: done\ndata: {\"job\":142,\"status\":\"failed\",\"outcome\":\"failed\"}\n\n".to_owned()
}

fn begin(seq: i64) -> String {
    format!("id: {seq}\n: \n\n")
}

/// What falls between the opening of the stream and the reading of the messages is in both; a server that goes away ends
/// the stream, and the next one goes on behind the last number.
#[tokio::test]
async fn following_prints_everything_once_over_restarts_and_stops_at_the_end() {
    let fake = Fake::start(|seen, before| match seen.line.as_str() {
        "GET /jobs/142" => Answer::json(200, &running()),
        "GET /jobs/job-7fk2qdabcd234567/messages?after=0&limit=500" => page(&[(1, "one"), (2, "two")]),
        line if line.contains("/messages?") => page(&[]),
        line if line.ends_with("events?after=latest") => {
            stream(&[begin(10), told(11, 2, "two"), told(12, 3, "three")])
        }
        line if line.ends_with("events?after=12") && before == 0 => {
            Answer::problem(503, "draining", "the server is stopping", json!({}))
        }
        line if line.ends_with("events?after=12") && before == 1 => Answer::cut(),
        line if line.ends_with("events?after=12") => stream(&[told(13, 4, "four"), done()]),
        _ => Answer::json(200, &job(&json!({ "status": "failed" }))),
    })
    .await;
    let ran = run(&fake, &["logs", "142", "-f", "--exit-status"]).await;
    assert_eq!(ran.code, 10, "{ran:?}");
    let lines: Vec<_> = ran.out.lines().collect();
    let expected = ["one", "two", "three", "four"].map(|word| format!("12:00:02  stdout  {word}"));
    assert_eq!(lines, expected, "{:?}", fake.lines());
    assert!(ran.err.contains("trying again"), "{ran:?}");
}

/// Events that are forgotten meanwhile: what was said stands in the messages.
#[tokio::test]
async fn after_a_reset_the_messages_are_read_on() {
    let fake = Fake::start(|seen, before| match seen.line.as_str() {
        "GET /jobs/142" => Answer::json(200, &running()),
        line if line.contains("/messages?after=0&") => page(&[(1, "one")]),
        line if line.contains("/messages?after=1&") && before > 0 => page(&[(2, "two"), (3, "three")]),
        line if line.contains("/messages?") => page(&[]),
        line if line.contains("/events?") && before == 0 => stream(&[
            begin(4),
            "event: reset\ndata: {\"after\":9}\nid: 9\n\n".to_owned(),
            told(10, 3, "three"),
        ]),
        line if line.contains("/events?") => stream(&[begin(10), told(11, 4, "four"), done()]),
        _ => Answer::json(200, &job(&json!({}))),
    })
    .await;
    let ran = run(&fake, &["logs", "142", "-f", "--json"]).await;
    let said = ran.out.lines().map(|line| {
        let message: Value = serde_json::from_str(line).unwrap();
        message["content"].as_str().unwrap().to_owned()
    });
    let said: Vec<_> = said.collect();
    assert_eq!((ran.code, said.join(",").as_str()), (0, "one,two,three,four"), "{ran:?} {:?}", fake.lines());
}

#[tokio::test]
async fn the_last_messages_only_and_then_what_comes() {
    let fake = Fake::start(|seen, _| match seen.line.as_str() {
        "GET /jobs/142" => Answer::json(200, &running()),
        line if line.contains("/messages?after=0&") => page(&[(1, "one"), (2, "two"), (3, "three")]),
        line if line.contains("/messages?after=2&") => page(&[(3, "three")]),
        line if line.contains("/messages?") => page(&[]),
        line if line.contains("/events?") => stream(&[begin(4), told(5, 4, "four"), done()]),
        _ => Answer::json(200, &job(&json!({}))),
    })
    .await;
    let ran = run(&fake, &["logs", "142", "-f", "-n", "1"]).await;
    let lines: Vec<_> = ran.out.lines().map(|line| line.split_whitespace().last().unwrap()).collect();
    assert_eq!((ran.code, lines), (0, vec!["three", "four"]), "{ran:?}");
}

#[tokio::test]
async fn an_interrupted_watcher_says_that_the_job_goes_on() {
    let (asked, mut was_asked) = tokio::sync::mpsc::unbounded_channel();
    let fake = Fake::start(move |seen, _| match seen.line.as_str() {
        line if line.contains("/messages?") => page(&[]),
        line if line.contains("/events?") => {
            let _ = asked.send(());
            let never = futures_util::StreamExt::chain(
                futures_util::stream::iter([Ok::<_, std::io::Error>(begin(4))]),
                futures_util::stream::pending(),
            );
            Answer::text(200, axum::body::Body::from_stream(never))
        }
        _ => Answer::json(200, &running()),
    })
    .await;
    let child = command(&fake.url, &["logs", "142", "-f"]).spawn().unwrap();
    // what waits for the signal is in place before anything is asked
    tokio::time::timeout(DEADLINE, was_asked.recv()).await.expect("it follows").unwrap();
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
    let output =
        tokio::time::timeout(DEADLINE, child.wait_with_output()).await.expect("ends in time").unwrap();
    assert_eq!(output.status.code(), Some(130));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("job #142 goes on") && said.contains("offshoot cancel 142"), "{said}");
}

#[tokio::test]
async fn waiting_for_several_ends_with_the_worst_of_their_ends() {
    let rows: [(&[(&str, &str)], i32); 4] = [
        (&[("1", "completed")], 0),
        (&[("1", "completed"), ("2", "cancelled")], 11),
        (&[("1", "failed"), ("2", "cancelled"), ("3", "completed")], 10),
        (&[("1", "nothing")], 5),
    ];
    for (jobs, code) in rows {
        let ends: Vec<(String, String)> =
            jobs.iter().map(|(job, end)| ((*job).to_owned(), (*end).to_owned())).collect();
        let fake = Fake::start(move |seen, _| {
            let end = ends.iter().find(|(job, _)| seen.line == format!("GET /jobs/{job}"));
            match end {
                Some((_, end)) if end != "nothing" => Answer::json(200, &job(&json!({ "status": end }))),
                _ => Answer::problem(404, "not_found", "job not found", json!({})),
            }
        })
        .await;
        let mut line = vec!["wait", "--json"];
        line.extend(jobs.iter().map(|(job, _)| *job));
        let ran = run(&fake, &line).await;
        assert_eq!(ran.code, code, "{ran:?}");
        let answer: Value = serde_json::from_str(&ran.out).unwrap();
        assert_eq!(answer.is_array(), jobs.len() > 1, "{answer}");
    }
}

#[tokio::test]
async fn waiting_has_a_limit_when_one_is_given() {
    let fake = Fake::start(|_, _| Answer::json(200, &running())).await;
    let ran = finish(command(&fake.url, &["wait", "142", "--timeout", "1s"]), "").await;
    assert_eq!(ran.code, 7, "{ran:?}");
    assert!(ran.err.contains("offshoot wait 142"), "{ran:?}");
}
