//! How questions are answered when nobody is there to be asked.

use agent_client_protocol::v1::schema::{
    PermissionOption, PermissionOptionId, PermissionOptionKind, RequestPermissionOutcome,
    SelectedPermissionOutcome, ToolKind,
};

/// The value of `permissionMode` that the conversation is held under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// As the agent's own settings have it: a question that is asked all the same ends the turn.
    Default,
    /// It may look, and change nothing.
    Plan,
    /// It may change files, and run nothing.
    AcceptEdits,
    BypassPermissions,
}

/// How a question was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Granted,
    Denied,
    /// The question was somebody else's to answer, and there is nobody: the turn is over.
    Unanswered,
}

impl Answer {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Granted => "granted",
            Self::Denied => "denied",
            Self::Unanswered => "unanswered",
        }
    }
}

impl Mode {
    pub(super) fn parse(word: &str) -> Option<Self> {
        match word {
            "default" => Some(Self::Default),
            "plan" => Some(Self::Plan),
            "acceptEdits" => Some(Self::AcceptEdits),
            "bypassPermissions" => Some(Self::BypassPermissions),
            _ => None,
        }
    }

    /// What agents call the mode of their own that comes to the same, as [`is_called`] compares: claude's and gemini's names, and
    /// codex's.
    pub(super) fn names(self) -> &'static [&'static str] {
        match self {
            Self::Default => &[],
            Self::Plan => &["plan", "readonly"],
            Self::AcceptEdits => &["acceptedits", "autoedit"],
            Self::BypassPermissions => &["bypasspermissions", "yolo", "fullaccess"],
        }
    }

    /// Whether it cannot be held by answering questions alone: an agent that asks nothing would do what it likes.
    pub(super) fn needs_a_mode_of_the_agent(self) -> bool {
        self == Self::Plan
    }

    /// Whether what is granted to such a tool is granted for the directory to work in alone.
    pub(super) fn keeps_to_the_directory(self, kind: Option<ToolKind>) -> bool {
        self == Self::AcceptEdits && matches!(kind, Some(ToolKind::Edit | ToolKind::Delete | ToolKind::Move))
    }

    /// Whether a tool of this kind may be used. What the agent says nothing of may do anything.
    pub(super) fn answer(self, kind: Option<ToolKind>) -> Answer {
        let looks =
            matches!(kind, Some(ToolKind::Read | ToolKind::Search | ToolKind::Think | ToolKind::Fetch));
        let changes = matches!(kind, Some(ToolKind::Edit | ToolKind::Delete | ToolKind::Move));
        match self {
            Self::Default => Answer::Unanswered,
            Self::BypassPermissions => Answer::Granted,
            Self::AcceptEdits if looks || changes => Answer::Granted,
            Self::Plan if looks => Answer::Granted,
            Self::Plan | Self::AcceptEdits => Answer::Denied,
        }
    }
}

/// Whether an agent's mode has one of these names: case, dashes and underlines aside.
pub(super) fn is_called(id: &str, names: &[&str]) -> bool {
    let plain: String = id.chars().filter(|c| !matches!(c, '-' | '_')).flat_map(char::to_lowercase).collect();
    names.contains(&plain.as_str())
}

/// The answer in the words of the protocol, and what it comes to: of what the agent offers only what is meant, for this once where it
/// can be, and never by its place in the list.
pub(super) fn outcome(answer: Answer, offered: &[PermissionOption]) -> (Answer, RequestPermissionOutcome) {
    use PermissionOptionKind::{AllowAlways, AllowOnce, RejectAlways, RejectOnce};
    let find = |wanted: [PermissionOptionKind; 2]| -> Option<PermissionOptionId> {
        let of_kind = |kind| offered.iter().find(|option| option.kind == kind);
        wanted.into_iter().find_map(of_kind).map(|option| option.option_id.clone())
    };
    let found = match answer {
        Answer::Granted => find([AllowOnce, AllowAlways]),
        Answer::Denied => find([RejectOnce, RejectAlways]),
        Answer::Unanswered => None,
    };
    match found {
        Some(id) => (answer, RequestPermissionOutcome::Selected(SelectedPermissionOutcome::new(id))),
        // it offers no yes, or no no
        None if answer == Answer::Granted => (Answer::Denied, RequestPermissionOutcome::Cancelled),
        None => (answer, RequestPermissionOutcome::Cancelled),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn option(id: &str, kind: PermissionOptionKind) -> PermissionOption {
        PermissionOption::new(id.to_owned(), id.to_owned(), kind)
    }

    #[test]
    fn each_mode_permits_what_it_says_and_nothing_that_is_not_known() {
        use Answer::{Denied, Granted, Unanswered};
        let rows = [
            (Some(ToolKind::Read), [Unanswered, Granted, Granted, Granted]),
            (Some(ToolKind::Edit), [Unanswered, Denied, Granted, Granted]),
            (Some(ToolKind::Delete), [Unanswered, Denied, Granted, Granted]),
            (Some(ToolKind::Execute), [Unanswered, Denied, Denied, Granted]),
            (Some(ToolKind::SwitchMode), [Unanswered, Denied, Denied, Granted]),
            (Some(ToolKind::Other), [Unanswered, Denied, Denied, Granted]),
            (None, [Unanswered, Denied, Denied, Granted]),
        ];
        let modes =
            ["default", "plan", "acceptEdits", "bypassPermissions"].map(|word| Mode::parse(word).unwrap());
        for (kind, expected) in rows {
            assert_eq!(modes.map(|mode| mode.answer(kind)), expected, "{kind:?}");
        }
        assert_eq!(Mode::parse("yolo"), None);
    }

    #[test]
    fn an_answer_is_chosen_by_what_it_means_and_for_this_once() {
        use PermissionOptionKind::{AllowAlways, AllowOnce, RejectAlways, RejectOnce};
        let all = [
            option("aa", AllowAlways),
            option("ao", AllowOnce),
            option("ra", RejectAlways),
            option("ro", RejectOnce),
        ];
        let chosen = |answer, offered: &[PermissionOption]| match outcome(answer, offered) {
            (answer, RequestPermissionOutcome::Selected(selected)) => {
                (answer, selected.option_id.to_string())
            }
            (answer, _) => (answer, "-".to_owned()),
        };
        assert_eq!(chosen(Answer::Granted, &all), (Answer::Granted, "ao".to_owned()));
        assert_eq!(chosen(Answer::Denied, &all), (Answer::Denied, "ro".to_owned()));
        assert_eq!(chosen(Answer::Unanswered, &all), (Answer::Unanswered, "-".to_owned()));
        assert_eq!(chosen(Answer::Granted, &all[..1]), (Answer::Granted, "aa".to_owned()));
        // there is no yes among them: nothing is granted by accident
        assert_eq!(chosen(Answer::Granted, &all[2..]), (Answer::Denied, "-".to_owned()));
        assert_eq!(chosen(Answer::Denied, &all[..2]), (Answer::Denied, "-".to_owned()));
    }

    #[test]
    fn modes_are_known_by_the_names_that_agents_have_for_them() {
        for (id, mode) in [
            ("autoEdit", Mode::AcceptEdits),
            ("acceptEdits", Mode::AcceptEdits),
            ("auto_edit", Mode::AcceptEdits),
            ("yolo", Mode::BypassPermissions),
            ("full-access", Mode::BypassPermissions),
            ("read-only", Mode::Plan),
            ("plan", Mode::Plan),
        ] {
            assert!(is_called(id, mode.names()), "{id}");
        }
        assert!(!is_called("default", Mode::Plan.names()) && !is_called("", Mode::Default.names()));
    }
}
