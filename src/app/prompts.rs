//! The prompt of a job: what its caller wrote, put into the template of its profile.

use std::collections::BTreeMap;

use super::profiles::known;
use super::rules;
use crate::domain::job::PROMPT_BYTES_MAX;
use crate::domain::profile::Profile;
use crate::domain::template::{PROMPT_VARIABLE, Template};
use crate::wire::fields::Reading;
use crate::wire::profile::variable_pointer;

const VARIABLES: &str = "/variables";

/// White space around a prompt does not count, but nobody needs megabytes of that.
const UNTRIMMED_BYTES_MAX: usize = 2 * PROMPT_BYTES_MAX;

/// What a caller wrote about the prompt of a job.
pub(super) struct Wanted<'a> {
    pub(super) prompt: Option<&'a str>,
    pub(super) variables: &'a BTreeMap<String, String>,
    /// A profile was named, whether there is one or not.
    pub(super) names_profile: bool,
}

/// The prompt that the job will have, for ever: later changes of the profile do not reach it.
pub(super) fn prompt(wanted: &Wanted<'_>, profile: Option<&Profile>, reading: &mut Reading) -> String {
    let Some(profile) = profile else {
        if wanted.names_profile {
            // whether it needs a prompt, and which variables, nobody can say
            return wanted.prompt.map(|prompt| rules::prompt(Some(prompt), reading)).unwrap_or_default();
        }
        if !wanted.variables.is_empty() {
            reading.fault(VARIABLES, "need a profile with a prompt template: name it as profile");
        }
        return rules::prompt(wanted.prompt, reading);
    };
    let name = &profile.name;
    let Some(template) = &profile.template else {
        for variable in wanted.variables.keys() {
            let rule = format!("is not used: the profile \"{name}\" has no prompt template");
            reading.fault(variable_pointer(VARIABLES, variable), rule);
        }
        return rules::prompt(wanted.prompt, reading);
    };
    let own = own_prompt(wanted.prompt, name, template, reading);
    check_variables(wanted.variables, name, template, reading);
    let is_part = |pointer: &str| pointer == "/prompt" || pointer.starts_with(VARIABLES);
    if reading.faults.iter().any(|fault| is_part(&fault.pointer)) {
        return String::new();
    }
    let values = wanted.variables.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let values = values.chain(own.as_deref().map(|prompt| (PROMPT_VARIABLE, prompt))).collect();
    let rendered = template.render(&values, UNTRIMMED_BYTES_MAX);
    match rendered.as_deref().map(str::trim).filter(|prompt| prompt.len() <= PROMPT_BYTES_MAX) {
        Some("") => reading.fault(VARIABLES, format!("make an empty prompt with the profile \"{name}\"")),
        Some(prompt) => return prompt.to_owned(),
        None => {
            let rule =
                format!("make a prompt of more than {PROMPT_BYTES_MAX} bytes with the profile \"{name}\"");
            reading.fault(VARIABLES, rule);
        }
    }
    String::new()
}

/// The job's own prompt, where the template has a place for it.
fn own_prompt(
    prompt: Option<&str>,
    profile: &str,
    template: &Template,
    reading: &mut Reading,
) -> Option<String> {
    if template.variables().contains(PROMPT_VARIABLE) {
        return Some(rules::prompt(prompt, reading));
    }
    if prompt.is_some() {
        let rule = format!("is not used: the template of the profile \"{profile}\" has no {{{{prompt}}}}");
        reading.fault("/prompt", rule);
    }
    None
}

fn check_variables(
    given: &BTreeMap<String, String>,
    profile: &str,
    template: &Template,
    reading: &mut Reading,
) {
    let mut wanted = template.variables();
    wanted.remove(PROMPT_VARIABLE);
    for (variable, value) in given {
        let pointer = variable_pointer(VARIABLES, variable);
        if variable == PROMPT_VARIABLE {
            reading.fault(pointer, "is the prompt of the job: give it as prompt");
        } else if !wanted.contains(variable.as_str()) {
            let names: Vec<_> = wanted.iter().copied().collect();
            let hint = known(variable, &names);
            let rule = format!("is not a variable of the profile \"{profile}\"; {hint}");
            reading.fault(pointer, rule);
        } else if value.contains('\0') {
            reading.fault(pointer, "must not contain a NUL character");
        }
    }
    for variable in wanted.into_iter().filter(|variable| !given.contains_key(*variable)) {
        let pointer = variable_pointer(VARIABLES, variable);
        // a wrong type was reported when it was read
        if !reading.faults.iter().any(|fault| fault.pointer == pointer || fault.pointer == VARIABLES) {
            reading.fault(pointer, format!("is required by the profile \"{profile}\""));
        }
    }
}

#[cfg(test)]
#[path = "prompts_tests.rs"]
mod tests;
