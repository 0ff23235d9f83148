//! The service that is installed, as it will be started: in an environment of its own.

use std::path::Path;

use super::agents::{USUAL, is_named_by_owner};
use super::fault::Fault;
use super::finding::Finding;
use super::patient::Patient;
use crate::worker::find_program;

const CHECK: &str = "service";

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
            let detail = format!("{program} is in no directory of PATH of {file}");
            let fault = if decides { Fault::ServiceLacksProgram } else { Fault::ServiceLacksOther };
            findings.push(Finding::of(fault, detail).about(subject));
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

/// What has to be found by its PATH, as the configuration names it, and whether no job can be done without it.
fn wanted(patient: &Patient<'_>) -> Vec<(String, String, bool)> {
    let mut all = vec![("git".to_owned(), "git".to_owned(), true)];
    let Ok(config) = patient.config() else { return all };
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
