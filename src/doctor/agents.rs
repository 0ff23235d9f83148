//! The agents' programs: as this shell finds them, and as the running server does.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::Path;

use futures_util::future::join_all;
use secrecy::ExposeSecret as _;
use tokio::time::timeout;

use super::fault::Fault;
use super::not_over;
use super::patient::Patient;
use super::service::mend_of_server;
use crate::config::{AgentEntry, Config, Origin};
use crate::domain::agent_kind::AgentKind;
use crate::domain::phrases::edit;
use crate::wire::doctor::{Finding, Verdict};
use crate::wire::health::AgentHealth;
use crate::worker::{ProgramLook, find_program, look_at_program};

const CHECK: &str = "agents";
/// What jobs use where nobody says otherwise.
pub(super) const USUAL: &str = "claude";

pub(super) async fn agents(patient: &Patient<'_>) -> Vec<Finding> {
    let config = match patient.config() {
        Ok(config) => config,
        Err(why) => return vec![Finding::skipped(CHECK, why)],
    };
    let used = config.defaults.agent.as_deref().unwrap_or(USUAL);
    let wanted = config.agents.iter().filter(|(name, _)| *name == used || is_named_by_owner(config, name));
    // side by side: one that hangs keeps no other from being told of
    let looks = wanted.map(|(name, entry)| async move {
        let finding = match patient.within {
            None => one(patient, name, entry).await,
            Some(limit) => timeout(limit, one(patient, name, entry))
                .await
                .unwrap_or_else(|_| Finding::skipped(CHECK, not_over(limit))),
        };
        let finding = if name == used { finding } else { of_lesser_weight(finding) };
        finding.about(name)
    });
    join_all(looks).await
}

/// Whether the entry is more than ready-made.
pub(super) fn is_named_by_owner(config: &Config, name: &str) -> bool {
    let section = format!("agents.{name}.");
    config.rows().iter().any(|row| row.key.starts_with(&section) && row.origin != Origin::Default)
}

/// Only the agent that jobs use keeps all jobs from being done.
fn of_lesser_weight(finding: Finding) -> Finding {
    if finding.verdict != Verdict::Fail {
        return finding;
    }
    let lesser = Finding::of(Fault::OtherAgentUnusable, finding.detail);
    Finding { mend: finding.mend, ..lesser }
}

async fn one(patient: &Patient<'_>, name: &str, entry: &AgentEntry) -> Finding {
    let Some(program) = &entry.command else {
        let finding = Finding::of(Fault::AgentMissing, format!("agents.{name}.command names no program"));
        return finding.mended_by(how_to_name(patient, name));
    };
    let command: Vec<String> = std::iter::once(program).chain(&entry.args).cloned().collect();
    let mut environment = patient.env.for_agent(&entry.env);
    for (variable, value) in &entry.set_env {
        environment.insert(variable.into(), value.expose_secret().into());
    }
    let look = look_at_program(entry.kind, &command, &environment).await;
    let there = is_there(program, &environment);
    let mut finding = judge(entry.kind, program, &look, there);
    if !there && Path::new(program).is_absolute() {
        // whatever is installed may lie elsewhere
        finding = finding.mended_by(how_to_name(patient, name));
    }
    // the running server has nobody but itself to be compared with, as it was before
    if finding.verdict != Verdict::Ok || patient.is_server() {
        return finding;
    }
    let of_server = patient.server.own_health().and_then(|health| {
        health.agents.iter().find(|agent| agent.name == name && agent.checked_at.is_some())
    });
    let Some(worse) = of_server.and_then(|agent| as_the_server_sees(agent, &look)) else { return finding };
    let lacks = (worse.code == Some(Fault::ServiceMissesAgent.code())).then_some(program.as_str());
    let mend = mend_of_server(patient, lacks).or_else(|| worse.mend.clone());
    let by_hand = if patient.service.is_none() {
        "; it was started by hand: end it, and start it from this shell"
    } else {
        ""
    };
    Finding { detail: worse.detail + by_hand, mend, ..worse }
}

/// Where the program of this entry is named, or could be.
fn how_to_name(patient: &Patient<'_>, name: &str) -> String {
    let key = format!("agents.{name}.command");
    let rows = patient.config().map(Config::rows).unwrap_or_default();
    let is_in_file = rows.iter().any(|row| row.key == key && matches!(row.origin, Origin::File { .. }));
    // a name with a hyphen is in no variable
    if is_in_file || name.contains('-') {
        return edit(patient.config_file.as_deref().unwrap_or(Path::new("FILE")));
    }
    format!("export OFFSHOOT_AGENTS_{}_COMMAND=/path/of/program", name.to_uppercase())
}

fn is_there(program: &str, environment: &BTreeMap<OsString, OsString>) -> bool {
    let path = environment.get(OsStr::new("PATH")).cloned().unwrap_or_default();
    find_program(program, &path).is_some()
}

