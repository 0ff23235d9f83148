//! What stays as it is although it lies in a place that can be written: programs that the server runs outside of all walls, and what
//! makes the owner's own programs run something.
//!
//! A mount cannot be renamed or removed by whoever is behind it, but the directory around it can. So what is held becomes a mount that
//! can only be read, and each directory between it and the mount that it lies in a mount of its own, as writable as it was.

use std::collections::{BTreeSet, HashSet};
use std::ffi::OsStr;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use super::bubblewrap::Bind;

/// Something that nobody inside may change.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Held {
    /// A directory with all that is in it, or a file.
    pub path: PathBuf,
    /// Instead of a directory that is lent or the agent's own as a whole: this in it.
    pub or: Option<PathBuf>,
}

impl Held {
    /// This, wherever it lies.
    #[must_use]
    pub fn whole(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), or: None }
    }
}

/// The mounts that hold it all, to come behind `mounts`: those of these that lie below one of the new ones come once more.
/// What does not exist, or lies in nothing that can be written, needs none. A link is not held, only what it leads to.
pub(super) fn pins(mounts: &[Bind], held: &[Held]) -> Vec<Bind> {
    let mounts: Vec<Bind> = mounts
        .iter()
        .map(|bind| Bind { to: real(&bind.to).unwrap_or_else(|| bind.to.clone()), ..bind.clone() })
        .collect();
    let mut pins: Vec<Bind> = Vec::new();
    let wanted: BTreeSet<PathBuf> = held.iter().filter_map(|one| place(&mounts, one)).collect();
    for path in wanted {
        let Some(around) = innermost(&mounts, &path).filter(|bind| bind.writable) else { continue };
        if pins.iter().any(|pin| !pin.writable && path.starts_with(&pin.to)) {
            continue;
        }
        let Ok(below) = path.strip_prefix(&around.to) else { continue };
        let mut to = around.to.clone();
        let mut from = around.from.clone();
        for part in below.parent().into_iter().flat_map(Path::components) {
            to.push(part);
            from.push(part);
            if !pins.iter().any(|pin| pin.to == to) {
                pins.push(Bind { from: from.clone(), to: to.clone(), writable: true });
            }
        }
        // of the mount itself there is nothing below
        let from = if below.as_os_str().is_empty() { around.from.clone() } else { around.from.join(below) };
        pins.push(Bind { from, to: path, writable: false });
    }
    let is_behind = |bind: &&Bind| pins.iter().any(|pin| pin.to != bind.to && bind.to.starts_with(&pin.to));
    let again: Vec<Bind> = mounts.iter().filter(is_behind).cloned().collect();
    pins.extend(again);
    pins
}

/// Where it really is. A directory that is written as a whole is not taken away whole, where something in it is enough: a link is not,
/// nothing can be put over it.
fn place(mounts: &[Bind], held: &Held) -> Option<PathBuf> {
    let path = real(&held.path)?;
    match &held.or {
        Some(or)
            if !or.is_symlink() && mounts.iter().any(|bind| bind.writable && bind.to.starts_with(&path)) =>
        {
            real(or)
        }
        _ => Some(path),
    }
}

/// The last one that it lies in is what is seen of it.
fn innermost<'a>(mounts: &'a [Bind], path: &Path) -> Option<&'a Bind> {
    mounts.iter().rev().find(|bind| path.starts_with(&bind.to))
}

fn real(path: &Path) -> Option<PathBuf> {
    path.canonicalize().ok()
}

/// Of a file's first line, as the kernel reads it, and interpreters that are interpreted themselves (execve(2)).
const FIRST_LINE_MAX: u64 = 256;
const INTERPRETERS_MAX: usize = 5;
/// Links that are followed from one path; the kernel follows as many.
const LINKS_MAX: usize = 40;

