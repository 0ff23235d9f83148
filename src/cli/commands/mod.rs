//! One file per verb: what it asks the server, and which words or JSON it answers with.
//!
//! Promises: a verb ends with its result in [`Output`] or with a [`CliError`]; a wait can be left at any time and changes
//! nothing on the server. Must not know: HTTP (`api_client` does), the terminal, the environment.
//!
//! Fails: as `api_client` does, in the words of `error.rs`. Tested: as processes in `tests/it/cli.rs`.

mod artifacts;
mod at_hand;
mod attach;
mod attached;
mod backup;
mod cancel;
mod client;
pub(super) mod config;
mod diff;
pub(super) mod doctor;
mod follow;
mod follow_up;
mod form;
mod gc;
pub(super) mod init;
mod logs;
mod ls;
mod notify;
mod open;
mod profile;
mod queue;
mod rescue;
pub(super) mod restore;
mod retry;
pub(super) mod serve;
pub(super) mod service;
pub(super) mod shell;
mod show;
mod submit;
mod token;
mod usage;
pub(super) mod version;
mod wait;
mod watch;
mod webhook;

pub(super) use artifacts::ArtifactsFlags;
pub(super) use attach::AttachFlags;
pub(super) use client::ClientVerb;
pub(super) use diff::DiffFlags;
pub(super) use doctor::DoctorFlags;
pub(super) use form::FormFlags;
pub(super) use init::InitFlags;
pub(super) use notify::NotifyVerb;
pub(super) use open::OpenFlags;
pub(super) use profile::ProfileVerb;
pub(super) use retry::RetryFlags;
pub(super) use service::ServiceVerb;
pub(super) use token::TokenVerb;
pub(super) use usage::UsageFlags;
pub(super) use webhook::WebhookVerb;

use std::collections::BTreeMap;
use std::ffi::OsString;

use jiff::tz::TimeZone;
use secrecy::SecretString;

pub(super) use follow_up::FollowUpFlags;

use super::args::Verb;
use super::error::{CliError, Ended};
use super::output::Output;
use super::views::Viewpoint;
use crate::api_client::ApiClient;
use crate::clock::Clock;
use crate::config::{Config, Environment};

/// What a verb that speaks to the server works with.
pub(super) struct Context<'a> {
    pub(super) api: ApiClient,
    pub(super) out: &'a mut Output,
    pub(super) clock: Clock,
    pub(super) zone: TimeZone,
    pub(super) local: Local<'a>,
}

/// What there is on this machine, for what runs on it.
pub(super) struct Local<'a> {
    pub(super) env: &'a Environment,
    /// `None`: there is none that can be read.
    pub(super) config: Option<Config>,
}

impl Local<'_> {
    fn get(&self, variable: &str) -> Option<OsString> {
        self.env.get(variable).map(ToOwned::to_owned)
    }

    /// What the entry of an agent sets.
    fn set_env(&self, agent: &str) -> BTreeMap<String, SecretString> {
        let entry = self.config.as_ref().and_then(|config| config.agents.get(agent));
        entry.map(|entry| entry.set_env.clone()).unwrap_or_default()
    }

    fn secret(&self, name: &str) -> Option<&SecretString> {
        self.config.as_ref()?.secrets.get(name)
    }
}

impl Context<'_> {
    fn viewpoint(&self) -> Viewpoint {
        Viewpoint { now_ms: self.clock.now_ms(), zone: self.zone.clone() }
    }
}

/// Runs a verb that speaks to the server.
pub(super) async fn speak(verb: Verb, context: &mut Context<'_>) -> Result<Ended, CliError> {
    match verb {
        Verb::Submit(flags) => Box::pin(submit::run(*flags, context)).await,
        Verb::Ls(flags) => ls::run(flags, context).await,
        Verb::Show(flags) => show::run(&flags, context).await,
        Verb::Logs(flags) => Box::pin(logs::run(&flags, context)).await,
        Verb::Diff(flags) => Box::pin(diff::run(&flags, context)).await,
        Verb::Openapi => {
            let document = context.api.openapi().await?;
            context.out.line(document.trim_end()).map(|()| Ended::Done)
        }
        Verb::Wait(flags) => Box::pin(wait::run(&flags, context)).await,
        Verb::Cancel(flags) => cancel::run(&flags, context).await,
        Verb::Retry(flags) => Box::pin(retry::run(flags, context)).await,
        Verb::FollowUp(flags) => Box::pin(follow_up::run(*flags, context)).await,
        Verb::Artifacts(flags) => Box::pin(artifacts::run(&flags, context)).await,
        Verb::Attach(flags) => Box::pin(attach::run(&flags, context)).await,
        Verb::Rescue(flags) => Box::pin(rescue::run(&flags, context)).await,
        Verb::Open(flags) => Box::pin(open::run(&flags, context)).await,
        Verb::Queue(verb) => queue::run(verb, context).await,
        Verb::Gc { dry_run } => gc::run(dry_run, context).await,
        Verb::Webhook(verb) => Box::pin(webhook::run(verb, context)).await,
        Verb::Notify(verb) => notify::run(verb, context).await,
        Verb::Usage(flags) => usage::run(flags, context).await,
        Verb::Client(verb) => Box::pin(client::run(verb, context)).await,
        Verb::Profile(verb) => Box::pin(profile::run(verb, context)).await,
        Verb::Token(verb) => Box::pin(token::run(verb, context)).await,
        Verb::Backup(flags) => backup::run(&flags, context).await,
        Verb::Demo(_)
        | Verb::Doctor(_)
        | Verb::Init(_)
        | Verb::Service(_)
        | Verb::Restore(_)
        | Verb::Serve(_)
        | Verb::Config(_)
        | Verb::Completions { .. }
        | Verb::Man { .. }
        | Verb::Version => {
            unreachable!("local verbs are dispatched before a server is looked for")
        }
    }
}
