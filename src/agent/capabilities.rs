//! What a kind of agent can do, and what of the run options it can carry out.

use crate::domain::inward::Hears;
use crate::domain::options::{Effort, OptionName, PermissionMode, RunOptions};

/// What a kind of agent can do; callers branch on these, never on the kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// A later step can continue the conversation by its session id.
    pub resume: bool,
    /// A new conversation takes the id that it is given; otherwise the agent makes one up and tells it when it starts.
    pub names_session: bool,
    /// It says what it costs: as it goes, or at the end when it ends itself at its budget. Without that no budget can be
    /// held, and none is guessed.
    pub cost: bool,
    /// The tokens that it reports are those of the whole conversation, the steps before this one included.
    pub counts_whole_session: bool,
    /// When it hears what people say to it.
    pub hears: Hears,
    /// Output is a sequence of typed events, so that silence and progress can be told apart.
    pub structured_events: bool,
    /// It says which tool uses were not permitted.
    pub tells_denials: bool,
    /// Those of [`AGENT_OPTIONS`] that it carries out.
    pub options: &'static [OptionName],
    /// The values of `permissionMode` that mean something to it.
    pub permission_modes: &'static [PermissionMode],
    /// The values of `effort` that mean something to it.
    pub efforts: &'static [Effort],
}

/// The run options that need something of the agent: that it carries them out, or for the budgets that it says what it
/// costs. All others are ours.
pub const AGENT_OPTIONS: &[OptionName] = &[
    OptionName::Model,
    OptionName::Effort,
    OptionName::PermissionMode,
    OptionName::AllowedTools,
    OptionName::DisallowedTools,
    OptionName::AppendSystemPrompt,
    OptionName::MaxTurns,
    OptionName::MaxBudgetUsd,
    OptionName::MaxBudgetUsdPerDay,
];

/// Every mode, for agents to which all of them mean something.
pub(super) const ALL_MODES: &[PermissionMode] = &[
    PermissionMode::Default,
    PermissionMode::Plan,
    PermissionMode::AcceptEdits,
    PermissionMode::BypassPermissions,
];

pub(super) const ALL_EFFORTS: &[Effort] =
    &[Effort::Low, Effort::Medium, Effort::High, Effort::Xhigh, Effort::Max];

impl Capabilities {
    /// What of `options` this kind of agent cannot carry out, each with a rule to be read after the option's name.
    /// An empty list or text asks for nothing and is no fault.
    #[must_use]
    pub fn refusals(&self, options: &RunOptions) -> Vec<(OptionName, String)> {
        AGENT_OPTIONS.iter().filter_map(|name| Some((*name, self.refusal(*name, options)?))).collect()
    }

    fn refusal(&self, name: OptionName, options: &RunOptions) -> Option<String> {
        if !asks_for_something(name, options) {
            return None;
        }
        if !self.options.contains(&name) {
            let rule = match name {
                OptionName::MaxBudgetUsd | OptionName::MaxBudgetUsdPerDay => {
                    "cannot be held, because nothing tells what a run costs"
                }
                _ => "cannot be carried out",
            };
            return Some(rule.to_owned());
        }
        let (fits, words): (bool, Vec<&str>) = match name {
            OptionName::PermissionMode => (
                options.permission_mode.is_none_or(|mode| self.permission_modes.contains(&mode)),
                self.permission_modes.iter().map(|mode| mode.as_str()).collect(),
            ),
            OptionName::Effort => (
                options.effort.is_none_or(|effort| self.efforts.contains(&effort)),
                self.efforts.iter().map(|effort| effort.as_str()).collect(),
            ),
            _ => return None,
        };
        (!fits).then(|| format!("can be {} only", words.join(", ")))
    }
}

fn asks_for_something(name: OptionName, options: &RunOptions) -> bool {
    let some_tools = |tools: &Option<Vec<String>>| tools.as_ref().is_some_and(|tools| !tools.is_empty());
    match name {
        OptionName::AllowedTools => some_tools(&options.allowed_tools),
        OptionName::DisallowedTools => some_tools(&options.disallowed_tools),
        OptionName::AppendSystemPrompt => {
            options.append_system_prompt.as_ref().is_some_and(|text| !text.is_empty())
        }
        _ => options.set_names().contains(&name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::registry::find_agent;
    use crate::domain::agent_kind::AgentKind;

    #[test]
    fn what_is_not_asked_for_is_not_refused() {
        let nothing = Capabilities::default();
        assert_eq!(nothing.refusals(&RunOptions::default()), []);
        let empty = RunOptions {
            allowed_tools: Some(vec![]),
            disallowed_tools: Some(vec![]),
            append_system_prompt: Some(String::new()),
            timeout_seconds: Some(5),
            ..RunOptions::default()
        };
        assert_eq!(nothing.refusals(&empty), []);
    }

    #[test]
    fn every_option_of_the_agent_is_refused_by_one_that_has_none() {
        let asked = RunOptions {
            model: Some("m".to_owned()),
            effort: Some(Effort::High),
            permission_mode: Some(PermissionMode::Plan),
            allowed_tools: Some(vec!["Read".to_owned()]),
            disallowed_tools: Some(vec!["Read".to_owned()]),
            append_system_prompt: Some("Be kind.".to_owned()),
            max_turns: Some(3),
            max_budget_usd_micros: Some(1),
            max_budget_usd_per_day_micros: Some(1),
            ..RunOptions::default()
        };
        let refused: Vec<_> =
            Capabilities::default().refusals(&asked).into_iter().map(|(name, _)| name).collect();
        assert_eq!(refused, AGENT_OPTIONS);
    }

    /// A budget is held against what the agent says that it costs, and against nothing else.
    #[test]
    fn budgets_are_for_those_who_say_what_they_cost() {
        for kind in AgentKind::ALL {
            let can = find_agent(*kind).capabilities();
            for budget in [OptionName::MaxBudgetUsd, OptionName::MaxBudgetUsdPerDay] {
                assert_eq!(can.options.contains(&budget), can.cost, "{kind}");
            }
        }
    }

    #[test]
    fn a_word_that_means_nothing_to_the_agent_is_refused_with_those_that_do() {
        let some = Capabilities {
            options: &[OptionName::Effort, OptionName::PermissionMode],
            efforts: &[Effort::Low, Effort::High],
            permission_modes: &[PermissionMode::Plan],
            ..Capabilities::default()
        };
        let asked = RunOptions {
            effort: Some(Effort::Max),
            permission_mode: Some(PermissionMode::Plan),
            ..RunOptions::default()
        };
        assert_eq!(some.refusals(&asked), [(OptionName::Effort, "can be low, high only".to_owned())]);
    }
}