/// What has to be held for a program to stay what it is, by the path that it is run by: the directory of each link on the way and of the
/// file itself, or the packages of npm or the environment of Python around it; and the same for whatever its first line names, by its
/// path or as a program in `dirs`.
#[must_use]
pub fn of_program(program: &Path, dirs: &[PathBuf]) -> Vec<Held> {
    let mut held = Vec::new();
    let mut programs = vec![program.to_owned()];
    for _ in 0..=INTERPRETERS_MAX {
        held.extend(programs.iter().flat_map(|program| of_file(program)));
        programs = programs.iter().flat_map(|program| interpreters(program, dirs)).collect();
    }
    held
}

/// Each word of a first line that begins with `#!` and is a program: the interpreter, and what `env` looks up, whatever options stand
/// before it.
fn interpreters(program: &Path, dirs: &[PathBuf]) -> Vec<PathBuf> {
    let mut line = Vec::new();
    let open =
        program.metadata().is_ok_and(|meta| meta.is_file()).then(|| File::open(program).ok()).flatten();
    // what cannot be read is run by nobody
    let _ = open.map(|file| file.take(FIRST_LINE_MAX).read_to_end(&mut line));
    let Some(line) = line.strip_prefix(b"#!") else { return Vec::new() };
    let words = line.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let words = words.split(u8::is_ascii_whitespace).map(|word| word.strip_prefix(b"-S").unwrap_or(word));
    let found = words.filter(|word| !word.is_empty()).filter_map(|word| {
        let word = Path::new(OsStr::from_bytes(word));
        let in_dirs = || dirs.iter().map(|dir| dir.join(word)).find(|path| path.is_file());
        let is_name = word.components().count() == 1;
        if word.is_absolute() { Some(word.to_owned()) } else { is_name.then(in_dirs).flatten() }
    });
    found.collect()
}

/// Without what runs it. Each link leads to a path of its own, and so does each directory of that path which is one.
fn of_file(program: &Path) -> Vec<Held> {
    let mut held = Vec::new();
    let mut pending = vec![program.to_owned()];
    let mut seen = HashSet::new();
    while let Some(path) = pending.pop() {
        if seen.len() > LINKS_MAX || !seen.insert(path.clone()) {
            continue;
        }
        pending.extend(links_above(&path));
        let (Some(dir), Some(name)) = (path.parent().and_then(real), path.file_name()) else { continue };
        let file = dir.join(name);
        let packages = file.ancestors().filter(|path| path.ends_with("node_modules")).last();
        held.extend(packages.map(Held::whole));
        let python = dir.parent().filter(|above| above.join("pyvenv.cfg").is_file());
        held.extend(python.map(Held::whole));
        pending.extend(std::fs::read_link(&file).ok().map(|target| dir.join(target)));
        held.push(Held { or: Some(file), path: dir });
    }
    held
}

/// The same for a directory that programs are looked for in: itself, and the links that lead to it.
#[must_use]
pub fn of_dir(dir: &Path) -> Vec<Held> {
    let links = if dir.is_symlink() { vec![dir.to_owned()] } else { links_above(dir) };
    let mut held: Vec<Held> = links.iter().flat_map(|link| of_file(link)).collect();
    held.push(Held::whole(dir));
    held
}

