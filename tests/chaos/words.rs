//! Words for agents, sent again until they are answered; those that were accepted are in the work.

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

use crate::caller::{ANSWERED_MAX, Caller};
use crate::evidence::Accepted;
use crate::stand::SECRET;

/// One try: a server that lives answers at once.
const TRY_MAX: Duration = Duration::from_secs(10);
impl Caller {
    /// Tells the agent of the job to write a file, at some moment of its work.
    pub(crate) async fn tell(&self, job: &Accepted) {
        let after = self.roll(|dice| dice.below(3_000));
        self.pause(after).await;
        let file = format!("told-{}.txt", job.number);
        let text = format!("[[scenario:write path={file}]]");
        let frame = json!({"type": "message", "id": "m-1", "text": text}).to_string();
        let until = Instant::now() + ANSWERED_MAX;
        let answer = loop {
            let url = self.target.borrow().clone();
            if let Some(url) = url
                && let Ok(Some(answer)) = timeout(TRY_MAX, say(&url, &job.id, &frame)).await
            {
                break answer;
            }
            if Instant::now() >= until {
                return self.complain(format!("a message to {} was never answered", job.id));
            }
            self.pause(60).await;
        };
        if answer["type"] != "accepted" {
            let code = answer["problem"]["code"].as_str().unwrap_or_default();
            if !matches!(code, "job_over" | "job_publishing") {
                self.complain(format!("a message to {} was refused: {answer}", job.id));
            }
            return;
        }
        let over = self.wait_until_over(&job.id).await;
        self.check_published(job, &over, &file, "its agent was told");
    }
}

/// The answer to the frame; `None` when the server died over it.
async fn say(url: &str, job: &str, frame: &str) -> Option<Value> {
    let url = format!("{}/ws/jobs/{job}?after=latest", url.replace("http://", "ws://"));
    let mut request = url.into_client_request().ok()?;
    request.headers_mut().insert("Authorization", format!("Bearer {SECRET}").parse().ok()?);
    let (mut socket, _) = connect_async(request).await.ok()?;
    socket.send(Message::from(frame)).await.ok()?;
    while let Some(Ok(heard)) = socket.next().await {
        let Message::Text(text) = heard else { continue };
        let frame: Value = serde_json::from_str(&text).ok()?;
        if matches!(frame["type"].as_str(), Some("accepted" | "refused")) {
            return Some(frame);
        }
    }
    None
}
