//! `offshoot webhook`

use clap::Subcommand;

use super::Context;
use crate::cli::error::{CliError, Ended, ErrorKind};
use crate::cli::human;
use crate::cli::views::{Viewpoint, plural};
use crate::wire::delivery::{DeliveryView, ListedDelivery, TestRequest};

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum WebhookVerb {
    /// List callbacks, newest first, and the URLs that are left alone.
    Ls {
        /// Only those in these states: pending, delivered, suspended, dead.
        #[arg(long, value_name = "STATE,…")]
        state: Option<String>,
        /// Only those to exactly this URL.
        #[arg(long, value_name = "URL")]
        to: Option<String>,
        /// Show at most this many.
        #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=200))]
        limit: u32,
    },
    /// Show one callback with every try and what is sent.
    Show {
        /// The id of the delivery, as `webhook ls` shows it.
        #[arg(value_name = "DELIVERY")]
        delivery: String,
    },
    /// Send callbacks again, with the same id and bytes.
    Redeliver {
        /// The ids of the deliveries.
        #[arg(value_name = "DELIVERY", required_unless_present = "dead")]
        deliveries: Vec<String>,
        /// All that are dead, after the receiver was mended.
        #[arg(long, conflicts_with = "deliveries")]
        dead: bool,
    },
    /// Call a receiver once, signed, with an event of type webhook.test.
    Test {
        /// A URL, or a job whose callback URL is called.
        #[arg(value_name = "URL|JOB")]
        target: String,
    },
    /// Call a URL again that had answered 410.
    Resume {
        /// The URL, as `webhook ls` shows it.
        #[arg(value_name = "CALLBACK_URL")]
        target: String,
    },
}

pub(super) async fn run(verb: WebhookVerb, context: &mut Context<'_>) -> Result<Ended, CliError> {
    match verb {
        WebhookVerb::Ls { state, to, limit } => list(state, to, limit, context).await,
        WebhookVerb::Show { delivery } => show(&delivery, context).await,
        WebhookVerb::Redeliver { deliveries, dead } => redeliver(deliveries, dead, context).await,
        WebhookVerb::Test { target } => test(target, context).await,
        WebhookVerb::Resume { target } => resume(target, context).await,
    }
}

async fn list(
    state: Option<String>,
    to: Option<String>,
    limit: u32,
    context: &mut Context<'_>,
) -> Result<Ended, CliError> {
    let page = context.api.list_all_deliveries(state, to, Some(limit), None).await?;
    if context.out.is_json() {
        context.out.json(&page)?;
        return Ok(Ended::Done);
    }
    let view = context.viewpoint();
    let rows: Vec<_> = page.deliveries.iter().map(|one| row(one, &view)).collect();
    if rows.is_empty() {
        context.out.say("no callbacks");
    } else {
        context.out.table(
            &["DELIVERY", "STATE", "JOB", "EVENT", "TRIES", "LAST", "AGE", "URL"],
            rows,
            &[],
        )?;
    }
    if page.next_cursor.is_some() {
        context.out.say("there are more:  offshoot webhook ls --limit 200");
    }
    for one in context.api.suspended_urls().await?.urls {
        let url = human::printable(&one.url);
        context.out.say(&format!("{url} answered 410; {} wait for it", one.waiting));
        context.out.say(&format!("call it again:  offshoot webhook resume {url}"));
    }
    Ok(Ended::Done)
}

fn row(one: &ListedDelivery, view: &Viewpoint) -> Vec<String> {
    let last = match (one.last_status, &one.last_error) {
        (Some(status), _) => status.to_string(),
        (None, Some(error)) => human::one_line(error, 40),
        (None, None) => "-".to_owned(),
    };
    vec![
        one.id.clone(),
        one.state.to_string(),
        one.job_number.to_string(),
        one.type_.clone(),
        one.tries.to_string(),
        last,
        view.age(one.created_at),
        one.url.clone(),
    ]
}

