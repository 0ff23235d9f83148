//! Profiles: making, reading and changing those of the database, reading those of the configuration, and finding the one that a
//! job names.
//!
//! One name in both places is nobody's: the owner of the configuration may be another than who holds a token, and a job that
//! ran with the wrong one of two would be noticed by what it did. So the API makes none under a name of the configuration,
//! and where a configuration came later, nothing is started with that name before one of the two is gone.

use serde_json::Value;

use super::caller::Caller;
use super::error::AppError;
use super::patches::until_unchanged;
use super::rules;
use super::{App, Created};
use crate::domain::options::Layer;
use crate::domain::profile::{NewProfile, Profile, ProfilePatch};
use crate::domain::template::Template;
use crate::domain::token::Scope;
use crate::store::{AnswerKey, KeyedAnswer, StoreError};
use crate::wire;
use crate::wire::fields::Reading;
use crate::wire::profile::{Draft, ProfileChange, ProfileDeleted, ProfileList, ProfileSaved};

/// Names that are told to somebody who named none of them: a line of text.
const NAMES_TOLD_MAX: usize = 10;
/// Two names at least so much alike (Jaro-Winkler) are taken for one of them misspelt, as in the configuration.
const LIKENESS_MIN: f64 = 0.85;

impl App {
    /// Those of the configuration and those that were made here, by name.
    ///
    /// # Errors
    /// [`AppError::Forbidden`]; what the store said.
    pub async fn list_profiles(&self, caller: &Caller) -> Result<ProfileList, AppError> {
        caller.needs(Scope::Admin)?;
        let stored = self.0.store.list_profiles().await?;
        let mut all: Vec<_> = self.0.settings.profiles.values().chain(&stored).collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(ProfileList { profiles: all.into_iter().map(wire::profile::Profile::from).collect() })
    }

    /// Those that a job of the caller may name, by name.
    ///
    /// # Errors
    /// [`AppError::Forbidden`]; what the store said.
    pub async fn usable_profiles(&self, caller: &Caller) -> Result<Vec<wire::profile::Profile>, AppError> {
        caller.needs(Scope::Submit)?;
        let stored = self.0.store.list_profiles().await?;
        let all = self.0.settings.profiles.values().chain(&stored);
        let mut usable: Vec<_> = all.filter(|profile| may_use(caller, profile)).collect();
        usable.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(usable.into_iter().map(wire::profile::Profile::from).collect())
    }

    /// # Errors
    /// [`AppError::NotFound`]; [`AppError::Conflict`] for a name that two have.
    pub async fn get_profile(&self, caller: &Caller, name: &str) -> Result<wire::profile::Profile, AppError> {
        caller.needs(Scope::Admin)?;
        match (self.0.settings.profiles.get(name), self.stored_profile(name).await?) {
            (Some(_), Some(_)) => Err(AppError::conflict("duplicate_profile", in_both(name))),
            (Some(profile), None) => Ok(profile.into()),
            (None, Some(profile)) => Ok((&profile).into()),
            (None, None) => Err(AppError::NotFound("profile")),
        }
    }

    /// # Errors
    /// [`AppError::Invalid`]; [`AppError::Conflict`] for a name that is taken, also by the configuration.
    pub async fn create_profile(
        &self,
        caller: &Caller,
        body: &Value,
        key: Option<AnswerKey>,
    ) -> Result<Created<ProfileSaved>, AppError> {
        caller.needs(Scope::Admin)?;
        let mut reading = Reading::default();
        let draft = Draft::read(body, &mut reading);
        let name = rules::entry_name(draft.name.as_deref(), &mut reading);
        let template = template(draft.prompt.as_deref(), &mut reading);
        rules::options(&draft.options, Layer::Profile, &self.0.settings, &mut reading);
        AppError::of_reading(&reading)?;
        if self.0.settings.profiles.contains_key(&name) {
            let detail = format!(
                "the profile \"{name}\" is in the configuration file: change it there, or choose another name"
            );
            return Err(AppError::conflict("duplicate_profile", detail));
        }
        let warnings = reading.warnings;
        let shown = warnings.clone();
        let answer = key.map(|key| KeyedAnswer {
            key,
            render: Box::new(move |profile: &Profile| {
                let created = created(profile, shown);
                (201, Some(created.location), serde_json::to_vec(&created.body).unwrap_or_default())
            }),
        });
        let new = NewProfile { name, template, options: draft.options, submit: draft.submit };
        let profile = self.0.store.create_profile(new, answer).await?;
        tracing::info!(profile = profile.name, "profile made");
        Ok(created(&profile, warnings))
    }

    /// # Errors
    /// [`AppError::NotFound`]; [`AppError::Invalid`]; [`AppError::Conflict`] for one of the configuration.
    pub async fn update_profile(
        &self,
        caller: &Caller,
        name: &str,
        body: &Value,
    ) -> Result<ProfileSaved, AppError> {
        caller.needs(Scope::Admin)?;
        until_unchanged(|| self.try_update_profile(name, body)).await
    }

    async fn try_update_profile(&self, name: &str, body: &Value) -> Result<ProfileSaved, AppError> {
        let Some(current) = self.changeable(name).await? else { return Err(AppError::NotFound("profile")) };
        if self.0.settings.profiles.contains_key(name) {
            return Err(AppError::conflict("duplicate_profile", in_both(name)));
        }
        let mut reading = Reading::default();
        let change = ProfileChange::read(body, &current.options, &mut reading);
        let patch = ProfilePatch {
            template: change.prompt.map(|prompt| template(prompt.as_deref(), &mut reading)),
            options_seen: change.options.is_some().then_some(current.options),
            options: change.options,
            submit: change.submit,
        };
        if let Some(options) = &patch.options {
            rules::options(options, Layer::Profile, &self.0.settings, &mut reading);
        }
        AppError::of_reading(&reading)?;
        let profile = self.0.store.update_profile(name, patch).await?;
        tracing::info!(profile = profile.name, "profile changed");
        Ok(ProfileSaved { profile: (&profile).into(), warnings: reading.warnings })
    }

