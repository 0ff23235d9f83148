//! The history of a job through a WebSocket, and words for its agent the other way.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::extract::{Extension, Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde_json::Value;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::audit;
use super::auth::Token;
use super::connection::{Busy, Connection};
use super::events::{ALIVE_EVERY, after, busy};
use super::problem::ApiError;
use super::query::Query;
use crate::app::{App, AppError, Caller, Follower};
use crate::store::Call;
use crate::wire::event::StreamItem;
use crate::wire::live::{Refused, Taken, parse};

/// The largest frame from a caller: the longest text, with every byte of it escaped twice over.
const FRAME_BYTES_MAX: usize = 1024 * 1024;
/// A peer that answers no ping for so long is gone: three pings and some.
const SILENT_MAX: Duration = Duration::from_secs(50);

/// The events of a job as JSON text frames, as in its stream; `{"type":"done"}` and `{"type":"reset"}` carry theirs in
/// `data`. Inward: `{"type":"message","id","text"}` and `{"type":"interrupt"}`, answered `{"type":"accepted","id"}` once it
/// is stored, or `{"type":"refused"}` with a problem.
#[utoipa::path(get, path = "/ws/jobs/{id}", tag = "events",
    params(("id" = String, Path),
        ("after" = Option<String>, Query, description = "Only events with a larger number; latest: from now on")),
    responses((status = 101, description = "The frames follow", body = Refused)))]
#[expect(clippy::too_many_arguments, reason = "each is a part of the request")]
pub(super) async fn job_socket(
    State(app): State<App>,
    Token(caller): Token,
    Extension(call): Extension<Arc<Call>>,
    Path(id): Path<String>,
    query: Query,
    headers: HeaderMap,
    connection: Option<Extension<Connection>>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, ApiError> {
    let follower = app.follow_job(&caller, &id, after(&headers, &query)?).await?;
    let upgrade = upgrade.map_err(|_| {
        let detail = "this path speaks WebSocket: Connection: Upgrade, Upgrade: websocket; for plain requests there is \
                      /jobs/:id/events";
        ApiError::new(StatusCode::UPGRADE_REQUIRED, "upgrade_required", detail)
    })?;
    let busy = busy(connection.as_ref());
    let talk = Talk { app, caller, call, job: id, follower, _busy: busy };
    let upgrade = upgrade.max_message_size(FRAME_BYTES_MAX).max_frame_size(FRAME_BYTES_MAX);
    Ok(upgrade.on_upgrade(move |socket| talk.run(socket)))
}

struct Talk {
    app: App,
    caller: Caller,
    /// The one that opened it.
    call: Arc<Call>,
    job: String,
    follower: Follower,
    _busy: Option<Busy>,
}

/// Why it is over.
enum End {
    /// Everything is told.
    Done,
    /// The server ends.
    Away,
    /// The token is good no more.
    Over,
    /// The peer has closed, is gone, or takes nothing.
    Gone,
    /// It sent what is no frame, or a larger one than may be; or the line is dead.
    Unusable,
    Failed,
}

impl Talk {
    async fn run(mut self, mut socket: WebSocket) {
        let end = self.speak(&mut socket).await;
        let (code, reason) = match end {
            End::Done => (close_code::NORMAL, "the job is over"),
            End::Away => (close_code::AWAY, "the server ends"),
            End::Over => (close_code::POLICY, "the token was revoked or has expired"),
            End::Unusable => (close_code::POLICY, "a frame was malformed or larger than 1 MiB"),
            End::Failed => (close_code::ERROR, "something went wrong inside the server"),
            End::Gone => return,
        };
        // whoever does not hear it any more is gone
        let _ = socket.send(Message::Close(Some(CloseFrame { code, reason: reason.into() }))).await;
    }

    /// One thing at a time: a peer that takes no answer is not listened to either.
    async fn speak(&mut self, socket: &mut WebSocket) -> End {
        let mut pings = interval_at(Instant::now() + ALIVE_EVERY, ALIVE_EVERY);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut heard_at = Instant::now();
        loop {
            let frames = tokio::select! {
                () = self.caller.over() => return End::Over,
                told = self.follower.next() => match told {
                    Ok(Some(items)) => items.iter().map(StreamItem::frame).map(Message::from).collect(),
                    Ok(None) if self.follower.is_done() => return End::Done,
                    Ok(None) => return End::Away,
                    Err(error) => {
                        tracing::warn!(%error, "a WebSocket broke off");
                        return End::Failed;
                    }
                },
                heard = socket.recv() => {
                    heard_at = Instant::now();
                    match heard {
                        Some(Ok(Message::Text(text))) => vec![Message::from(self.hear(text.as_bytes()).await)],
                        Some(Ok(Message::Binary(bytes))) => vec![Message::from(self.hear(&bytes).await)],
                        Some(Ok(Message::Ping(_) | Message::Pong(_))) => Vec::new(),
                        Some(Ok(Message::Close(_))) | None => return End::Gone,
                        Some(Err(_)) => return End::Unusable,
                    }
                }
                _ = pings.tick() => {
                    if heard_at.elapsed() > SILENT_MAX {
                        return End::Gone;
                    }
                    vec![Message::Ping(Vec::new().into())]
                }
            };
            for frame in frames {
                if socket.send(frame).await.is_err() {
                    return End::Gone;
                }
            }
        }
    }

    /// The answer to one frame.
    async fn hear(&self, frame: &[u8]) -> String {
        let read = serde_json::from_slice::<Value>(frame);
        let frame = read.as_ref().unwrap_or(&Value::Null);
        let told = match &read {
            Err(_) => Err(AppError::Malformed("a frame must be a JSON object".to_owned())),
            Ok(frame) => match parse(frame) {
                Ok(word) => {
                    let taken = Taken::of(&word);
                    let call = Arc::new(self.call.again());
                    let told = call.around(self.app.tell_agent(&self.caller, &self.job, word)).await;
                    if matches!(told, Err(AppError::Forbidden(_))) {
                        audit::refused(&self.app, call).await;
                    }
                    told.map(|()| taken)
                }
                Err(faults) => Err(AppError::Invalid(faults)),
            },
        };
        match told {
            Ok(taken) => serde_json::to_string(&taken),
            Err(error) => serde_json::to_string(&Refused::of(frame, *ApiError::from(error).problem)),
        }
        .unwrap_or_default()
    }
}
