//! Closed lists of words, mirrored from the domain so that answer, document and code can never disagree.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use crate::domain;

macro_rules! mirrored {
    ($($(#[$doc:meta])* $name:ident = $domain:path;)+) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct $name(pub $domain);

        impl From<$domain> for $name {
            fn from(value: $domain) -> Self {
                Self(value)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.0.as_str())
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.0.as_str())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = Cow::<'de, str>::deserialize(deserializer)?;
                <$domain>::parse(&text).map(Self).ok_or_else(|| {
                    de::Error::custom(concat!("is no known ", stringify!($name)))
                })
            }
        }

        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                let words = <$domain>::ALL.iter().map(|value| value.as_str());
                ObjectBuilder::new().schema_type(Type::String).enum_values(Some(words)).into()
            }
        }

        impl ToSchema for $name {}
    )+};
}

mirrored! {
    /// Where in its life a job is.
    Status = domain::job::Status;
    /// How far a job is.
    Phase = domain::job::Phase;
    /// How a finished job ended.
    Outcome = domain::job::Outcome;
    /// Why a queued job waits.
    WaitingFor = domain::job::WaitingFor;
    /// Why a job failed or waits.
    ReasonCode = domain::reason::ReasonCode;
    /// How far a webhook delivery is.
    DeliveryState = domain::delivery::DeliveryState;
    /// Who speaks in a message.
    MessageKind = domain::event::MessageKind;
    /// What happened.
    EventKind = domain::event::EventKind;
    /// What sums of usage are made by.
    Grouping = domain::usage::Grouping;
    /// When an agent hears what is said to it.
    #[derive(Default)]
    Hears = domain::inward::Hears;
    /// What goes on with a job that is handed back.
    GoesOn = domain::visit::GoesOn;
    /// Which allowance of a login is used up.
    LimitWindow = domain::hold::LimitWindow;
    /// What a retry repeats.
    RetryMode = domain::retry::RetryMode;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_go_there_and_back() {
        let text = serde_json::to_string(&Phase(domain::job::Phase::OpeningPr)).unwrap();
        assert_eq!(text, "\"opening_pr\"");
        assert_eq!(serde_json::from_str::<Phase>(&text).unwrap().0, domain::job::Phase::OpeningPr);
        assert!(serde_json::from_str::<Status>("\"done\"").is_err());
    }
}
