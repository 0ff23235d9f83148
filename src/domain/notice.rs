//! What people are told of without asking, and by which way.

use super::hold::LimitWindow;
use super::named::named_enum;
use super::reason::Reason;
use super::time::Timestamp;

named_enum! {
    /// What somebody can wish to be told of: the words of `on` in a `[notify.<name>]` section.
    Occasion {
        Finished = "finished",
        Failed = "failed",
        /// A login is held, or works again. Once for each hold, however many jobs wait for it.
        Held = "held",
        /// A job failed because its agent asked something; who wishes to hear of failures hears of it too.
        NeedsInput = "needs_input",
    }
}

named_enum! {
    /// By which way: the values of `kind` in a `[notify.<name>]` section.
    Way {
        /// <https://ntfy.sh>, or one's own server of that kind.
        Ntfy = "ntfy",
        /// Slack's incoming webhooks, which Mattermost and others take as well.
        Slack = "slack",
        Discord = "discord",
        /// The desktop of whoever runs the server.
        Desktop = "desktop",
        /// Any program, with the notice as JSON on its standard input.
        Command = "command",
    }
}

impl Way {
    /// Whether it leads to a URL.
    #[must_use]
    pub const fn has_url(self) -> bool {
        matches!(self, Self::Ntfy | Self::Slack | Self::Discord)
    }
}

named_enum! {
    /// What a notice tells: the type of its delivery.
    NoticeKind {
        Finished = "notice.finished",
        Failed = "notice.failed",
        NeedsInput = "notice.needs_input",
        Held = "notice.held",
        /// A login that was held works again.
        Resumed = "notice.resumed",
        /// Somebody tries a target out; nothing happened.
        Test = "notice.test",
    }
}

impl NoticeKind {
    /// Whom it is for; `None`: nobody has to wish for it.
    #[must_use]
    pub const fn occasion(self) -> Option<Occasion> {
        Some(match self {
            Self::Finished => Occasion::Finished,
            Self::Failed => Occasion::Failed,
            Self::NeedsInput => Occasion::NeedsInput,
            Self::Held | Self::Resumed => Occasion::Held,
            Self::Test => return None,
        })
    }

    /// Whether somebody has to do something.
    #[must_use]
    pub const fn is_urgent(self) -> bool {
        matches!(self, Self::Failed | Self::NeedsInput | Self::Held)
    }
}

/// What became of the hold of a login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HoldMoved {
    /// It is held, or for another reason or by another limit than before.
    Held { login: String, reason: Reason, until: Option<Timestamp>, window: Option<LimitWindow> },
    /// It works again.
    Resumed { login: String },
}

/// What stands before the name of a target where a delivery has the URL of its receiver. No URL begins like this.
pub const TARGET_PREFIX: &str = "notify.";

/// Who is told of what. Where that leads is nothing for the store to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// Of the `[notify.<name>]` section.
    pub name: String,
    pub on: Vec<Occasion>,
}

impl Subscription {
    /// What its deliveries are addressed to.
    #[must_use]
    pub fn target(&self) -> String {
        format!("{TARGET_PREFIX}{}", self.name)
    }

    #[must_use]
    pub fn wants(&self, occasion: Occasion) -> bool {
        let also = occasion == Occasion::NeedsInput && self.on.contains(&Occasion::Failed);
        also || self.on.contains(&occasion)
    }
}

/// The name of the `[notify.<name>]` section that a delivery is addressed to; `None`: it is a callback.
#[must_use]
pub fn target_name(address: &str) -> Option<&str> {
    address.strip_prefix(TARGET_PREFIX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_hears_of_failures_hears_of_questions_and_not_the_other_way() {
        let on = |on: &[Occasion]| Subscription { name: "phone".to_owned(), on: on.to_vec() };
        let rows = [
            (&[Occasion::Failed][..], Occasion::NeedsInput, true),
            (&[Occasion::NeedsInput], Occasion::NeedsInput, true),
            (&[Occasion::NeedsInput], Occasion::Failed, false),
            (&[Occasion::Finished, Occasion::Held], Occasion::Failed, false),
            (&[], Occasion::Finished, false),
        ];
        for (wished, occasion, expected) in rows {
            assert_eq!(on(wished).wants(occasion), expected, "{wished:?} {occasion}");
        }
        assert_eq!(target_name(&on(&[]).target()), Some("phone"));
        assert_eq!(target_name("https://notify.example.org/"), None);
    }
}