/// Links before the last part.
fn links_above(path: &Path) -> Vec<PathBuf> {
    path.ancestors().skip(1).filter(|above| above.is_symlink()).map(Path::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn temporary() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        (dir, root)
    }

    fn file(path: &Path) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "").unwrap();
    }

    #[test]
    fn what_is_held_and_each_directory_on_the_way_is_a_mount() {
        let (_dir, root) = temporary();
        file(&root.join("w/a/b/program"));
        file(&root.join("w/a/own/x"));
        file(&root.join("elsewhere/program"));
        let own = Bind::writable(root.join("w/a/own"));
        let mounts = [Bind::writable(root.join("w")), own.clone()];
        let held = ["w/a/b", "w/none", "elsewhere"].map(|name| Held::whole(root.join(name)));
        let a = Bind::writable(root.join("w/a"));
        assert_eq!(pins(&mounts, &held), [a, Bind::readable(root.join("w/a/b")), own]);
    }

    #[test]
    fn a_place_that_is_written_whole_keeps_its_program_and_nothing_else() {
        let (_dir, root) = temporary();
        file(&root.join("w/program"));
        let mounts = [Bind::writable(root.join("w"))];
        let program = root.join("w/program");
        assert_eq!(pins(&mounts, &of_program(&program, &[])), [Bind::readable(&program)]);
        // a directory that programs are looked for in is held whole: another one could be put before them
        assert_eq!(pins(&mounts, &[Held::whole(root.join("w"))]), [Bind::readable(root.join("w"))]);
    }

    #[test]
    fn a_link_in_a_place_that_is_written_keeps_the_whole_place() {
        let (_dir, root) = temporary();
        file(&root.join("far/bin/program"));
        std::fs::create_dir(root.join("w")).unwrap();
        std::os::unix::fs::symlink(root.join("far"), root.join("w/link")).unwrap();
        let mounts = [Bind::writable(root.join("w"))];
        let whole = [Bind::readable(root.join("w"))];
        assert_eq!(pins(&mounts, &of_program(&root.join("w/link/bin/program"), &[])), whole);
        assert_eq!(pins(&mounts, &of_dir(&root.join("w/link/bin"))), whole);
        assert_eq!(pins(&mounts, &of_dir(&root.join("w/link"))), whole);
    }

    #[test]
    fn a_program_is_all_that_its_links_lead_over() {
        let (_dir, root) = temporary();
        file(&root.join("n/node_modules/@x/tool/node_modules/y/cli.js"));
        std::fs::create_dir(root.join("bin")).unwrap();
        std::os::unix::fs::symlink("../n/node_modules/@x/tool/node_modules/y/cli.js", root.join("bin/tool"))
            .unwrap();
        let held: Vec<_> =
            of_program(&root.join("bin/tool"), &[]).into_iter().map(|held| held.path).collect();
        let package = root.join("n/node_modules/@x/tool/node_modules/y");
        assert_eq!(held, [root.join("bin"), root.join("n/node_modules"), package]);
    }

    /// A directory that a link leads through may be one itself, as of the version in use; two may lead to each other.
    #[test]
    fn a_link_in_the_middle_of_where_a_link_leads_is_held() {
        use std::os::unix::fs::symlink;
        let (_dir, root) = temporary();
        file(&root.join("lent/v1/bin/tool"));
        std::fs::create_dir(root.join("b")).unwrap();
        symlink("v1", root.join("lent/current")).unwrap();
        symlink(root.join("lent/current/bin/tool"), root.join("b/tool")).unwrap();
        let held = of_program(&root.join("b/tool"), &[]);
        let link = Held { path: root.join("lent"), or: Some(root.join("lent/current")) };
        assert!(held.contains(&link), "{held:?}");
        assert!(held.iter().any(|held| held.path == root.join("lent/v1/bin")), "{held:?}");
        symlink("two/x", root.join("one")).unwrap();
        symlink("one/x", root.join("two")).unwrap();
        assert!(!of_program(&root.join("one/tool"), &[]).is_empty());
    }

    #[test]
    fn what_a_first_line_names_is_held_too_and_what_is_named_there() {
        let (_dir, root) = temporary();
        let at = |name: &str| root.join(name);
        for (name, text) in [
            ("read/tool", format!("#!{} -x\nsecond /line\n", at("w/bin/inner").display())),
            ("w/bin/inner", format!("#! {}\n", at("v/bin/python").display())),
            ("v/bin/python", String::new()),
            ("v/pyvenv.cfg", String::new()),
            ("read/by-env", "#!/usr/bin/env -S A=b found -q".to_owned()),
        ] {
            file(&at(name));
            std::fs::write(at(name), text).unwrap();
        }
        file(&at("far/found"));
        std::fs::create_dir(at("path")).unwrap();
        std::os::unix::fs::symlink(at("far/found"), at("path/found")).unwrap();
        let mounts = ["w", "v", "far"].map(|name| Bind::writable(at(name)));
        let held = |name: &str| pins(&mounts, &of_program(&at(name), &[at("path")]));
        assert_eq!(held("read/tool"), ["v", "w/bin"].map(|name| Bind::readable(at(name))));
        assert_eq!(held("read/by-env"), [Bind::readable(at("far/found"))]);
    }
}
