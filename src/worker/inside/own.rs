//! What a step has of its own inside, and what of that it must not change.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use nix::libc;

use super::Room;
use super::given::Given;
use crate::agent::{Kept, Missing, OwnPlaces};
use crate::git::Shadow;
use crate::isolation::{Bind, Held, is_fresh, of_dir, of_program};

/// Where the copies of an agent's files lie, beside the repository that is lent to the worktree and goes with it.
const COPIES: &str = "agent-files";
/// Claude's own has some megabytes where there are many projects.
const COPY_BYTES_MAX: usize = 64 << 20;
/// What a program of the owner's may be called in the directory of an agent: its settings name such scripts.
const SCRIPTS: &[&str] = &["sh", "bash", "zsh", "fish", "py", "js", "mjs", "cjs", "ts", "rb", "pl", "lua"];
/// Held one by one, each by a few words.
const SCRIPTS_MAX: usize = 100;
/// Directories there that people keep such programs in.
const OF_SCRIPTS: &[&str] = &["bin", "scripts", "lib", "mcp", "mcp-servers", "tools", "helpers"];

impl Room {
    pub(super) fn own(&self, places: &OwnPlaces) -> Result<(Vec<Bind>, Given), String> {
        let Shadow { clone, shadow, objects, lent } = &self.shadow;
        let mut own = vec![
            Bind { from: shadow.clone(), to: clone.clone(), writable: true },
            Bind { from: objects.clone(), to: lent.clone(), writable: false },
            Bind::writable(&self.worktree),
        ];
        own.extend(Some(&self.attachments).filter(|dir| dir.is_dir()).map(Bind::readable));
        let is_written = |path: &Path| places.dirs.iter().any(|dir| path.starts_with(dir));
        // the program would make it at its first start, and cannot in there
        for dir in places.dirs.iter().chain(&places.fresh) {
            make_dir(dir)?;
        }
        own.extend(places.dirs.iter().map(Bind::writable));
        for Kept { path, missing } in &places.kept {
            make_missing(path, *missing)?;
            own.extend(Some(path).filter(|path| !is_written(path) && path.exists()).map(Bind::readable));
        }
        for file in &places.files {
            if is_written(file) {
                make_missing(file, Missing::File("{}\n"))?;
            }
            own.extend(self.copy(file, is_written(file))?.map(|copy| Bind {
                from: copy,
                to: file.clone(),
                writable: true,
            }));
        }
        let given = self.given(places)?;
        own.extend(given.logins.iter().map(|(file, copy)| Bind {
            from: copy.clone(),
            to: file.clone(),
            writable: true,
        }));
        own.extend(self.programs.iter().filter(|program| is_fresh(program)).map(Bind::readable));
        Ok((own, given))
    }

    fn given(&self, places: &OwnPlaces) -> Result<Given, String> {
        let mut logins = Vec::new();
        for file in &places.logins {
            make_missing(file, Missing::File("{}\n"))?;
            logins.extend(self.copy(file, true)?.map(|copy| (file.clone(), copy)));
        }
        let absent = places.absent.iter().filter(|path| path.symlink_metadata().is_err()).cloned().collect();
        Ok(Given { logins, absent })
    }

