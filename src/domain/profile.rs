//! A profile: run options and a prompt template under a name, filled in when a job is submitted.

use super::options::RunOptions;
use super::template::Template;
use super::time::Timestamp;

/// Profiles that can be made by the API: all are listed at once, and somebody has to find his among them.
pub const PROFILES_MAX: usize = 100;

/// Run options and a prompt template under a name.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    /// As `options::is_entry_name` has it.
    pub name: String,
    pub template: Option<Template>,
    pub options: RunOptions,
    /// Whether a caller who may only submit can use it.
    pub submit: bool,
    pub source: Source,
}

/// Where a profile is written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// In the configuration file: only the owner of that can change it.
    Configuration,
    /// In the database, made by the API.
    Api { created_at: Timestamp, updated_at: Timestamp },
}

/// What is needed to make one.
#[derive(Clone, Debug, PartialEq)]
pub struct NewProfile {
    pub name: String,
    pub template: Option<Template>,
    pub options: RunOptions,
    pub submit: bool,
}

/// A change: `None` leaves the field, `Some(None)` clears it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProfilePatch {
    pub template: Option<Option<Template>>,
    pub options: Option<RunOptions>,
    /// The options that these were made of; where others are there by then, nothing is changed. `None`: whatever is there.
    pub options_seen: Option<RunOptions>,
    pub submit: Option<bool>,
}

/// What a job has of its profile: as it was when the job was accepted, whatever becomes of the profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsedProfile {
    pub name: String,
    pub options: RunOptions,
}

impl UsedProfile {
    #[must_use]
    pub fn of(profile: &Profile) -> Self {
        Self { name: profile.name.clone(), options: profile.options.clone() }
    }
}