async fn show(delivery: &str, context: &mut Context<'_>) -> Result<Ended, CliError> {
    let found = context.api.delivery(delivery).await?;
    if context.out.is_json() {
        context.out.json(&found)?;
        return Ok(Ended::Done);
    }
    let view = context.viewpoint();
    let DeliveryView { delivery: one, job_number, body, .. } = &found;
    context.out.line(&format!("{} of job {job_number}: {} ({})", one.id, one.state, one.type_))?;
    context.out.line(&format!("to   {}", human::printable(&one.url)))?;
    context.out.line(&format!("id   {}", one.event_id))?;
    for each in &one.history {
        let status = each.status.map_or_else(|| "-".to_owned(), |status| status.to_string());
        let error = each.error.as_deref().map(human::printable).unwrap_or_default();
        let at = view.clock(each.at);
        context
            .out
            .line(&format!("try {}  {at}  {status}  {} ms  {error}", each.number, each.duration_ms))?;
    }
    if let Some(at) = one.next_try_at {
        context.out.line(&format!("next try {}", view.clock(at)))?;
    }
    let text = serde_json::to_string_pretty(body).unwrap_or_default();
    context.out.line(&human::printable(&text))?;
    context.out.say(&format!("send it again:  offshoot webhook redeliver {}", one.id));
    Ok(Ended::Done)
}

async fn redeliver(
    mut deliveries: Vec<String>,
    dead: bool,
    context: &mut Context<'_>,
) -> Result<Ended, CliError> {
    let mut after = None;
    let mut more = dead;
    while more {
        // all are read before the first is sent: sending changes the list
        let page = context.api.list_all_deliveries(Some("dead".to_owned()), None, Some(200), after).await?;
        deliveries.extend(page.deliveries.into_iter().map(|one| one.id));
        after = page.next_cursor;
        more = after.is_some();
    }
    let mut sent = Vec::with_capacity(deliveries.len());
    for id in &deliveries {
        sent.push(context.api.redeliver(id).await?);
    }
    if context.out.is_json() {
        context.out.json(&crate::wire::delivery::DeliveryList { deliveries: sent })?;
    } else {
        let count = i64::try_from(sent.len()).unwrap_or(i64::MAX);
        context.out.line(&format!("{count} {} made due again", plural(count, "callback")))?;
        context.out.say("see what becomes of them:  offshoot webhook ls");
    }
    Ok(Ended::Done)
}

async fn test(target: String, context: &mut Context<'_>) -> Result<Ended, CliError> {
    let again = human::printable(&target);
    let request = if target.contains("://") {
        TestRequest { url: Some(target), job_id: None }
    } else {
        TestRequest { url: None, job_id: Some(target) }
    };
    let tested = context.api.test_webhook(&request).await?;
    if context.out.is_json() {
        context.out.json(&tested)?;
        return Ok(Ended::in_part_if(tested.error.is_some()));
    }
    let status = tested.status.map_or_else(|| "no answer".to_owned(), |status| status.to_string());
    let url = human::printable(&tested.url);
    context.out.line(&format!("{url}: {status} after {} ms", tested.duration_ms))?;
    if !tested.signed {
        context.out.say("unsigned: set callbacks.secret (WEBHOOK_SECRET)");
    }
    match tested.error {
        Some(error) => Err(CliError::new(ErrorKind::Failed, human::printable(&error))
            .hint("try again when the receiver is mended", format!("offshoot webhook test {again}"))),
        None => Ok(Ended::Done),
    }
}

async fn resume(url: String, context: &mut Context<'_>) -> Result<Ended, CliError> {
    let resumed = context.api.resume_webhook(url).await?;
    if context.out.is_json() {
        context.out.json(&resumed)?;
    } else {
        let count = i64::try_from(resumed.resumed).unwrap_or(i64::MAX);
        context.out.line(&format!("{count} {} made due again", plural(count, "callback")))?;
    }
    Ok(Ended::Done)
}
