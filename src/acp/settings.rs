//! The agent's own mode and model, where it offers them.

use agent_client_protocol::v1::schema::{
    SessionConfigId, SessionConfigKind, SessionConfigOption, SessionConfigOptionCategory,
    SessionConfigSelectOptions, SessionConfigValueId, SessionModeId, SessionModeState,
};

use super::policy::{Mode, is_called};

/// What the agent offered when the conversation began, or was gone on with.
#[derive(Debug, Default)]
pub(super) struct Offered {
    pub(super) modes: Option<SessionModeState>,
    pub(super) options: Vec<SessionConfigOption>,
}

/// What is to be set, and how.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Setting {
    Mode(SessionModeId),
    Option(SessionConfigId, SessionConfigValueId),
}

impl Offered {
    /// The agent's mode that comes to the same as `mode`; `None` where it has none, or is to be as its own settings have it.
    pub(super) fn mode(&self, mode: Mode) -> Option<Setting> {
        let called = |name: &str| is_called(name, mode.names());
        let modes = self.modes.iter().flat_map(|state| &state.available_modes);
        let of_modes = modes.map(|offered| &offered.id).find(|id| called(&id.to_string()));
        of_modes.map(|id| Setting::Mode(id.clone())).or_else(|| {
            self.values(&SessionConfigOptionCategory::Mode)
                .find(|(_, value)| called(&value.to_string()))
                .map(|(id, value)| Setting::Option(id, value))
        })
    }

    pub(super) fn model(&self, model: &str) -> Option<Setting> {
        self.values(&SessionConfigOptionCategory::Model)
            .find(|(_, value)| value.to_string() == model)
            .map(|(id, value)| Setting::Option(id, value))
    }

    fn values(
        &self,
        category: &SessionConfigOptionCategory,
    ) -> impl Iterator<Item = (SessionConfigId, SessionConfigValueId)> {
        let of_category = self.options.iter().filter(|option| option.category.as_ref() == Some(category));
        of_category.flat_map(|option| {
            let values: Vec<SessionConfigValueId> = match &option.kind {
                SessionConfigKind::Select(select) => match &select.options {
                    SessionConfigSelectOptions::Ungrouped(all) => {
                        all.iter().map(|one| one.value.clone()).collect()
                    }
                    SessionConfigSelectOptions::Grouped(groups) => {
                        groups.iter().flat_map(|group| &group.options).map(|one| one.value.clone()).collect()
                    }
                    _ => Vec::new(),
                },
                _ => Vec::new(),
            };
            let id = option.id.clone();
            values.into_iter().map(move |value| (id.clone(), value))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use agent_client_protocol::v1::schema::NewSessionResponse;

    fn offered(answer: &str) -> Offered {
        let read: NewSessionResponse = serde_json::from_str(answer).unwrap();
        Offered { modes: read.modes, options: read.config_options.unwrap_or_default() }
    }

    #[test]
    fn a_mode_is_found_among_modes_and_among_options() {
        // as gemini 0.61.0 and opencode 1.18.33 offer them
        let gemini = offered(
            r#"{"sessionId":"s","modes":{"currentModeId":"default","availableModes":[{"id":"default","name":"Default"},
            {"id":"autoEdit","name":"Auto Edit"},{"id":"yolo","name":"YOLO"},{"id":"plan","name":"Plan"}]},"models":{}}"#,
        );
        let mode = |id: &'static str| Some(Setting::Mode(SessionModeId::new(id)));
        assert_eq!(gemini.mode(Mode::AcceptEdits), mode("autoEdit"));
        assert_eq!(gemini.mode(Mode::BypassPermissions), mode("yolo"));
        assert_eq!(gemini.mode(Mode::Plan), mode("plan"));
        assert_eq!(gemini.mode(Mode::Default), None);
        assert_eq!(gemini.model("auto"), None, "it is offered in a way that is no part of the protocol");
        let opencode = offered(
            r#"{"sessionId":"s","configOptions":[{"id":"model","name":"Model","category":"model","type":"select","currentValue":"a/b",
            "options":[{"value":"a/b","name":"B"},{"value":"a/c","name":"C"}]},
            {"id":"mode","name":"Mode","category":"mode","type":"select","currentValue":"build","options":[{"group":"g","name":"G",
            "options":[{"value":"build","name":"build"},{"value":"plan","name":"plan"}]}]}]}"#,
        );
        let set = |id: &'static str, value: &'static str| {
            Some(Setting::Option(SessionConfigId::new(id), SessionConfigValueId::new(value)))
        };
        assert_eq!(opencode.mode(Mode::Plan), set("mode", "plan"));
        assert_eq!(opencode.mode(Mode::AcceptEdits), None);
        assert_eq!(opencode.model("a/c"), set("model", "a/c"));
        assert_eq!(opencode.model("plan"), None);
    }
}
