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
use crate::domain::phrases::path_word;

/// A private key of 16384 bits is 13 KB in PEM.
const SECRET_BYTES_MAX: u64 = 64 * 1024;

/// Takes the secret `<key>`, or the content of the file that `<key>_file` names: the stronger layer wins, and one
/// layer that says both contradicts itself.
pub(super) fn take(values: &mut Values, key: &str, dirs: Option<&PlatformDirs>) -> Option<SecretString> {
    let file_key = format!("{key}_file");
    if let (Some(inline), Some(file)) = (rank(values, key), rank(values, &file_key))
        && inline == file
    {
        values.problem(key, format!("and {file_key} are both set: keep one"));
        return None;
    }
    if said_by(values, key) == key {
        return values.text(key).map(SecretString::from);
    }
    let path = super::paths::absolute(values, &file_key, dirs)?;
    read_file(&path, &file_key).map_err(|problem| values.problems.push(problem)).ok()
}

/// The key that the secret `<key>` comes from: itself, or `<key>_file`.
pub(super) fn said_by(values: &Values, key: &str) -> String {
    let file_key = format!("{key}_file");
    if rank(values, &file_key) > rank(values, key) { file_key } else { key.to_owned() }
}

fn rank(values: &Values, path: &str) -> Option<u8> {
    values.entry(path).map(|entry| entry.origin.rank())
}

/// Where `offshoot init` and the README lay the admin token, beside the configuration file `file`: taken where nobody names one, so
/// that no shell need be told.
pub(super) fn look_in_usual_place(values: &mut Values, file: Option<&Path>) {
    const FILE_KEY: &str = "server.secret_file";
    let is_said = values.entry("server.secret").or_else(|| values.entry(FILE_KEY)).is_some();
    let beside = file.and_then(|file| std::path::absolute(file.with_file_name("secret")).ok());
    let usual = beside.filter(|file| file.exists());
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
    let shown = path_word(path);
    let found = std::fs::metadata(path).map_err(|error| {
        let problem = Problem::new(key, format!("names a file that cannot be read: {}", error.kind()));
        let problem = problem.remedy(how_to_write(key, &shown));
        if error.kind() == ErrorKind::PermissionDenied { problem.permission() } else { problem }
    })?;
    if found.is_file() && !matches!(found.mode() & 0o7777, 0o600 | 0o400) {
        let rule = format!("names a file of mode {:04o}, which must be 0600 or 0400", found.mode() & 0o7777);
        return Err(Problem::new(key, rule).remedy(format!("chmod 600 {shown}")).permission());
    }
    let text = read_text(path).map_err(|rule| Problem::new(key, format!("names a file that {rule}")))?;
    Ok(SecretString::from(text))
}

/// What writes the secret file `shown`: a token or a key of our own can be any, what others have given out is put in by hand.
fn how_to_write(key: &str, shown: &str) -> String {
    if matches!(key, "server.secret_file" | "callbacks.secret_file") {
        return format!("(umask 077 && openssl rand -hex 32 > {shown})");
    }
    format!("(umask 077 && ${{EDITOR:-vi}} {shown})")
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
