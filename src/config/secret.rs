//! Secrets that lie in files: the owner's own, and those that systemd passes.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use secrecy::SecretString;
use toml::Value;

use super::env::Environment;
use super::error::Problem;
use super::keys::{self, Kind};
use super::paths::{PlatformDirs, resolve};
use super::values::{Origin, Values};

/// A private key of 16384 bits is 13 KB in PEM.
const SECRET_BYTES_MAX: u64 = 64 * 1024;

/// Takes the secret `<key>`, or the content of the file that `<key>_file` names: the stronger layer wins, and one
/// layer that says both contradicts itself.
pub(super) fn take(values: &mut Values, key: &str, dirs: Option<&PlatformDirs>) -> Option<SecretString> {
    let file_key = format!("{key}_file");
    let rank = |path: &str| values.entry(path).map(|entry| entry.origin.rank());
    match (rank(key), rank(&file_key)) {
        (Some(inline), Some(file)) if inline == file => {
            values.problem(key, format!("and {file_key} are both set: keep one"));
            None
        }
        (inline, file) if file > inline => {
            let path = super::paths::absolute(values, &file_key, dirs)?;
            let read = read_file(&path, &file_key);
            read.map_err(|problem| values.problems.push(problem)).ok()
        }
        _ => values.text(key).map(SecretString::from),
    }
}

/// Where `offshoot init` and the README lay the admin token: taken where nobody names one, so that no shell need be told.
pub(super) fn look_in_usual_place(values: &mut Values, dirs: Option<&PlatformDirs>) {
    const FILE_KEY: &str = "server.secret_file";
    let is_said = values.entry("server.secret").or_else(|| values.entry(FILE_KEY)).is_some();
    let usual = dirs.map(|dirs| dirs.config_dir.join("secret")).filter(|file| file.exists());
    if let (false, Some(file), Some(key)) = (is_said, usual, keys::find(FILE_KEY)) {
        let path = Value::String(file.to_string_lossy().into_owned());
        values.set(FILE_KEY, key, path, Origin::Default);
    }
}

/// Takes the entry `secrets.<name>`.
pub(super) fn take_named(
    values: &mut Values,
    name: &str,
    dirs: Option<&PlatformDirs>,
) -> Option<SecretString> {
    let key = format!("secrets.{name}");
    let file = match values.get(&key)? {
        Value::String(text) => {
            if let Err(rule) = check_text(&text) {
                values.problem(&key, rule);
                return None;
            }
            return Some(SecretString::from(text));
        }
        other => other.get("file").and_then(Value::as_str).map(str::to_owned)?,
    };
    let Some(path) = resolve(&file, dirs) else {
        values.problem(&key, "must name a file by an absolute path, or one that starts with ~/");
        return None;
    };
    read_file(&path, &key).map_err(|problem| values.problems.push(problem)).ok()
}

/// Reads what systemd laid into `CREDENTIALS_DIRECTORY` (systemd.exec(5), `LoadCredential=`): a file per secret,
/// named as its key. systemd itself sees to the permissions there.
pub(super) fn read_credentials(env: &Environment, values: &mut Values) {
    let Some(dir) = env.get("CREDENTIALS_DIRECTORY") else { return };
    for key in keys::all().filter(|key| matches!(key.kind, Kind::Secret) && !key.is_named()) {
        let path = Path::new(dir).join(key.path());
        if !path.exists() {
            continue;
        }
        match read_text(&path) {
            Ok(text) => values.set(&key.path(), key, Value::String(text), Origin::Credential(key.path())),
            Err(rule) => values.problems.push(Problem::new(format!("the credential {}", key.path()), rule)),
        }
    }
}

/// The content of a secret's file without its last line break. `key` is what the file is for.
///
/// # Errors
/// It must be an ordinary file that nobody else can read: mode 0600 or 0400.
fn read_file(path: &Path, key: &str) -> Result<SecretString, Problem> {
    let shown = path.display();
    let found = std::fs::metadata(path).map_err(|error| {
        let problem = Problem::new(key, format!("names a file that cannot be read: {}", error.kind()));
        let problem = problem.remedy(format!("(umask 077 && openssl rand -hex 32 > {shown})"));
        if error.kind() == ErrorKind::PermissionDenied { problem.permission() } else { problem }
    })?;
    if found.is_file() && !matches!(found.mode() & 0o7777, 0o600 | 0o400) {
        let rule = format!("names a file of mode {:04o}, which must be 0600 or 0400", found.mode() & 0o7777);
        return Err(Problem::new(key, rule).remedy(format!("chmod 600 {shown}")).permission());
    }
    let text = read_text(path).map_err(|rule| Problem::new(key, format!("names a file that {rule}")))?;
    Ok(SecretString::from(text))
}

fn read_text(path: &Path) -> Result<String, String> {
    // Without blocking: a pipe in place of the file must not hold up the start.
    let open = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path);
    let file = open.map_err(|error| format!("cannot be read: {}", error.kind()))?;
    if !file.metadata().is_ok_and(|found| found.is_file()) {
        return Err("is not an ordinary file".to_owned());
    }
    let mut text = String::new();
    let taken = file.take(SECRET_BYTES_MAX + 1).read_to_string(&mut text);
    // of a longer one the end is missing, so that it is still too long
    if taken.is_ok() && text.len() as u64 <= SECRET_BYTES_MAX {
        text.truncate(text.trim_end_matches(['\r', '\n']).len());
    }
    if taken.is_err() { Err(rule_for_text()) } else { check_text(&text).map(|()| text) }
}

/// What a secret may be: it becomes the value of a variable, or part of a request.
fn check_text(text: &str) -> Result<(), String> {
    if text.len() as u64 > SECRET_BYTES_MAX || text.contains('\0') {
        return Err(rule_for_text());
    }
    if text.is_empty() { Err("is empty".to_owned()) } else { Ok(()) }
}

fn rule_for_text() -> String {
    format!("must be UTF-8 text without a NUL character of at most {SECRET_BYTES_MAX} bytes")
}