/// What the look means. `there`: the program is, whatever it said.
fn judge(kind: AgentKind, program: &str, look: &ProgramLook, there: bool) -> Finding {
    let version = look.version.as_deref().unwrap_or("no version");
    match look {
        _ if !there => Finding::of(Fault::AgentMissing, format!("{program} was not found"))
            .mended_by(install(kind, program)),
        ProgramLook { installed: false, version: Some(_), version_min, .. } => {
            let least = version_min.as_deref().unwrap_or_default();
            let detail = format!("{program} {version} is older than {least}");
            Finding::of(Fault::AgentOld, detail).mended_by(update(kind, program))
        }
        ProgramLook { installed: false, .. } => {
            let detail = format!("{program} does not say its version");
            Finding::of(Fault::AgentMissing, detail).mended_by(format!("{program} --version"))
        }
        ProgramLook { authenticated: Some(false), .. } => {
            Finding::of(Fault::AgentNotLoggedIn, format!("{program} {version} is not logged in"))
                .mended_by(log_in(kind, program))
        }
        ProgramLook { authenticated: Some(true), .. } => {
            Finding::ok(CHECK, format!("{program} {version}, logged in"))
        }
        ProgramLook { version: Some(_), .. } => {
            Finding::ok(CHECK, format!("{program} {version}; whether it is logged in only a job tells"))
        }
        _ => Finding::ok(CHECK, format!("{program} is there")),
    }
}

/// The fault, when the server's environment lacks what this shell has.
fn as_the_server_sees(agent: &AgentHealth, here: &ProgramLook) -> Option<Finding> {
    if !agent.installed {
        let detail = "this shell finds it, the running server does not: its PATH is another one";
        return Some(Finding::of(Fault::ServiceMissesAgent, detail));
    }
    let is_out = agent.authenticated == Some(false) && here.authenticated == Some(true);
    is_out.then(|| {
        let detail =
            "logged in for this shell and not for the running server: USER, HOME or a variable differs";
        Finding::of(Fault::ServerNotLoggedIn, detail)
    })
}

/// By the usual packages; how a program of one's own is installed nobody knows.
fn install(kind: AgentKind, program: &str) -> String {
    match kind {
        AgentKind::Claude => "npm install -g @anthropic-ai/claude-code".to_owned(),
        AgentKind::Codex => "npm install -g @openai/codex".to_owned(),
        AgentKind::Opencode => "npm install -g opencode-ai".to_owned(),
        AgentKind::Gemini => "npm install -g @google/gemini-cli".to_owned(),
        AgentKind::Acp | AgentKind::Command => format!("command -v {program}"),
    }
}

fn update(kind: AgentKind, program: &str) -> String {
    match kind {
        AgentKind::Claude => format!("{program} update"),
        _ => install(kind, program),
    }
}

fn log_in(kind: AgentKind, program: &str) -> String {
    match kind {
        AgentKind::Claude | AgentKind::Opencode => format!("{program} auth login"),
        AgentKind::Codex => format!("{program} login"),
        // both ask for the login when they are started by hand
        AgentKind::Gemini | AgentKind::Acp | AgentKind::Command => program.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(installed: bool, version: Option<&str>, authenticated: Option<bool>) -> ProgramLook {
        let version = version.map(str::to_owned);
        ProgramLook { installed, version, version_min: Some("2.0.0".to_owned()), authenticated }
    }

    #[test]
    fn each_way_in_which_an_agent_is_not_ready_has_its_code_and_its_command() {
        let rows = [
            (
                look(false, None, None),
                false,
                Some("agent_missing"),
                Some("npm install -g @anthropic-ai/claude-code"),
            ),
            (look(false, None, None), true, Some("agent_missing"), Some("claude --version")),
            (look(false, Some("1.9.9"), None), true, Some("agent_old"), Some("claude update")),
            (
                look(true, Some("2.1.0"), Some(false)),
                true,
                Some("agent_not_logged_in"),
                Some("claude auth login"),
            ),
            (look(true, Some("2.1.0"), Some(true)), true, None, None),
            (look(true, Some("2.1.0"), None), true, None, None),
        ];
        for (look, there, code, mend) in rows {
            let finding = judge(AgentKind::Claude, "claude", &look, there);
            assert_eq!((finding.code, finding.mend.as_deref()), (code, mend), "{look:?}");
        }
    }

    #[test]
    fn what_the_server_lacks_and_this_shell_has_is_told() {
        let agent = |installed, authenticated| AgentHealth {
            name: "claude".to_owned(),
            kind: "claude".to_owned(),
            installed,
            version: None,
            version_min: None,
            authenticated,
            checked_at: None,
            can: Default::default(),
        };
        let here = look(true, Some("2.1.0"), Some(true));
        let code = |agent: AgentHealth| as_the_server_sees(&agent, &here).and_then(|finding| finding.code);
        assert_eq!(code(agent(false, None)), Some("server_misses_agent"));
        assert_eq!(code(agent(true, Some(false))), Some("server_not_logged_in"));
        assert_eq!(code(agent(true, Some(true))), None);
    }
}
