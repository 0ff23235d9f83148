//! One conversation: who is there, which session, what is asked, how it ends.

use std::future::Future;
use std::pin::pin;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use agent_client_protocol::schema::ProtocolVersion;
use agent_client_protocol::v1::schema::{
    CancelNotification, ContentBlock, Implementation, InitializeRequest, InitializeResponse,
    LoadSessionRequest, NewSessionRequest, PromptRequest, PromptResponse, RequestPermissionRequest,
    RequestPermissionResponse, ResumeSessionRequest, SessionId, SetSessionConfigOptionRequest,
    SetSessionModeRequest, TextContent,
};
use agent_client_protocol::v1::{ConnectionTo, Responder};
use agent_client_protocol::{Agent as AgentRole, Client, Error, ErrorCode, Lines, on_receive_request};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use super::child::{Agent, end_group, exit_code_of};
use super::deciding::{Deciding, is_unreadable};
use super::heard::Heard;
use super::lines::{incoming, outgoing};
use super::order::Order;
use super::parting::{gone, leave};
use super::policy::{Answer, outcome};
use super::said::{Said, Speaker};
use super::settings::{Offered, Setting};
use super::signals::Signals;
use crate::agent::{SESSION_ID_BYTES_MAX, is_session_id};

/// Until the agent says who it is: opencode takes five seconds, fifteen on a busy machine; a look at it may take half a minute,
/// in which the agent has to be gone as well.
const INITIALIZE_MAX: Duration = Duration::from_secs(120);
const PROBE_MAX: Duration = Duration::from_secs(20);
/// Until a session is there: a long conversation is read from the disk, servers of tools are started.
const SESSION_MAX: Duration = Duration::from_secs(120);
/// A setting is a word that is noted.
const SETTING_MAX: Duration = Duration::from_secs(30);
/// Until a cancelled turn is over. Whoever supervises this process has no more than five seconds before it terminates everything.
const CANCEL_MAX: Duration = Duration::from_secs(4);
/// gemini tells an old conversation after it has said that it is loaded: it has been told when nothing came for so long, or so often.
const HISTORY_PAUSE: Duration = Duration::from_millis(250);
const HISTORY_PAUSES_MAX: u32 = 40;

pub(super) const INITIALIZE: &str = "initialize";
const LOAD: &str = "session/load";
const PROMPT: &str = "session/prompt";

/// Why there is no answer.
enum Halt {
    Failed(Box<Said>),
    /// The agent is gone, and its exit says more.
    Gone,
    /// Told to stop, with this exit code.
    Stopped(u8),
}

impl Halt {
    fn failed(said: Said) -> Self {
        Self::Failed(Box::new(said))
    }
}

/// Holds the conversation that is ordered, and gives the exit code that tells of it.
pub(super) async fn hold(order: &Order, prompt: String, speaker: &Speaker) -> ExitCode {
    let started = Signals::listen().and_then(|signals| Ok((signals, Agent::start(order)?)));
    let (mut signals, (agent, stdin, stdout)) = match started {
        Ok(started) => started,
        Err(error) => {
            let why = match error.kind() {
                std::io::ErrorKind::NotFound | std::io::ErrorKind::PermissionDenied => "missing",
                _ => "other",
            };
            speaker.say(&Said::failed_for("start", why, &format!("the agent cannot be started: {error}")));
            return ExitCode::FAILURE;
        }
    };
    let heard = Arc::new(Heard::default());
    let asked = Arc::new(Asked::default());
    // whoever looks reads one line
    let shown = if order.is_probe { Speaker::new(Box::new(std::io::sink())) } else { speaker.clone() };
    let (lines, rest) = incoming(stdout, heard.clone(), shown);
    let transport = Lines::new(outgoing(stdin, heard.clone()), Box::pin(lines));
    let (of_questions, answering, deciding) = (asked.clone(), speaker.clone(), Deciding::new(order, &heard));
    let (mut ended, mut broken) = (Err(Halt::Gone), None);
    // how the connection ended says less than how the conversation did
    let _ = Client
        .v1()
        .on_receive_request(
            async move |request: RequestPermissionRequest,
                        responder: Responder<RequestPermissionResponse>,
                        _: ConnectionTo<AgentRole>| {
                let unreadable = is_unreadable(&request);
                let (answer, told) = outcome(deciding.answer(&request), &request.options);
                let tool_call_id = request.tool_call.tool_call_id.to_string();
                answering.say(&Said::Answered { tool_call_id, answer: answer.as_str(), unreadable });
                if answer == Answer::Unanswered {
                    of_questions.in_vain();
                }
                responder.respond(RequestPermissionResponse::new(told))
            },
            on_receive_request!(),
        )
        .connect_with(transport, async |to: ConnectionTo<AgentRole>| {
            let talk = Talk { order, to, heard: &heard, asked: &asked, speaker };
            let over = talk.run(prompt, &mut signals).await;
            broken = Some(heard.why_broken());
            // what the agent has not read by now it need not read: it may have closed its output and stand before a full input
            heard.break_off("the conversation is over");
            ended = over;
            Ok(())
        })
        .await;
    // the transport went with the connection, and with it the agent's input
    if let Err(Halt::Failed(said)) = &ended {
        speaker.say(said);
    }
    let status = leave(agent, &rest, speaker).await;
    let exit = match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(Halt::Failed(_)) => ExitCode::FAILURE,
        Err(Halt::Stopped(code)) => ExitCode::from(code),
        Err(Halt::Gone) => {
            if let Some(said) = gone(status, asked.step(), broken.unwrap_or_else(|| heard.why_broken())) {
                speaker.say(&said);
            }
            exit_code_of(status)
        }
    };
    if order.is_probe && exit != ExitCode::SUCCESS {
        end_group();
    }
    exit
}

