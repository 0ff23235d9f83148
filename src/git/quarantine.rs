//! What was made in a shadow, on its way into the clone: its object files are linked into a repository of our own making, and
//! measured before anything reads one whole. Objects are packed a thousandfold and more, so that what takes a megabyte on the disk
//! would fill the memory of whoever parses it, this server among them.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use git2::Oid;

use super::depth::{Depths, TreeReader};
use super::error::GitError;
use super::give_up::GiveUp;
use super::measured::{FORMAT, Measured, count_named};
use super::program::{Call, Git};
use super::refusal::{LINK, Refusal, Refused};
use super::repository::blocking;
use super::{disk, refs, tamper};

/// Files of objects that one absorption takes over: git itself packs them long before.
const OBJECT_FILES_MAX: usize = 1_000_000;

/// Packs that one absorption takes over. Each is measured by a run of git; git itself makes one of fifty.
const PACK_FILES_MAX: usize = 10_000;

/// How often a pack is listed to find what leads to its large files: git makes no longer chains of deltas.
const LISTS_MAX: usize = 60;

/// Where packs wait until each was measured alone.
const WAITING: &str = "waiting";
/// The repository in which a pack is alone.
const ALONE: &str = "alone";

/// A repository with the object files of a shadow, and refs to what is wanted, numbered from 0.
#[derive(Clone, Debug)]
pub(super) struct Quarantine {
    pub(super) dir: PathBuf,
    /// None: the clone has it all.
    pub(super) tips: Vec<Oid>,
}

impl Quarantine {
    /// Fills it from the objects of a shadow. It has no others at first, so that what is listed in it is what is new.
    pub(super) fn fill(
        dir: PathBuf,
        shadow_objects: &Path,
        clone: &Path,
        tips: &[Oid],
    ) -> Result<Self, GitError> {
        let library = refs::open(clone)?;
        let tips: Vec<_> = tips.iter().filter(|tip| library.find_commit(**tip).is_err()).copied().collect();
        if tips.is_empty() {
            return Ok(Self { dir, tips });
        }
        let failed = GitError::io("fill a quarantine");
        fs::create_dir_all(&dir).and_then(|()| tamper::lay_out(&dir)).map_err(&failed)?;
        let (alone, waiting) = (dir.join(ALONE), dir.join(WAITING));
        for own in [&alone, &waiting] {
            fs::create_dir(own).map_err(&failed)?;
        }
        tamper::lay_out(&alone).map_err(&failed)?;
        link_objects(shadow_objects, &dir.join("objects"), &waiting).map_err(GitError::io(LINK))?;
        for (number, tip) in tips.iter().enumerate() {
            fs::write(dir.join(format!("refs/heads/{number}")), format!("{tip}\n")).map_err(&failed)?;
        }
        Ok(Self { dir, tips })
    }

    /// Lends it the objects of the clone, on which its own build.
    fn lend(&self, clone: &Path) -> io::Result<()> {
        let alternates = [clone.join("objects").as_os_str().as_encoded_bytes(), b"\n"].concat();
        fs::write(self.dir.join("objects/info/alternates"), alternates)
    }

    /// Measures what is new by the heads of the objects, which git reads without the rest, and lends it the clone's objects then.
    /// A file that no commit leads to is no matter. `known` are commits that the clone has.
    pub(super) async fn judge(
        &self,
        git: &Git,
        clone: &Path,
        known: &[Oid],
        give_up: &GiveUp,
    ) -> Result<Option<Refused>, GitError> {
        let mut measured = Measured { file_bytes_max: git.settings().file_bytes_max, ..Measured::default() };
        let mut depths = Depths::default();
        self.measure_loose(git, &mut measured, give_up).await?;
        self.read_trees(git, &self.dir, &measured, &mut depths, give_up).await?;
        self.measure_packs(git, &mut measured, &mut depths, give_up).await?;
        if measured.refusal.is_some() {
            return Ok(measured.refusal.map(Refused::from));
        }
        let (clone_dir, known_commits) = (clone.to_owned(), known.to_vec());
        let deep = blocking(move || depths.judge(&refs::open(&clone_dir)?, &known_commits)).await?;
        if deep.is_some() {
            return Ok(deep.map(Refused::from));
        }
        self.lend(clone).map_err(GitError::io("fill a quarantine"))?;
        if measured.large_files.is_empty() {
            return Ok(None);
        }
        let mut args = ["rev-list", "--objects"].map(OsString::from).to_vec();
        args.extend(self.tips.iter().map(|tip| tip.to_string().into()));
        args.push("--not".into());
        args.extend(known.iter().map(|tip| tip.to_string().into()));
        args.push("--".into());
        let mut refused = None;
        // its name, and where the first commit that leads there has it
        let look = |line: &[u8]| {
            let (name, path) = line.split_at(line.len().min(40));
            if refused.is_none() && measured.large_files.contains(name) {
                let path = path.get(1..).unwrap_or_default().to_vec();
                refused = Some(Refused { why: Refusal::LargeFile, path });
            }
        };
        let call = call(&self.dir, "look for large files in an agent's commits", git, args);
        git.read_lines(call, give_up, look).await?;
        Ok(refused)
    }