    /// The private copy of a file for one step; nothing where there is no such file. Where agents write beside it, a link would be their
    /// word on what is copied.
    fn copy(&self, file: &Path, is_beside: bool) -> Result<Option<PathBuf>, String> {
        let failed =
            |error: std::io::Error| format!("{} cannot be copied for the agent: {error}", file.display());
        let dir = self.shadow.shadow.with_file_name(COPIES);
        let name = file.to_string_lossy().replace('/', "_");
        let copy = dir.join(name.trim_start_matches('_'));
        let mut bytes = Vec::new();
        let flags = if is_beside { libc::O_NOFOLLOW } else { 0 };
        match OpenOptions::new().read(true).custom_flags(flags | libc::O_NONBLOCK).open(file) {
            Ok(open) if open.metadata().is_ok_and(|meta| meta.is_file()) => {
                open.take(COPY_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
            }
            Ok(_) => return Ok(None),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        }
        if bytes.len() > COPY_BYTES_MAX {
            return Err(failed(ErrorKind::FileTooLarge.into()));
        }
        make_dir(&dir)?;
        // a step that is still there has the old one
        let _ = fs::remove_file(&copy);
        let mut to =
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(&copy).map_err(failed)?;
        to.write_all(&bytes).map_err(failed)?;
        Ok(Some(copy))
    }

    /// What may not be changed wherever it lies.
    pub(super) fn held(&self, places: &OwnPlaces) -> Result<Vec<Held>, String> {
        let is_written = |dir: &Path| {
            let lent = self.settings.lent.iter().filter(|bind| bind.writable).map(|bind| &bind.to);
            lent.chain(&places.dirs).any(|place| dir.starts_with(place))
        };
        // what is empty inside stays as it is on the disk, and where it is
        let kept = places.kept.iter().map(|kept| &kept.path).chain(&places.fresh);
        let mut held: Vec<Held> = kept.map(Held::whole).collect();
        for dir in &places.dirs {
            held.extend(scripts(dir)?.into_iter().map(Held::whole));
        }
        for dir in &self.outside.dirs {
            // whoever makes it later would be found before everybody else
            if is_written(dir) && !dir.exists() {
                make_dir(dir)?;
            }
            held.extend(of_dir(dir));
        }
        let path = self.variables.get("PATH").map(std::env::split_paths);
        let dirs: Vec<PathBuf> =
            self.outside.dirs.iter().cloned().chain(path.into_iter().flatten()).collect();
        let programs = self.outside.programs.iter().chain(&self.programs);
        held.extend(programs.flat_map(|program| of_program(program, &dirs)));
        Ok(held)
    }
}

/// What the owner may have the agent run by its settings, in its directory: by what it is called, or by its mode where it is not called
/// anything.
fn scripts(dir: &Path) -> Result<Vec<PathBuf>, String> {
    let is_named = |names: &[&str], name: Option<&OsStr>| {
        name.and_then(OsStr::to_str).is_some_and(|name| names.contains(&name))
    };
    let is_script = |path: &PathBuf| {
        let Ok(meta) = path.metadata() else { return false };
        let is_program = match path.extension() {
            Some(ending) => is_named(SCRIPTS, Some(ending)),
            None => meta.permissions().mode() & 0o111 != 0,
        };
        (meta.is_file() && is_program) || (meta.is_dir() && is_named(OF_SCRIPTS, path.file_name()))
    };
    let entries = fs::read_dir(dir).into_iter().flatten();
    let found: Vec<_> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(is_script)
        .take(SCRIPTS_MAX + 1)
        .collect();
    if found.len() > SCRIPTS_MAX {
        return Err(format!(
            "{} has more than {SCRIPTS_MAX} scripts, and a sandbox cannot hold them all: move them into {}",
            dir.display(),
            dir.join("scripts").display()
        ));
    }
    Ok(found)
}

fn make_dir(dir: &Path) -> Result<(), String> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.map_err(|error| format!("the directory {} of the agent cannot be made: {error}", dir.display()))
}

/// Nothing can be put over what is not there: it is made, and says nothing.
fn make_missing(path: &Path, missing: Missing) -> Result<(), String> {
    if path.symlink_metadata().is_ok() {
        return Ok(());
    }
    let text = match missing {
        Missing::Nothing => return Ok(()),
        Missing::Dir => return make_dir(path),
        Missing::File(text) => text,
    };
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    match made.and_then(|mut file| file.write_all(text.as_bytes())) {
        // the step beside this one
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        made => made.map_err(|error| {
            format!("{} cannot be made, which the agent must not make: {error}", path.display())
        }),
    }
}