/// What the agent was asked last, and whether it has asked something that nobody could answer.
struct Asked {
    step: Mutex<&'static str>,
    is_in_vain: AtomicBool,
    told: Notify,
}

impl Default for Asked {
    fn default() -> Self {
        Self { step: Mutex::new(INITIALIZE), is_in_vain: AtomicBool::default(), told: Notify::default() }
    }
}

impl Asked {
    /// Notes that it is asked now.
    fn ask(&self, step: &'static str) {
        *self.step.lock().unwrap_or_else(PoisonError::into_inner) = step;
    }

    fn step(&self) -> &'static str {
        *self.step.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn in_vain(&self) {
        self.is_in_vain.store(true, Ordering::Release);
        self.told.notify_one();
    }

    async fn once_in_vain(&self) {
        while !self.is_in_vain.load(Ordering::Acquire) {
            self.told.notified().await;
        }
    }
}

struct Talk<'a> {
    order: &'a Order,
    to: ConnectionTo<AgentRole>,
    heard: &'a Heard,
    asked: &'a Asked,
    speaker: &'a Speaker,
}

impl Talk<'_> {
    async fn run(&self, prompt: String, signals: &mut Signals) -> Result<(), Halt> {
        let max = if self.order.is_probe { PROBE_MAX } else { INITIALIZE_MAX };
        // no files and no terminals of ours: its own tools work in its own directory, in whatever walls are around it
        let me = Implementation::new("offshoot", env!("CARGO_PKG_VERSION"));
        let hello = InitializeRequest::new(ProtocolVersion::V1).client_info(me);
        let who = self.answer(INITIALIZE, max, self.to.send_request(hello).block_task(), signals).await?;
        let (agent, version) = match &who.agent_info {
            Some(info) => (Some(info.name.clone()), Some(info.version.clone())),
            None => (None, None),
        };
        if self.order.is_probe {
            let words = format!("ACP {} {}", agent.unwrap_or_default(), version.unwrap_or_default());
            self.speaker.pass_on(words.replace(['\n', '\r'], " ").as_bytes());
            return Ok(());
        }
        let (session, offered) = self.session(&who, signals).await?;
        self.set(&session, &offered, signals).await?;
        if self.order.resume.is_some() {
            hear_history(self.heard, signals.next()).await?;
        }
        let (session_id, resumed) = (session.to_string(), self.order.resume.is_some());
        self.speaker.say(&Said::Started { session_id, agent, version, resumed });
        self.heard.show();
        let answer = self.ask(session, prompt, signals).await?;
        let answer = serde_json::to_value(answer).unwrap_or_default();
        self.speaker.say(&Said::Ended { answer });
        Ok(())
    }

    /// A new session, or the one to go on with, in the way that the agent says it has.
    async fn session(
        &self,
        who: &InitializeResponse,
        signals: &mut Signals,
    ) -> Result<(SessionId, Offered), Halt> {
        let can = &who.agent_capabilities;
        let dir = std::env::current_dir().map_err(|error| {
            Halt::failed(Said::failed("start", &format!("the directory is gone: {error}")))
        })?;
        let more = match can.session_capabilities.additional_directories {
            Some(_) => self.order.more_dirs.clone(),
            None => Vec::new(),
        };
        let Some(id) = self.order.resume.clone() else {
            let request = NewSessionRequest::new(dir).additional_directories(more);
            let new = self
                .answer("session/new", SESSION_MAX, self.to.send_request(request).block_task(), signals)
                .await?;
            if !is_session_id(&new.session_id.to_string()) {
                let text = format!(
                    "the id of the new session is no word of 1 to {SESSION_ID_BYTES_MAX} letters, digits and signs of ASCII, \
                     or begins with a dash"
                );
                return Err(broken("session/new", &text));
            }
            let options = new.config_options.unwrap_or_default();
            return Ok((new.session_id, Offered { modes: new.modes, options }));
        };
        let id = SessionId::new(id);
        let (modes, options) = if can.session_capabilities.resume.is_some() {
            let request = ResumeSessionRequest::new(id.clone(), dir).additional_directories(more);
            let old = self
                .answer("session/resume", SESSION_MAX, self.to.send_request(request).block_task(), signals)
                .await?;
            (old.modes, old.config_options)
        } else if can.load_session {
            let request = LoadSessionRequest::new(id.clone(), dir).additional_directories(more);
            let old =
                self.answer(LOAD, SESSION_MAX, self.to.send_request(request).block_task(), signals).await?;
            (old.modes, old.config_options)
        } else {
            let text = "the agent cannot go on with a conversation";
            return Err(Halt::failed(Said::failed_for(LOAD, "not_offered", text)));
        };
        Ok((id, Offered { modes, options: options.unwrap_or_default() }))
    }

    /// Sets what is asked for. What the agent does not offer is refused where it could not be held otherwise.
    async fn set(&self, session: &SessionId, offered: &Offered, signals: &mut Signals) -> Result<(), Halt> {
        let not_offered = |what: &str| {
            let text = format!("options.{what} is nothing that this agent offers");
            Err(Halt::failed(Said::failed_for("settings", "not_offered", &text)))
        };
        let mode = offered.mode(self.order.mode);
        if mode.is_none() && self.order.mode.needs_a_mode_of_the_agent() {
            return not_offered("permissionMode \"plan\"");
        }
        let model = match &self.order.model {
            Some(model) => match offered.model(model) {
                Some(setting) => Some(setting),
                None => return not_offered(&format!("model \"{model}\"")),
            },
            None => None,
        };
        for setting in mode.into_iter().chain(model) {
            match setting {
                Setting::Mode(id) => {
                    let request = SetSessionModeRequest::new(session.clone(), id);
                    self.answer(
                        "session/set_mode",
                        SETTING_MAX,
                        self.to.send_request(request).block_task(),
                        signals,
                    )
                    .await?;
                }
                Setting::Option(id, value) => {
                    let request = SetSessionConfigOptionRequest::new(session.clone(), id, value);
                    let sent = self.to.send_request(request).block_task();
                    self.answer("session/set_config_option", SETTING_MAX, sent, signals).await?;
                }
            }
        }
        Ok(())
    }

    /// The agent's answer to one step before the prompt, or why there is none.
    async fn answer<T>(
        &self,
        step: &'static str,
        max: Duration,
        sent: impl Future<Output = Result<T, Error>>,
        signals: &mut Signals,
    ) -> Result<T, Halt> {
        self.asked.ask(step);
        tokio::select! {
            biased;
            answered = within(step, max, sent, signals) => answered,
            why = self.heard.broken() => Err(broken(step, &why)),
        }
    }

    /// The turn itself: it may take as long as whoever supervises this process lets it.
    async fn ask(
        &self,
        session: SessionId,
        prompt: String,
        signals: &mut Signals,
    ) -> Result<PromptResponse, Halt> {
        self.asked.ask(PROMPT);
        let words = vec![ContentBlock::Text(TextContent::new(prompt))];
        let sent = self.to.send_request(PromptRequest::new(session.clone(), words)).block_task();
        let mut answered = pin!(sent);
        let stopped_by = tokio::select! {
            biased;
            answered = &mut answered => return answered.map_err(|error| halt(PROMPT, error)),
            why = self.heard.broken() => return Err(broken(PROMPT, &why)),
            code = signals.next() => Some(code),
            () = self.asked.once_in_vain() => None,
        };
        let _ = self.to.send_notification(CancelNotification::new(session));
        let answered = tokio::select! {
            answered = timeout(CANCEL_MAX, &mut answered) => answered,
            why = self.heard.broken() => return Err(broken(PROMPT, &why)),
            // the second one is meant
            code = signals.next() => return Err(Halt::Stopped(code)),
        };
        match (answered, stopped_by) {
            (Ok(answered), _) => answered.map_err(|error| halt(PROMPT, error)),
            (Err(_), Some(code)) => Err(Halt::Stopped(code)),
            (Err(_), None) => Err(deadline(PROMPT, CANCEL_MAX)),
        }
    }
}

