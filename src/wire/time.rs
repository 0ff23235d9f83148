//! Instants as callers see them: RFC 3339, UTC, milliseconds, `Z`.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, SchemaFormat, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use crate::domain::time::Timestamp;

/// An instant in an answer, for example `2026-11-21T09:47:00.000Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct UtcTime(pub Timestamp);

impl UtcTime {
    /// Reads any RFC 3339 text; parts below a millisecond are dropped. `None` when it is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let instant: jiff::Timestamp = text.parse().ok()?;
        Some(Self(Timestamp::from_ms(instant.as_millisecond())))
    }
}

impl From<Timestamp> for UtcTime {
    fn from(at: Timestamp) -> Self {
        Self(at)
    }
}

impl fmt::Display for UtcTime {
    /// An instant outside of the years that RFC 3339 can write (a broken clock) shows as the nearest one it can.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nearest = if self.0.as_ms() < 0 { jiff::Timestamp::MIN } else { jiff::Timestamp::MAX };
        let instant = jiff::Timestamp::from_millisecond(self.0.as_ms()).unwrap_or(nearest);
        write!(f, "{}", instant.strftime("%Y-%m-%dT%H:%M:%S.%3fZ"))
    }
}

impl Serialize for UtcTime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for UtcTime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| de::Error::custom("must be an RFC 3339 time"))
    }
}

impl PartialSchema for UtcTime {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
            .into()
    }
}

impl ToSchema for UtcTime {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn milliseconds_and_z_always() {
        let table = [
            (0, "1970-01-01T00:00:00.000Z"),
            (1_795_254_420_001, "2026-11-21T09:47:00.001Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
        ];
        for (ms, text) in table {
            assert_eq!(UtcTime(Timestamp::from_ms(ms)).to_string(), text);
            assert_eq!(UtcTime::parse(text), Some(UtcTime(Timestamp::from_ms(ms))));
        }
        assert!(UtcTime(Timestamp::from_ms(i64::MAX)).to_string().starts_with("9999-"));
    }

    #[test]
    fn other_offsets_are_read() {
        assert_eq!(
            UtcTime::parse("2026-11-21T10:47:00+01:00").unwrap().to_string(),
            "2026-11-21T09:47:00.000Z"
        );
        assert_eq!(UtcTime::parse("yesterday"), None);
    }
}
