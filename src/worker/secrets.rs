//! What `setEnv` of clients and profiles gives to steps: the values of named secrets, looked up when a step begins and kept
//! nowhere.

use std::collections::BTreeMap;

use secrecy::ExposeSecret as _;

use super::attempt::Line;
use super::halt::{Halt, Step};
use crate::domain::reason::ReasonCode;

impl Line<'_> {
    /// Adds the variables with the values that the configuration has now, over what is there under their names.
    pub(super) fn add_secrets(&self, env: &mut BTreeMap<String, String>) -> Step<()> {
        for (variable, secret) in &self.options.set_env {
            let Some(value) = self.tools.settings.secrets.get(secret) else {
                let detail =
                    format!("There is no secret \"{secret}\" for the variable {variable} of setEnv.");
                return Err(Halt::fault(ReasonCode::SecretMissing, &detail));
            };
            env.insert(variable.clone(), value.expose_secret().to_owned());
        }
        Ok(())
    }
}
