//! `offshoot version`

use serde_json::json;

use crate::cli::error::CliError;
use crate::cli::output::Output;

/// Prints the version of this program, and of nothing else: no server is asked.
pub(in crate::cli) fn run(out: &mut Output) -> Result<(), CliError> {
    let version = env!("CARGO_PKG_VERSION");
    if out.is_json() {
        return out.json(&json!({ "name": "offshoot", "version": version }));
    }
    out.line(&format!("offshoot {version}"))
}
