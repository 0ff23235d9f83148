//! The peers that are called back: good, slow, broken or gone, as the history wants it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use offshoot::webhook::schedule::DELAYS_SECONDS;
use offshoot::webhook::{Carrier, FailureKind, SendRequest, SendResult};
use tokio::time::sleep;

use super::dice::Dice;
use super::settled::Settled;
use super::world::{State, World};

/// Tries under way at once: four to each of the four receivers.
const TRIES_MAX: usize = 16;

/// How a receiver answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mood {
    Good,
    Broken,
    Slow,
    Hangs,
    Away,
    Gone,
    /// Asks to come back later, much later.
    Busy,
}

#[derive(Default)]
pub(super) struct Receiver {
    pub(super) moods: BTreeMap<String, Mood>,
    heard: BTreeMap<String, Heard>,
    under_way: usize,
}

/// Of one event.
#[derive(Clone, Debug)]
struct Heard {
    body: Vec<u8>,
    tries: u32,
    /// When the last try ended, in true time.
    ended_ms: i64,
    accepted: u32,
    /// The last try was accepted.
    done: bool,
    /// The next try may come at any time: the server did not hear the end of the last one, or somebody asked for it.
    any_time: bool,
}

pub(super) struct Post {
    pub(super) world: Arc<World>,
}

impl Carrier for Post {
    fn send(&self, request: &SendRequest<'_>) -> impl Future<Output = SendResult> + Send {
        let world = self.world.clone();
        let (url, event, body) = (request.url.to_owned(), request.event_id.to_owned(), request.body.to_vec());
        let timestamp_s = request.timestamp_s;
        Settled::new(&self.world, async move {
            let mood = world.state().try_begins(&url, &event, body, timestamp_s);
            // dropped with the server: then the try has no end that anybody heard
            let mut under_way = UnderWay { world: &world, event, ended: false };
            let dice = Dice::new(world.seed ^ 77 ^ timestamp_s.unsigned_abs());
            let ms = match mood {
                Mood::Slow => dice.below(29_000),
                Mood::Hangs => 30_000,
                _ => dice.below(300),
            };
            sleep(Duration::from_millis(ms)).await;
            under_way.ended = true;
            match mood {
                Mood::Good | Mood::Slow => SendResult::Accepted { status: 204 },
                Mood::Broken => SendResult::Refused { status: 500, retry_after: None },
                Mood::Busy => {
                    SendResult::Refused { status: 503, retry_after: Some(Duration::from_secs(1 << 40)) }
                }
                Mood::Gone => SendResult::Gone,
                Mood::Hangs => SendResult::Failed { text: "late".to_owned(), kind: FailureKind::Timeout },
                Mood::Away => SendResult::Failed { text: "away".to_owned(), kind: FailureKind::Connect },
            }
        })
    }
}

struct UnderWay<'a> {
    world: &'a World,
    event: String,
    ended: bool,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        let mut state = self.world.state();
        state.receiver.under_way -= 1;
        let now = state.clocks.true_ms;
        if let Some(heard) = state.receiver.heard.get_mut(&self.event) {
            heard.ended_ms = now;
            heard.any_time |= !self.ended;
        }
    }
}

impl State {
    fn try_begins(&mut self, url: &str, event: &str, body: Vec<u8>, timestamp_s: i64) -> Mood {
        let mood =
            if self.calm { Mood::Good } else { self.receiver.moods.get(url).copied().unwrap_or(Mood::Good) };
        self.receiver.under_way += 1;
        if self.receiver.under_way > TRIES_MAX {
            self.fault(format!("{} tries at once", self.receiver.under_way));
        }
        if (timestamp_s - self.clocks.wall_ms() / 1_000).abs() > 1 {
            self.fault(format!("{event} is signed for {timestamp_s}"));
        }
        let now = self.clocks.true_ms + self.clocks.unseen_ms + 2;
        let known = self.receiver.heard.get(event).cloned();
        let mut heard = known.unwrap_or(Heard {
            body: body.clone(),
            tries: 0,
            ended_ms: i64::MIN / 2,
            accepted: 0,
            done: false,
            any_time: true,
        });
        self.tell(|| format!("{event} try {} at {url}: {mood:?}", heard.tries + 1));
        if heard.body != body {
            self.fault(format!("{event} has another body than before"));
        }
        let wait_s = DELAYS_SECONDS.get(heard.tries as usize).copied().unwrap_or(0);
        let earliest = heard.ended_ms + i64::try_from(wait_s).unwrap() * 800;
        if !heard.any_time && (now < earliest || heard.done) {
            self.fault(format!(
                "{event} is tried again after {} ms, and try {} was to wait for {wait_s} s",
                now - heard.ended_ms,
                heard.tries + 1
            ));
        }
        if heard.any_time && heard.ended_ms > i64::MIN / 2 {
            // which of its tries have been noted is not known any more: the shortest wait is asked for from here on
            heard.tries = 0;
        }
        heard.tries += 1;
        heard.any_time = false;
        heard.done = matches!(mood, Mood::Good | Mood::Slow);
        heard.accepted += u32::from(heard.done);
        self.receiver.heard.insert(event.to_owned(), heard);
        mood
    }

    /// The server is gone, or somebody asked for another try: the next one may come at once.
    pub(super) fn tries_may_repeat(&mut self) {
        for heard in self.receiver.heard.values_mut() {
            heard.any_time = true;
        }
    }

    pub(super) fn accepted(&self, event: &str) -> u32 {
        self.receiver.heard.get(event).map_or(0, |heard| heard.accepted)
    }
}
