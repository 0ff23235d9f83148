//! What programs in the sandbox may see besides the usual, and what not.

use std::path::PathBuf;

use super::paths::{PlatformDirs, resolve};
use super::values::Values;

/// `[sandbox]`, and `policy.network`. All paths are absolute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SandboxSettings {
    pub read: Vec<PathBuf>,
    pub write: Vec<PathBuf>,
    pub hide: Vec<PathBuf>,
    /// Whether any program of a job may have a network.
    pub network: bool,
}

pub(super) fn build(values: &mut Values, dirs: Option<&PlatformDirs>) -> SandboxSettings {
    let mut paths = |key: &str| {
        let mut found = Vec::new();
        for text in values.texts(key).unwrap_or_default() {
            match resolve(&text, dirs) {
                Some(path) => found.push(path),
                None => values.problem(key, "must hold absolute paths, or ones that start with ~/"),
            }
        }
        found
    };
    let (read, write, hide) = (paths("sandbox.read"), paths("sandbox.write"), paths("sandbox.hide"));
    let network = values.text("policy.network").is_none_or(|word| word != "deny");
    SandboxSettings { read, write, hide, network }
}

/// The files that secrets are kept in, whichever layer names them.
pub(super) fn secret_files(values: &Values, dirs: Option<&PlatformDirs>) -> Vec<PathBuf> {
    let of_key = |(path, entry): (&str, &super::values::Entry)| {
        let text = if path.starts_with("secrets.") {
            entry.value.get("file").and_then(toml::Value::as_str)
        } else if path.ends_with("_file") {
            entry.value.as_str()
        } else {
            None
        };
        resolve(text?, dirs)
    };
    values.entries().filter_map(of_key).collect()
}