/// Waits until what was said long ago has been told again, and no longer once the conversation is over or `stopped`: the prompt costs
/// something.
async fn hear_history(heard: &Heard, stopped: impl Future<Output = u8>) -> Result<(), Halt> {
    let quiet = async {
        let mut before = u64::MAX;
        for _ in 0..HISTORY_PAUSES_MAX {
            let now = heard.notifications();
            if now == before {
                return;
            }
            before = now;
            sleep(HISTORY_PAUSE).await;
        }
    };
    tokio::select! {
        biased;
        code = stopped => Err(Halt::Stopped(code)),
        why = heard.broken() => Err(broken(LOAD, &why)),
        () = quiet => Ok(()),
    }
}

/// Waits for what was `sent`, for `max` at the longest, and no longer once a signal says to stop.
async fn within<T>(
    step: &'static str,
    max: Duration,
    sent: impl Future<Output = Result<T, Error>>,
    signals: &mut Signals,
) -> Result<T, Halt> {
    tokio::select! {
        biased;
        answered = timeout(max, sent) => match answered {
            Ok(answered) => answered.map_err(|error| halt(step, error)),
            Err(_) => Err(deadline(step, max)),
        },
        code = signals.next() => Err(Halt::Stopped(code)),
    }
}

/// It has said something that ends the conversation.
fn broken(step: &'static str, why: &str) -> Halt {
    Halt::failed(Said::failed_for(step, "malformed", why))
}

