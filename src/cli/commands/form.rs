//! `--profile` and `--var`: a profile, and what is filled into its template.

use std::collections::BTreeMap;

use clap::Args;

use crate::cli::error::CliError;
use crate::domain::template::is_variable_name;

#[derive(Debug, Default, Args)]
pub(in crate::cli) struct FormFlags {
    /// Use the options and the prompt template of this profile; a prompt is read from standard input only for `-` then.
    #[arg(long, value_name = "NAME")]
    pub(super) profile: Option<String>,
    /// Fill in a variable of the template; may be given several times.
    #[arg(long = "var", value_name = "KEY=VALUE", value_parser = variable, requires = "profile")]
    variables: Vec<(String, String)>,
}

/// A text for each variable of a template.
pub(super) type Variables = BTreeMap<String, String>;

impl FormFlags {
    /// As they are sent. One that is given twice is a slip.
    pub(super) fn into_parts(self) -> Result<(Option<String>, Option<Variables>), CliError> {
        let mut all = Variables::new();
        for (name, value) in self.variables {
            if all.insert(name.clone(), value).is_some() {
                return Err(CliError::usage(format!("--var {name} is given twice")));
            }
        }
        Ok((self.profile, (!all.is_empty()).then_some(all)))
    }
}

fn variable(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("a variable is given as KEY=VALUE")?;
    if !is_variable_name(name) {
        return Err("the name of a variable has letters, digits and _, and no digit first".to_owned());
    }
    Ok((name.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_may_be_anything_and_is_given_once() {
        assert_eq!(variable("a=b=c {{x}}\n"), Ok(("a".to_owned(), "b=c {{x}}\n".to_owned())));
        assert_eq!(variable("_1="), Ok(("_1".to_owned(), String::new())));
        for wrong in ["a", "=b", "1=b", "a b=c", ""] {
            assert!(variable(wrong).is_err(), "{wrong}");
        }
        let pair = |name: &str| (name.to_owned(), "x".to_owned());
        let flags = |names: &[&str]| FormFlags {
            profile: Some("p".to_owned()),
            variables: names.iter().map(|name| pair(name)).collect(),
        };
        let (profile, variables) = flags(&["a", "b"]).into_parts().unwrap();
        assert_eq!((profile.as_deref(), variables.unwrap().len()), (Some("p"), 2));
        assert_eq!(flags(&[]).into_parts().unwrap().1, None);
        assert!(flags(&["a", "a"]).into_parts().is_err());
    }
}