    /// One without a size is damaged, as after a power failure, and is not taken along: a commit that leads to it is refused by git.
    async fn measure_loose(
        &self,
        git: &Git,
        measured: &mut Measured,
        give_up: &GiveUp,
    ) -> Result<(), GitError> {
        list(git, &self.dir, measured, give_up).await?;
        for name in measured.unmeasured.drain(..) {
            let Some(name) = std::str::from_utf8(&name).ok().filter(|name| is_id(name)) else {
                measured.refusal.get_or_insert(Refusal::Malformed);
                continue;
            };
            let file = self.dir.join("objects").join(&name[..2]).join(&name[2..]);
            disk::remove_any(&file).map_err(GitError::io("fill a quarantine"))?;
        }
        Ok(())
    }

    /// Each by itself: what another copy of an object hides would not be listed, and a delta of something outside of its pack, which
    /// git writes for sending alone, has no size there.
    async fn measure_packs(
        &self,
        git: &Git,
        measured: &mut Measured,
        depths: &mut Depths,
        give_up: &GiveUp,
    ) -> Result<(), GitError> {
        let failed = GitError::io("fill a quarantine");
        let alone = self.dir.join(ALONE);
        let (waiting, inside) = (self.dir.join(WAITING), alone.join("objects/pack"));
        for stem in packs_in(&waiting).map_err(&failed)? {
            let files = [".pack", ".idx"].map(|end| format!("{stem}{end}"));
            for file in &files {
                fs::rename(waiting.join(file), inside.join(file)).map_err(&failed)?;
            }
            measure_pack(git, &alone, &inside.join(&files[1]), measured, give_up).await?;
            if measured.refusal.is_some() {
                return Ok(());
            }
            self.read_trees(git, &alone, measured, depths, give_up).await?;
            // the index last, as git does it
            for file in &files {
                fs::rename(inside.join(file), self.dir.join("objects/pack").join(file)).map_err(&failed)?;
            }
        }
        Ok(())
    }

    /// What lies in the directories of the last list, in this repository of it.
    async fn read_trees(
        &self,
        git: &Git,
        dir: &Path,
        measured: &Measured,
        depths: &mut Depths,
        give_up: &GiveUp,
    ) -> Result<(), GitError> {
        if measured.trees.is_empty() || measured.refusal.is_some() || depths.refusal.is_some() {
            return Ok(());
        }
        let asked = self.asked(&measured.trees).map_err(GitError::io("fill a quarantine"))?;
        let args = ["cat-file", "--batch"].map(OsString::from).to_vec();
        let call = call(dir, "look how deep an agent's directories are", git, args);
        let mut reader = TreeReader::default();
        git.read_blocks(call, asked, give_up, |block| reader.push(block, depths)).await
    }

    /// A file of names, line by line, to be read from its beginning.
    fn asked(&self, names: &[Oid]) -> io::Result<File> {
        let path = self.dir.join("asked");
        let mut file = BufWriter::new(File::create(&path)?);
        for name in names {
            writeln!(file, "{name}")?;
        }
        file.flush()?;
        File::open(path)
    }

