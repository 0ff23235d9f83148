//! What programs in the sandbox may see besides the usual, and what not.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::paths::{PlatformDirs, resolve};
use super::values::Values;

/// `[sandbox]`, and of `[policy]` the network and the isolation. All paths are absolute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SandboxSettings {
    pub read: Vec<PathBuf>,
    pub write: Vec<PathBuf>,
    pub hide: Vec<PathBuf>,
    /// Whether any program of a job may have a network.
    pub network: bool,
    /// No program of a job runs outside of the sandbox, whatever the options say.
    pub always: bool,
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
    let always = values.text("policy.isolation").is_some_and(|word| word == "sandbox");
    SandboxSettings { read, write, hide, network, always }
}

/// What is told of directories that the server looks for programs in and that the owner lends to be written: they can only be read
/// inside, because whoever writes one decides what the server runs. `path` is the value of PATH.
pub(super) fn programs_lent(write: &[PathBuf], path: &OsStr) -> Option<String> {
    let real = |dir: &Path| dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
    let is_lent = |dir: &PathBuf| write.iter().any(|lent| real(dir).starts_with(real(lent)));
    let dirs: Vec<String> = std::env::split_paths(path)
        .filter(|dir| dir.is_absolute() && is_lent(dir))
        .map(|dir| dir.display().to_string())
        .collect();
    let said = "lies in what sandbox.write lends, and in PATH: agents can only read it, because the server runs programs from there. \
        Lend what lies beside it instead";
    (!dirs.is_empty()).then(|| format!("{} {said}", dirs.join(", ")))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_of_programs_that_is_lent_is_told() {
        let told = |write: &[&str], path: &str| {
            let write: Vec<PathBuf> = write.iter().map(PathBuf::from).collect();
            programs_lent(&write, OsStr::new(path))
        };
        let said = told(&["/h/.cargo", "/h/go"], "/h/.cargo/bin:/usr/bin:/h/golang/bin").unwrap();
        assert!(said.starts_with("/h/.cargo/bin lies in what sandbox.write lends"), "{said}");
        assert_eq!(told(&["/h/.cargo/registry", "relative"], "/h/.cargo/bin:relative/bin"), None);
    }
}