fn deadline(step: &'static str, max: Duration) -> Halt {
    let text = format!("the agent did not answer {step} within {} s", max.as_secs());
    Halt::failed(Said::failed_for(step, "deadline", &text))
}

fn halt(step: &'static str, error: Error) -> Halt {
    let is_gone = agent_client_protocol::is_incoming_transport_closed(&error)
        || agent_client_protocol::is_connection_terminated(&error);
    if is_gone {
        return Halt::Gone;
    }
    let code = Some(i32::from(error.code));
    if step == INITIALIZE && error.code == ErrorCode::INVALID_REQUEST {
        // the crate refuses so what speaks another version; an agent that did not understand the first words is none of ours either
        let told = error.data.as_ref().and_then(serde_json::Value::as_str).unwrap_or(&error.message);
        let text = format!("the agent does not speak version 1 of the Agent Client Protocol: {told}");
        return Halt::failed(Said::failed_for(step, "version", &text));
    }
    Halt::failed(Said::Failed { step, why: None, code, message: error.message, data: error.data })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(halt: Halt) -> Said {
        match halt {
            Halt::Failed(said) => *said,
            Halt::Gone | Halt::Stopped(_) => panic!("it has not failed"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn no_step_waits_longer_than_it_may() {
        let mut signals = Signals::listen().unwrap();
        let began = tokio::time::Instant::now();
        let never = std::future::pending::<Result<(), Error>>();
        let halt = within("session/new", SESSION_MAX, never, &mut signals).await;
        let Err(halt) = halt else { panic!("nobody answers") };
        let Said::Failed { step, why, message, .. } = failed(halt) else { panic!("it has not failed") };
        assert_eq!((step, why), ("session/new", Some("deadline")));
        assert_eq!(message, "the agent did not answer session/new within 120 s");
        assert_eq!(began.elapsed().as_secs(), SESSION_MAX.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_old_words_whose_prompt_will_never_be_sent() {
        use std::future::{pending, ready};
        let (began, heard) = (tokio::time::Instant::now(), Heard::default());
        let stopped = hear_history(&heard, ready(130)).await;
        assert!(matches!(stopped, Err(Halt::Stopped(130))));
        assert_eq!(began.elapsed(), Duration::ZERO);
        assert!(hear_history(&heard, pending()).await.is_ok());
        assert_eq!(began.elapsed(), HISTORY_PAUSE, "nothing came");
        heard.break_off("it has said what is none");
        let Err(halt) = hear_history(&heard, pending()).await else { panic!("it cannot go on") };
        let Said::Failed { step, why, .. } = failed(halt) else { panic!("it has not failed") };
        assert_eq!((step, why, began.elapsed()), (LOAD, Some("malformed"), HISTORY_PAUSE));
    }

    #[test]
    fn a_version_that_is_not_spoken_and_an_error_of_the_agent_are_told_apart() {
        let refused = Error::invalid_request().data(serde_json::json!("version 2"));
        let Said::Failed { why, message, .. } = failed(halt(INITIALIZE, refused.clone())) else {
            panic!("it has not failed")
        };
        assert!(why == Some("version") && message.ends_with(": version 2"), "{message}");
        let Said::Failed { why, code, .. } = failed(halt(PROMPT, refused)) else { panic!() };
        assert_eq!((why, code), (None, Some(-32_600)));
    }
}
