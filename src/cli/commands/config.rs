//! `offshoot config show`

use serde_json::{Value, json};

use crate::cli::args::Global;
use crate::cli::connection;
use crate::cli::error::CliError;
use crate::cli::output::Output;
use crate::config::{Config, Environment};

/// Prints every key with its value, secrets masked.
pub(in crate::cli) fn show(
    global: &Global,
    origin: bool,
    env: &Environment,
    out: &mut Output,
) -> Result<(), CliError> {
    let config = connection::load(global, env).map_err(|error| {
        error.hint("see every key", "less config.example.toml   (in the sources of offshoot)")
    })?;
    let file = Config::file(env, global.config.as_deref()).map(|(path, _)| path);
    if out.is_json() {
        let rows: Vec<Value> = config
            .rows()
            .iter()
            .map(|row| json!({ "key": row.key, "value": row.value, "origin": row.origin.to_string() }))
            .collect();
        return out.json(&rows);
    }
    if let Some(file) = file {
        let absent = if file.exists() { "" } else { "  (does not exist)" };
        out.say(&format!("# file: {}{absent}", file.display()));
    }
    let rows = config.rows();
    let key_chars = rows.iter().map(|row| row.key.len()).max().unwrap_or(0);
    for row in rows {
        let value = if row.value.is_empty() { "-" } else { &row.value };
        let origin = if origin { format!("   # {}", row.origin) } else { String::new() };
        out.line(&format!("{:key_chars$}  {value}{origin}", row.key))?;
    }
    for warning in config.warnings() {
        out.say(&format!("warning: {}", warning.text));
    }
    Ok(())
}
