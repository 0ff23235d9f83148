//! The service that is installed, as it will be started: in an environment of its own.

use std::path::Path;

use super::agents::{USUAL, is_named_by_owner};
use super::fault::Fault;
use super::patient::Patient;
use super::places::beside_the_agents;
use crate::domain::phrases::edit;
use crate::wire::doctor::Finding;
use crate::worker::find_program;

const CHECK: &str = "service";
/// Starts it anew, with what its files say now; agents go on meanwhile.
const RESTART: &str = "offshoot service stop && offshoot service start";

pub(super) fn service(patient: &Patient<'_>) -> Vec<Finding> {
    let Some(service) = &patient.service else {
        return vec![Finding::ok(CHECK, "none is installed: the server is started by hand")];
    };
    let file = service.file.display();
    let mut findings = Vec::new();
    if let Some(path) = &service.path {
        for (subject, program, decides) in wanted(patient) {
            if find_program(&program, path).is_some() {
                continue;
            }
            let file = service.path_file.as_ref().unwrap_or(&service.file);
            let detail = format!("{program} is in no directory of PATH of {}", file.display());
            let fault = if decides { Fault::ServiceLacksProgram } else { Fault::ServiceLacksOther };
            let finding = Finding::of(fault, detail).about(subject);
            findings.push(match &service.path_file {
                Some(file) => finding.mended_by(format!("{} && {RESTART}", edit(file))),
                None => finding,
            });
        }
    }
    if service.lingers == Some(false) {
        let detail = "it ends when its user logs out, and does not start with the machine";
        findings.push(Finding::of(Fault::LingeringOff, detail));
    }
    if findings.is_empty() {
        let lingers = if service.lingers == Some(true) { ", goes on without a login" } else { "" };
        findings.push(Finding::ok(CHECK, format!("{file}: its PATH has what jobs need{lingers}")));
    }
    findings
}

/// What gives the running server what this shell has and it lacks: `lacks` it in its PATH, else in its environment. `None`: what
/// usually mends that.
pub(super) fn mend_of_server(patient: &Patient<'_>, lacks: Option<&str>) -> Option<String> {
    let Some(service) = &patient.service else {
        // started by hand: a second one beside it would not start
        return Some("offshoot serve".to_owned());
    };
    match (lacks, &service.path_file) {
        (None, _) if cfg!(target_os = "macos") => Some(format!("{} && {RESTART}", edit(&service.file))),
        (None, _) => None,
        // its file leads there already, but not the server that runs
        (Some(program), _)
            if service.path.as_ref().is_some_and(|path| find_program(program, path).is_some()) =>
        {
            Some(RESTART.to_owned())
        }
        (Some(_), Some(file)) => Some(format!("{} && {RESTART}", edit(file))),
        (Some(_), None) => None,
    }
}

/// What has to be found by its PATH, as the configuration names it, and whether no job can be done without it.
fn wanted(patient: &Patient<'_>) -> Vec<(String, String, bool)> {
    let mut all = vec![("git".to_owned(), "git".to_owned(), true)];
    let Ok(config) = patient.config() else { return all };
    // what this shell lacks too is told by checks of its own
    let path = patient.env.get("PATH").unwrap_or_default();
    let others =
        beside_the_agents(config).filter(|name| *name != "git" && find_program(name, path).is_some());
    all.extend(others.map(|name| (name.to_owned(), name.to_owned(), false)));
    let used = config.defaults.agent.as_deref().unwrap_or(USUAL);
    for (name, entry) in &config.agents {
        let Some(program) = &entry.command else { continue };
        let decides = name == used;
        // one that is named by its place needs no PATH, and is looked at with the agents
        if !Path::new(program).is_absolute() && (decides || is_named_by_owner(config, name)) {
            all.push((name.clone(), program.clone(), decides));
        }
    }
    all
}
