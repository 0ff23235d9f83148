//! `offshoot token`

use std::time::Duration;

use clap::{Args, Subcommand};

use super::{Context, client};
use crate::cli::error::{CliError, Ended, ErrorKind};
use crate::cli::human;
use crate::domain::time::Timestamp;
use crate::domain::token::Scope;
use crate::wire::time::UtcTime;
use crate::wire::token::{Token, TokenList, TokenRequest};

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum TokenVerb {
    /// Make a token and show it once: what it may, for which clients, for how long.
    New(TokenNewFlags),
    /// List the tokens, those that were revoked too.
    Ls,
    /// Have a token open nothing any more; streams that it opened end.
    Revoke {
        /// The name or id of a token.
        #[arg(value_name = "TOKEN")]
        token: String,
    },
}

#[derive(Debug, Args)]
#[command(after_help = "The token goes to standard output, everything else to standard error. Use it with: \
                  OFFSHOOT_TOKEN=TOKEN offshoot ls")]
pub(in crate::cli) struct TokenNewFlags {
    /// Call it this: a-z, 0-9, - and _. Jobs that it submits say so.
    #[arg(value_name = "NAME")]
    name: String,
    /// Let it do this: read; submit jobs with safe options, within your limits; operate them with any; admin also clients, profiles and tokens.
    #[arg(long, value_name = "SCOPE", default_value = "read", value_parser = Scope::WORDS.to_vec())]
    scope: String,
    /// Limit it to this client; repeatable.
    #[arg(long, value_name = "CLIENT")]
    client: Vec<String>,
    /// Let it expire after this time, for example 90d.
    #[arg(long, value_name = "DURATION", value_parser = human::parse_duration)]
    expires: Option<Duration>,
}

pub(super) async fn run(verb: TokenVerb, context: &mut Context<'_>) -> Result<Ended, CliError> {
    match verb {
        TokenVerb::New(flags) => make(flags, context).await,
        TokenVerb::Ls => list(context).await,
        TokenVerb::Revoke { token } => revoke(&token, context).await,
    }
}

async fn make(flags: TokenNewFlags, context: &mut Context<'_>) -> Result<Ended, CliError> {
    let mut clients = Vec::new();
    for name in &flags.client {
        clients.push(client::find(&context.api, name).await?.id);
    }
    let now = Timestamp::from_ms(context.clock.now_ms());
    let request = TokenRequest {
        name: Some(flags.name),
        scope: Some(flags.scope),
        clients: Some(clients).filter(|clients| !clients.is_empty()),
        expires_at: flags.expires.map(|expires| UtcTime(now + expires).to_string()),
    };
    let made = context.api.create_token(&request).await?;
    if context.out.is_json() {
        context.out.json(&made)?;
        return Ok(Ended::Done);
    }
    if let Some(token) = &made.token {
        context.out.line(token.expose())?;
    }
    context.out.say("This is shown once and kept nowhere: put it where it is used.");
    for warning in &made.warnings {
        context.out.say(&format!("warning: {}", human::printable(warning)));
    }
    context.out.say("  use it:    OFFSHOOT_TOKEN=TOKEN offshoot ls");
    context.out.say(&format!("  end it:    offshoot token revoke {}", made.details.name));
    Ok(Ended::Done)
}

async fn list(context: &mut Context<'_>) -> Result<Ended, CliError> {
    let tokens = context.api.list_tokens().await?;
    if context.out.is_json() {
        context.out.json(&TokenList { tokens })?;
        return Ok(Ended::Done);
    }
    if tokens.is_empty() {
        context.out.say(
            "No named tokens yet: only the server's own secret opens it.\n  make one:  offshoot token new NAME --scope submit",
        );
        return Ok(Ended::Done);
    }
    let now_ms = context.clock.now_ms();
    let rows = tokens.iter().map(|token| row(token, now_ms));
    context.out.table(&["NAME", "ID", "SCOPE", "CLIENTS", "LAST USED", "STATE"], rows.collect(), &[])?;
    Ok(Ended::Done)
}

fn row(token: &Token, now_ms: i64) -> Vec<String> {
    vec![
        human::printable(&token.name),
        human::printable(&token.id),
        human::printable(&token.scope),
        token.clients.as_ref().map_or_else(|| "all".to_owned(), |clients| clients.len().to_string()),
        token.last_used_at.map_or_else(|| "never".to_owned(), |at| human::age(now_ms, at.0.as_ms())),
        state(token, now_ms),
    ]
}

fn state(token: &Token, now_ms: i64) -> String {
    match (token.revoked_at, token.expires_at) {
        (Some(_), _) => "revoked".to_owned(),
        (None, Some(end)) if end.0.as_ms() <= now_ms => "expired".to_owned(),
        (None, Some(end)) => format!("until {}", &end.to_string()[..10]),
        (None, None) => "for good".to_owned(),
    }
}

async fn revoke(name: &str, context: &mut Context<'_>) -> Result<Ended, CliError> {
    let tokens = context.api.list_tokens().await?;
    let id = which(&tokens, name).ok_or_else(|| {
        CliError::new(ErrorKind::NotFound, format!("no token is called {name:?}"))
            .hint("see which there are", "offshoot token ls")
    })?;
    let revoked = context.api.revoke_token(&id).await?;
    if context.out.is_json() {
        context.out.json(&revoked)?;
    } else {
        context.out.line(&format!(
            "Revoked {} ({})",
            human::printable(&revoked.name),
            human::printable(&revoked.id)
        ))?;
    }
    Ok(Ended::Done)
}

/// By its id, else by its name; of those of one name all but one are revoked.
fn which(tokens: &[Token], name: &str) -> Option<String> {
    let by_name = || {
        let same = |token: &&Token| token.name == name;
        tokens
            .iter()
            .filter(same)
            .find(|token| token.revoked_at.is_none())
            .or_else(|| tokens.iter().find(same))
    };
    tokens.iter().find(|token| token.id == name).or_else(by_name).map(|token| token.id.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(id: &str, name: &str, revoked: bool) -> Token {
        let at = UtcTime(Timestamp::from_ms(1_000));
        Token {
            id: id.to_owned(),
            name: name.to_owned(),
            scope: "read".to_owned(),
            clients: None,
            created_at: at,
            created_by: "admin".to_owned(),
            expires_at: None,
            last_used_at: None,
            revoked_at: revoked.then_some(at),
        }
    }

    #[test]
    fn a_name_is_that_of_the_token_that_still_opens_something() {
        let tokens =
            [token("tok-c", "ci", true), token("tok-b", "ci", false), token("tok-a", "tok-b", false)];
        assert_eq!(which(&tokens, "ci").as_deref(), Some("tok-b"));
        assert_eq!(which(&tokens, "tok-b").as_deref(), Some("tok-b"), "ids come first");
        assert_eq!(which(&tokens, "tok-c").as_deref(), Some("tok-c"));
        assert_eq!(which(&tokens, "x"), None);
    }

    #[test]
    fn a_list_says_how_long_each_is_good() {
        let ends = Token {
            expires_at: Some(UtcTime(Timestamp::from_ms(86_400_000))),
            ..token("tok-a", "ci", false)
        };
        assert_eq!(state(&ends, 0), "until 1970-01-02");
        assert_eq!(state(&ends, 86_400_000), "expired");
        assert_eq!(state(&token("tok-a", "ci", true), 0), "revoked");
        assert_eq!(row(&token("tok-a", "ci", false), 0)[3..], ["all", "never", "for good"]);
    }
}
