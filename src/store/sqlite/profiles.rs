//! Profiles that were made by the API.

use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::super::Store;
use super::super::error::StoreError;
use super::super::view::KeyedAnswer;
use super::{answers, audit, rows};
use crate::domain::options::RunOptions;
use crate::domain::profile::{NewProfile, PROFILES_MAX, Profile, ProfilePatch, Source, UsedProfile};
use crate::domain::template::Template;
use crate::domain::time::Timestamp;
use crate::failpoint::Edge;
use crate::wire::options as stored_options;

impl Store {
    /// Makes a profile.
    ///
    /// # Errors
    /// [`StoreError::DuplicateProfile`]; [`StoreError::TooManyProfiles`].
    pub async fn create_profile(
        &self,
        new: NewProfile,
        answer: Option<KeyedAnswer<Profile>>,
    ) -> Result<Profile, StoreError> {
        let now = self.moment();
        self.database
            .write(Edge::CreateProfile, move |connection| {
                let profile = insert(connection, now.wall, &new)?;
                audit::made(format!("/profiles/{}", profile.name));
                answers::keep(connection, now, answer, &profile)?;
                Ok(profile)
            })
            .await
    }

    /// # Errors
    /// [`StoreError::NotFound`].
    pub async fn get_profile(&self, name: &str) -> Result<Profile, StoreError> {
        let name = name.to_owned();
        self.database.read(move |connection| get(connection, &name)).await
    }

    /// All of them by name, [`PROFILES_MAX`] at most.
    ///
    /// # Errors
    /// What the database said.
    pub async fn list_profiles(&self) -> Result<Vec<Profile>, StoreError> {
        self.database
            .read(|connection| {
                let mut statement = connection.prepare_cached("SELECT * FROM profiles ORDER BY name")?;
                let profiles = statement.query_map([], profile)?.collect::<Result<_, _>>()?;
                Ok(profiles)
            })
            .await
    }

    /// # Errors
    /// [`StoreError::NotFound`]; [`StoreError::Changed`].
    pub async fn update_profile(&self, name: &str, patch: ProfilePatch) -> Result<Profile, StoreError> {
        let (name, now) = (name.to_owned(), self.now());
        self.database
            .write(Edge::UpdateProfile, move |connection| update(connection, now, &name, patch))
            .await
    }

    /// Forgets a profile. Jobs keep what they have of it.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub async fn delete_profile(&self, name: &str) -> Result<(), StoreError> {
        let name = name.to_owned();
        self.database
            .write(Edge::DeleteProfile, move |connection| {
                let gone =
                    connection.prepare_cached("DELETE FROM profiles WHERE name = ?1")?.execute([name])?;
                if gone == 0 { Err(StoreError::NotFound("profile")) } else { Ok(()) }
            })
            .await
    }
}

fn get(connection: &Connection, name: &str) -> Result<Profile, StoreError> {
    connection
        .prepare_cached("SELECT * FROM profiles WHERE name = ?1")?
        .query_row([name], profile)
        .optional()?
        .ok_or(StoreError::NotFound("profile"))
}

fn insert(connection: &Connection, now: Timestamp, new: &NewProfile) -> Result<Profile, StoreError> {
    let (same, all): (usize, usize) = connection
        .prepare_cached("SELECT count(*) FILTER (WHERE name = ?1), count(*) FROM profiles")?
        .query_row([&new.name], |row| Ok((row.get(0)?, row.get(1)?)))?;
    if same > 0 {
        return Err(StoreError::DuplicateProfile(new.name.clone()));
    }
    if all >= PROFILES_MAX {
        return Err(StoreError::TooManyProfiles);
    }
    connection
        .prepare_cached(
            "INSERT INTO profiles (name, prompt, options, submit, created_at, updated_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?5)",
        )?
        .execute(params![
            new.name,
            new.template.as_ref().map(Template::as_str),
            stored_options::to_text(&new.options),
            new.submit,
            now.as_ms(),
        ])?;
    get(connection, &new.name)
}

fn update(
    connection: &Connection,
    now: Timestamp,
    name: &str,
    patch: ProfilePatch,
) -> Result<Profile, StoreError> {
    let current = get(connection, name)?;
    if patch.options_seen.is_some_and(|seen| seen != current.options) {
        return Err(StoreError::Changed);
    }
    let template = patch.template.unwrap_or(current.template);
    connection
        .prepare_cached(
            "UPDATE profiles SET prompt = ?2, options = ?3, submit = ?4, updated_at = ?5 WHERE name = ?1",
        )?
        .execute(params![
            name,
            template.as_ref().map(Template::as_str),
            stored_options::to_text(&patch.options.unwrap_or(current.options)),
            patch.submit.unwrap_or(current.submit),
            now.as_ms(),
        ])?;
    get(connection, name)
}

fn profile(row: &Row<'_>) -> rusqlite::Result<Profile> {
    let template = match row.get::<_, Option<String>>("prompt")? {
        Some(_) => Some(rows::parsed(row, "prompt", |text| Template::parse(text).ok())?),
        None => None,
    };
    Ok(Profile {
        name: row.get("name")?,
        template,
        options: rows::options(row)?,
        submit: row.get("submit")?,
        source: Source::Api {
            created_at: Timestamp::from_ms(row.get("created_at")?),
            updated_at: Timestamp::from_ms(row.get("updated_at")?),
        },
    })
}

/// What the row of a job has of its profile.
pub(super) fn used(row: &Row<'_>) -> rusqlite::Result<Option<UsedProfile>> {
    let Some(name) = row.get::<_, Option<String>>("profile")? else { return Ok(None) };
    let options: RunOptions =
        rows::parsed(row, "profile_options", |text| stored_options::from_text(text).ok())?;
    Ok(Some(UsedProfile { name, options }))
}

/// The same as it is stored: the name and the options.
pub(super) fn used_columns(used: Option<&UsedProfile>) -> (Option<&str>, Option<String>) {
    match used {
        Some(used) => (Some(&used.name), Some(stored_options::to_text(&used.options))),
        None => (None, None),
    }
}
