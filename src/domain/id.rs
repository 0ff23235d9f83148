//! Typed ids: a prefix that names the kind, then random characters, so that a short prefix is already unique.
//!
//! Ids carry no order; jobs are ordered by [`JobNumber`], events by their sequence number.

use std::fmt;

/// Random characters in an id: 16 of 32 letters are 80 bits, enough that two never meet on one machine.
pub const RANDOM_LENGTH: usize = 16;

/// An id text was not of the kind asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an id of this kind is `{prefix}` followed by letters and digits")]
pub struct InvalidId {
    prefix: &'static str,
}

macro_rules! typed_id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            pub const PREFIX: &'static str = $prefix;

            /// An id from random text, as `clock::Clock::random_text` makes it.
            #[must_use]
            pub fn from_random(random: &str) -> Self {
                Self(format!(concat!($prefix, "{}"), random))
            }

            /// # Errors
            /// When the prefix is missing or another character than `[a-z0-9]` follows it.
            pub fn parse(text: &str) -> Result<Self, InvalidId> {
                let rest = text.strip_prefix($prefix).ok_or(InvalidId { prefix: $prefix })?;
                let plain = rest.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
                if rest.is_empty() || rest.len() > 64 || !plain {
                    return Err(InvalidId { prefix: $prefix });
                }
                Ok(Self(text.to_owned()))
            }

            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

typed_id!(
    /// A job, for programs. People say its [`JobNumber`].
    JobId,
    "job-"
);
typed_id!(
    /// A registered repository.
    ClientId,
    "cli-"
);
typed_id!(
    /// One event that a webhook reports; the same in every try, so that a receiver can drop repeats.
    EventId,
    "evt-"
);
typed_id!(
    /// One event on its way to one callback URL.
    DeliveryId,
    "dlv-"
);
typed_id!(
    /// A named token; no secret, and part of the token itself.
    TokenId,
    "tok-"
);

/// The running number of a job in this installation, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobNumber(pub i64);

impl fmt::Display for JobNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// How a caller names a job: its number, its id, or the beginning of its id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobRef {
    Number(JobNumber),
    /// A whole id or a prefix of one, with or without `job-`; at least four random characters.
    IdPrefix(String),
}

impl JobRef {
    /// `None` when the text can be neither, so that nothing has to be looked up.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if !text.is_empty() && text.len() <= 18 && text.bytes().all(|b| b.is_ascii_digit()) {
            return text.parse().ok().map(|number| Self::Number(JobNumber(number)));
        }
        let rest = text.strip_prefix(JobId::PREFIX).unwrap_or(text);
        let plain = rest.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        (plain && (4..=64).contains(&rest.len())).then(|| Self::IdPrefix(format!("{}{rest}", JobId::PREFIX)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_keeps_its_kind() {
        assert_eq!(JobId::from_random("abcd2345").as_str(), "job-abcd2345");
        assert!(JobId::parse("job-abcd2345").is_ok());
        for wrong in ["cli-abcd", "job-", "job-AB", "job-a/b", "job-a\0", ""] {
            assert!(JobId::parse(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_job_is_named_by_number_id_or_prefix() {
        assert_eq!(JobRef::parse("142"), Some(JobRef::Number(JobNumber(142))));
        assert_eq!(JobRef::parse("job-7fk2"), Some(JobRef::IdPrefix("job-7fk2".to_owned())));
        assert_eq!(JobRef::parse("7fk2"), Some(JobRef::IdPrefix("job-7fk2".to_owned())));
        for wrong in ["", "job-", "job-7f", "../etc", "a%2f", "7FK2xx", "a\0bcd", &"a".repeat(10_000)] {
            assert_eq!(JobRef::parse(wrong), None, "{wrong:?}");
        }
    }
}