    /// Forgets a profile; jobs that were submitted with it go on as they are.
    ///
    /// # Errors
    /// [`AppError::NotFound`]; [`AppError::Conflict`] for one of the configuration alone.
    pub async fn delete_profile(&self, caller: &Caller, name: &str) -> Result<ProfileDeleted, AppError> {
        caller.needs(Scope::Admin)?;
        self.changeable(name).await?;
        self.0.store.delete_profile(name).await?;
        tracing::info!(profile = name, "profile deleted");
        Ok(ProfileDeleted { deleted: true })
    }

    /// The profile that a job names, if this caller may use it and it can be used.
    ///
    /// # Errors
    /// [`AppError::Forbidden`]; what the store said. What else is wrong becomes a fault.
    pub(super) async fn named_profile(
        &self,
        caller: &Caller,
        name: Option<&str>,
        reading: &mut Reading,
    ) -> Result<Option<Profile>, AppError> {
        let Some(name) = name else { return Ok(None) };
        let profile = match (self.0.settings.profiles.get(name), self.stored_profile(name).await?) {
            (Some(_), Some(_)) => {
                reading.fault("/profile", in_both(name));
                return Ok(None);
            }
            (Some(profile), None) => profile.clone(),
            (None, Some(profile)) => profile,
            (None, None) => {
                let stored = self.0.store.list_profiles().await?;
                let names = self.0.settings.profiles.values().chain(&stored);
                let mut names: Vec<_> = names.map(|profile| profile.name.as_str()).collect();
                names.sort_unstable();
                reading.fault("/profile", format!("is not the name of a profile; {}", known(name, &names)));
                return Ok(None);
            }
        };
        if !may_use(caller, &profile) {
            return Err(AppError::Forbidden(format!("the profile \"{name}\" needs the scope operate")));
        }
        // agents and secrets may have gone from the configuration since it was made
        let mut its_own = Reading::default();
        rules::options_still_fit(&profile.options, &self.0.settings, &mut its_own);
        for fault in its_own.faults.into_iter().chain(its_own.not_supported) {
            let option = fault.pointer.trim_start_matches('/');
            reading
                .fault("/profile", format!("\"{name}\" cannot be used as it is: {option} {}", fault.detail));
        }
        Ok(Some(profile))
    }

    /// What the API may change under this name; `None` for a name that nothing has.
    async fn changeable(&self, name: &str) -> Result<Option<Profile>, AppError> {
        let stored = self.stored_profile(name).await?;
        if stored.is_none() && self.0.settings.profiles.contains_key(name) {
            let detail = format!("the profile \"{name}\" is in the configuration file: change it there");
            return Err(AppError::conflict("profile_of_configuration", detail));
        }
        Ok(stored)
    }

    async fn stored_profile(&self, name: &str) -> Result<Option<Profile>, AppError> {
        match self.0.store.get_profile(name).await {
            Ok(profile) => Ok(Some(profile)),
            Err(StoreError::NotFound(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

fn may_use(caller: &Caller, profile: &Profile) -> bool {
    profile.submit || caller.scope.includes(Scope::Operate)
}

fn created(profile: &Profile, warnings: Vec<String>) -> Created<ProfileSaved> {
    Created {
        location: format!("/profiles/{}", profile.name),
        body: ProfileSaved { profile: profile.into(), warnings },
    }
}

fn in_both(name: &str) -> String {
    format!(
        "\"{name}\" is a profile of the configuration file and one that was made by the API, and neither goes before the \
         other: delete the latter (offshoot profile rm {name}), or give one another name"
    )
}

fn template(prompt: Option<&str>, reading: &mut Reading) -> Option<Template> {
    Template::parse(prompt?).map_err(|rule| reading.fault("/prompt", rule.to_string())).ok()
}

/// What somebody may have meant, or which names there are.
pub(super) fn known(wanted: &str, names: &[&str]) -> String {
    let alike = |name: &&str| (strsim::jaro_winkler(wanted, name), (*name).to_owned());
    let nearest = names.iter().map(alike).filter(|(likeness, _)| *likeness > LIKENESS_MIN);
    if let Some((_, name)) = nearest.max_by(|a, b| a.0.total_cmp(&b.0)) {
        return format!("did you mean {name}?");
    }
    match names {
        [] => "there is none".to_owned(),
        all if all.len() > NAMES_TOLD_MAX => {
            format!("there are {} and {} more", all[..NAMES_TOLD_MAX].join(", "), all.len() - NAMES_TOLD_MAX)
        }
        [one] => format!("there is {one}"),
        all => format!("there are {}", all.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::known;

    #[test]
    fn whoever_misspells_a_name_is_told_the_nearest_and_else_those_there_are() {
        assert_eq!(known("reveiw", &["nightly", "review"]), "did you mean review?");
        assert_eq!(known("x", &["nightly", "review"]), "there are nightly, review");
        assert_eq!(known("x", &["review"]), "there is review");
        assert_eq!(known("x", &[]), "there is none");
        let many = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"];
        assert_eq!(known("x", &many), "there are a, b, c, d, e, f, g, h, i, j and 2 more");
    }
}
