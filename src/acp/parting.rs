//! Parting from the agent, whoever has ended the conversation.

use std::pin::pin;
use std::process::ExitStatus;
use std::time::Duration;

use tokio::io::AsyncRead;
use tokio::time::timeout;

use super::child::Agent;
use super::conversation::INITIALIZE;
use super::lines::Rest;
use super::said::{Said, Speaker};

/// Whoever an agent has given its output to may hold it for ever.
const LAST_WORDS_MAX: Duration = Duration::from_secs(1);

/// Lets the agent go, and shows what it says on its way: it may store its conversation, and tell what that has cost.
pub(super) async fn leave<R: AsyncRead + Unpin>(
    agent: Agent,
    rest: &Rest<R>,
    speaker: &Speaker,
) -> Option<ExitStatus> {
    let mut leaving = pin!(agent.leave());
    let mut hearing = pin!(rest.hear());
    let status = tokio::select! {
        status = &mut leaving => {
            let _ = timeout(LAST_WORDS_MAX, hearing).await;
            status
        }
        () = &mut hearing => leaving.await,
    };
    speaker.say(&Said::Left {});
    status
}

/// What the exit of an agent that is gone does not say; `broken`: why the conversation could not go on before it went.
pub(super) fn gone(status: Option<ExitStatus>, step: &'static str, broken: Option<String>) -> Option<Said> {
    if let Some(why) = broken {
        return Some(Said::failed_for(step, "malformed", &why));
    }
    let Some(status) = status else {
        let text = "the agent closed its output without an answer, and had to be ended";
        return Some(Said::failed_for(step, "closed", text));
    };
    let code = status.code().filter(|_| step == INITIALIZE)?;
    let text = format!("the agent exited with code {code} before it had said who it is");
    Some(Said::failed_for(step, "closed", &text))
}
