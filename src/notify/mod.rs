//! Telling people: notices brought to a phone, a chat, the desktop or a program of the owner's.
//!
//! Promises: a target is reached under the same rules as a callback (only vetted addresses, no redirect, no proxy, a deadline), or is
//! a program without a shell, with a deadline, whose process group ends with it; what it is sent is a pure function of one
//! [`Notice`] and the address of its page, one file each; no URL and no token is in what is told of a try.
//!
//! Must not know: jobs, the store, when something is tried again. It receives the bytes of a notice and the name of a target.
//!
//! Fails: [`Tried`] says what came of a try. Tested: texts by tables and programs by real ones beside the code; everything together in
//! `tests/it/life_notify.rs`.

mod command;
mod desktop;
mod discord;
mod ntfy;
mod program;
mod slack;
mod text;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};

use crate::domain::notice::{Occasion, Way};
use crate::webhook::{FailureKind, Post, SendResult, Sender};
use crate::wire::notice::Notice;
use text::Told;

/// How long a program may take: it should hand the notice on and end.
pub const PROGRAM_SECONDS_MAX: u64 = 30;

/// Where one target is.
#[derive(Clone)]
pub struct Target {
    pub way: Way,
    /// There for every way that has one.
    pub url: Option<SecretString>,
    /// For ntfy.
    pub token: Option<SecretString>,
    /// Under the policy of this target alone.
    pub sender: Sender,
    /// For [`Way::Command`].
    pub command: Vec<String>,
    pub on: Vec<Occasion>,
}

/// All targets by their names. Cheap to clone; without any by default.
#[derive(Clone, Default)]
pub struct Targets(Arc<Inner>);

#[derive(Default)]
struct Inner {
    all: BTreeMap<String, Target>,
    /// Of programs.
    environment: BTreeMap<OsString, OsString>,
    /// Where the dashboard is, without a slash behind it.
    base_url: String,
}

impl fmt::Debug for Targets {
    /// Names only: what they lead to are secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.all.keys()).finish()
    }
}

/// What came of a try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tried {
    /// Somebody at a URL, or nobody.
    Answered(SendResult),
    /// A program took it.
    Ran,
    /// It could not be tried, or the program failed: what happened, for people.
    Failed(String),
}

impl Tried {
    /// The status that came, and what went wrong, for people.
    #[must_use]
    pub fn told(&self) -> (Option<u16>, Option<String>) {
        match self {
            Self::Answered(result) => result.told(),
            Self::Ran => (None, None),
            Self::Failed(text) => (None, Some(text.clone())),
        }
    }
}

/// What is sent to a URL.
struct Letter {
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

impl Letter {
    fn json(body: &serde_json::Value) -> Self {
        let headers = vec![("content-type", "application/json".to_owned())];
        Self { headers, body: body.to_string().into_bytes() }
    }
}

impl Targets {
    /// Programs run in `environment` alone; `base_url` is where the dashboard is.
    #[must_use]
    pub fn new(
        all: BTreeMap<String, Target>,
        environment: BTreeMap<OsString, OsString>,
        base_url: &str,
    ) -> Self {
        Self(Arc::new(Inner { all, environment, base_url: base_url.trim_end_matches('/').to_owned() }))
    }

    /// Name, way and occasions of each.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Way, &[Occasion])> {
        self.0.all.iter().map(|(name, target)| (name.as_str(), target.way, target.on.as_slice()))
    }

    #[must_use]
    pub fn way_of(&self, name: &str) -> Option<Way> {
        self.0.all.get(name).map(|target| target.way)
    }

    /// Makes one try to tell `name` what `bytes`, a rendered [`Notice`], say. `timestamp_s`: now, in Unix seconds. Ends within the
    /// limits of a callback, or of a program.
    pub async fn tell(&self, name: &str, bytes: &[u8], timestamp_s: i64) -> Tried {
        let Some(target) = self.0.all.get(name) else {
            return Tried::Failed(format!("there is no [notify.{name}] in the configuration any more"));
        };
        let Ok(notice) = serde_json::from_slice::<Notice>(bytes) else {
            return Tried::Failed("this version cannot read the notice".to_owned());
        };
        let page = match notice.number {
            Some(number) => format!("{}/ui/jobs/{number}", self.0.base_url),
            None => format!("{}/ui/system", self.0.base_url),
        };
        let told = Told { notice: &notice, page: &page };
        let letter = match target.way {
            Way::Ntfy => ntfy::letter(told, target.token.as_ref()),
            Way::Slack => slack::letter(told),
            Way::Discord => discord::letter(told),
            Way::Desktop => {
                return self.run(&desktop::command(told, cfg!(target_os = "macos")), &[]).await;
            }
            Way::Command => return self.run(&target.command, &command::input(told, name)).await,
        };
        let url = target.url.as_ref().map(ExposeSecret::expose_secret).unwrap_or_default();
        let post = Post { url, headers: letter.headers, body: letter.body, timestamp_s };
        Tried::Answered(in_words_of(name, target.sender.post(&post).await))
    }

    async fn run(&self, argv: &[String], input: &[u8]) -> Tried {
        let limit = Duration::from_secs(PROGRAM_SECONDS_MAX);
        match program::run(argv, &self.0.environment, input, limit).await {
            Ok(()) => Tried::Ran,
            Err(text) => Tried::Failed(text),
        }
    }
}

/// Who is refused is told the key that would allow it for this target alone.
fn in_words_of(name: &str, result: SendResult) -> SendResult {
    match result {
        SendResult::Failed { text, kind: FailureKind::Address } => {
            let text = text.replace("callbacks.allow", &format!("notify.{name}.allow"));
            let text = text.replace("the callback URL", &format!("notify.{name}.url"));
            SendResult::Failed { text, kind: FailureKind::Address }
        }
        other => other,
    }
}