    /// The commits come into the clone, through git's checks of objects.
    pub(super) async fn fetch(&self, git: &Git, clone: &Path, give_up: &GiveUp) -> Result<(), GitError> {
        let mut args: Vec<_> =
            ["fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--no-auto-maintenance"]
                .map(OsString::from)
                .to_vec();
        args.extend(["--".into(), self.dir.clone().into()]);
        args.extend((0..self.tips.len()).map(|tip| format!("refs/heads/{tip}").into()));
        let mut call = call(&self.dir, "take over an agent's commits", git, args);
        call.git_dir = Some(clone);
        call.config = vec![("fetch.fsckObjects".to_owned(), secrecy::SecretString::from("true"))];
        git.read_lines(call, give_up, |_| ()).await
    }
}

fn call<'c>(git_dir: &'c Path, step: &'static str, git: &Git, args: Vec<OsString>) -> Call<'c> {
    let deadline = git.settings().checkout_deadline;
    Call { step, git_dir: Some(git_dir), work_tree: None, args, config: Vec::new(), deadline }
}

/// All objects of a repository.
async fn list(git: &Git, dir: &Path, measured: &mut Measured, give_up: &GiveUp) -> Result<(), GitError> {
    let args = ["cat-file", "--batch-all-objects", "--unordered", FORMAT].map(OsString::from).to_vec();
    measured.begin_list();
    let call = call(dir, "measure an agent's commits", git, args);
    git.read_lines(call, give_up, |line| measured.object(line)).await
}

/// The pack in `alone`, again and again while more is found in it that is large for what it is a delta of.
async fn measure_pack(
    git: &Git,
    alone: &Path,
    index: &Path,
    measured: &mut Measured,
    give_up: &GiveUp,
) -> Result<(), GitError> {
    let named = count_named(index).map_err(GitError::io("measure an agent's commits"))?;
    for _ in 0..LISTS_MAX {
        list(git, alone, measured, give_up).await?;
        if named != Some(measured.lines) || !measured.unmeasured.is_empty() {
            measured.refuse(Refusal::Malformed);
        }
        if measured.refusal.is_some() || !measured.has_more_large {
            return Ok(());
        }
    }
    measured.refuse(Refusal::LargeFile);
    Ok(())
}

/// The names of whole packs, without their ends.
fn packs_in(dir: &Path) -> io::Result<Vec<String>> {
    let names = fs::read_dir(dir)?.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>()?;
    let stems = names.iter().filter_map(|name| name.to_str()?.strip_suffix(".idx"));
    let is_whole = |stem: &&str| dir.join(format!("{stem}.pack")).symlink_metadata().is_ok();
    Ok(stems.filter(is_whole).map(str::to_owned).collect())
}

fn is_id(text: &str) -> bool {
    text.len() == 40 && is_hex(text)
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

/// Links what is named as objects are, and is a plain file, to `to`; packs to `waiting`. Nothing else is taken, above all no `info`.
fn link_objects(from: &Path, to: &Path, waiting: &Path) -> io::Result<()> {
    let mut left = OBJECT_FILES_MAX;
    if !disk::is_real_dir(from) {
        return Ok(());
    }
    for number in 0..=u8::MAX {
        let name = format!("{number:02x}");
        let is_wanted = |name: &str| name.len() == 38 && is_hex(name);
        link_dir(&from.join(&name), &to.join(name), &mut left, is_wanted)?;
    }
    left = left.min(2 * PACK_FILES_MAX);
    link_dir(&from.join("pack"), waiting, &mut left, |name| {
        let stem = name.strip_suffix(".pack").or_else(|| name.strip_suffix(".idx"));
        stem.and_then(|stem| stem.strip_prefix("pack-")).is_some_and(is_id)
    })
}

fn link_dir(from: &Path, to: &Path, left: &mut usize, is_wanted: impl Fn(&str) -> bool) -> io::Result<()> {
    if !disk::is_real_dir(from) {
        return Ok(());
    }
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let name = entry.file_name();
        if name.to_str().is_some_and(&is_wanted) && entry.file_type()?.is_file() {
            *left = left.checked_sub(1).ok_or(io::ErrorKind::InvalidData)?;
            fs::hard_link(entry.path(), to.join(name))?;
        }
    }
    Ok(())
}
