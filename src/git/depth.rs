//! How deep the directories in an agent's commits lie in each other. libgit2 and git walk them with a recursion, git before 2.43 without
//! any bound: a thousandfold of what anybody could check out ends whoever walks it.

use std::collections::{HashMap, HashSet};

use git2::{ErrorCode, Oid, Repository as Library};

use super::error::GitError;
use super::measured::TREES_MAX;
use super::refusal::Refusal;
use super::unfold::{self, Unfolded};

/// Directories in each other below the root of a commit: a path (PATH_MAX, limits.h) has no room for more, and git takes no more by
/// itself since it has a bound (core.maxTreeDepth).
const DEPTH_MAX: u32 = 2_048;

/// Directories in directories, counted wherever they are.
const ENTRIES_MAX: usize = 8_000_000;

/// A directory has such a mode, whatever its other bits (gitformat-pack(5) has no others).
const KIND: u32 = 0o170_000;
const DIRECTORY: u32 = 0o040_000;

/// The new directories, and what lies in them.
#[derive(Debug, Default)]
pub(super) struct Depths {
    numbers: HashMap<Oid, usize>,
    /// By number; `None`: it is not new.
    below: Vec<Option<Tree>>,
    entries: usize,
    pub(super) refusal: Option<Refusal>,
}

/// A new directory.
#[derive(Debug, Default)]
struct Tree {
    /// Those in it, with the length of their names.
    trees: Vec<(usize, u64)>,
    /// What is no directory.
    others: Unfolded,
}

impl Depths {
    fn number(&mut self, tree: Oid) -> usize {
        let next = self.below.len();
        let number = *self.numbers.entry(tree).or_insert(next);
        if number == next {
            self.below.push(None);
        }
        if next > TREES_MAX {
            self.refusal.get_or_insert(Refusal::Many);
        }
        number
    }

    fn begin(&mut self, tree: Oid) -> usize {
        let number = self.number(tree);
        self.below[number].get_or_insert_default();
        number
    }

    fn add_other(&mut self, tree: usize, name: u64) {
        if let Some(tree) = &mut self.below[tree] {
            tree.others.add(Unfolded::of_name(name));
        }
    }

    fn add(&mut self, tree: usize, below: Oid, name: u64) {
        let below = self.number(below);
        self.entries += 1;
        if self.entries > ENTRIES_MAX {
            self.refusal.get_or_insert(Refusal::Many);
        }
        if let Some(tree) = &mut self.below[tree] {
            tree.trees.push((below, name));
        }
    }

    /// The deepest level of each that is not new; of a root it is 0. By levels, without a recursion.
    fn foreign(&self) -> Result<Foreign, Refusal> {
        if let Some(refusal) = self.refusal {
            return Err(refusal);
        }
        let mut above = vec![0_usize; self.below.len()];
        for (below, _) in self.below.iter().flatten().flat_map(|tree| &tree.trees) {
            above[*below] += 1;
        }
        let mut levels = vec![0_u32; self.below.len()];
        let mut ready: Vec<_> = (0..above.len()).filter(|number| above[*number] == 0).collect();
        let mut order = Vec::new();
        while let Some(number) = ready.pop() {
            order.push(number);
            if levels[number] > DEPTH_MAX {
                return Err(Refusal::Deep);
            }
            for (below, _) in self.below[number].iter().flat_map(|tree| &tree.trees) {
                levels[*below] = levels[*below].max(levels[number] + 1);
                above[*below] -= 1;
                if above[*below] == 0 {
                    ready.push(*below);
                }
            }
        }
        // what lies in itself has a name that is not its own
        if order.len() < levels.len() {
            return Err(Refusal::Malformed);
        }
        let foreign = self.numbers.iter().filter(|(_, number)| self.below[**number].is_none());
        Ok(Foreign { levels: foreign.map(|(tree, number)| (*tree, levels[*number])).collect(), order })
    }

    /// The most that one of the new directories unfolds to.
    fn most(&self, order: &[usize], foreign: &HashMap<Oid, Unfolded>) -> Unfolded {
        let mut all = vec![Unfolded::default(); self.below.len()];
        for (tree, number) in &self.numbers {
            all[*number] = foreign.get(tree).copied().unwrap_or_default();
        }
        let mut most = Unfolded::default();
        for number in order.iter().rev() {
            let Some(tree) = &self.below[*number] else { continue };
            let mut sum = tree.others;
            for (below, name) in &tree.trees {
                sum.add(all[*below].below(*name));
            }
            all[*number] = sum;
            most = Unfolded { paths: most.paths.max(sum.paths), bytes: most.bytes.max(sum.bytes) };
        }
        most
    }

    /// Whether nothing lies too deep, with what the clone has of it. `known` are commits of the clone.
    pub(super) fn judge(&self, library: &Library, known: &[Oid]) -> Result<Option<Refusal>, GitError> {
        let Foreign { levels: mut left, order } = match self.foreign() {
            Ok(foreign) => foreign,
            Err(refusal) => return Ok(Some(refusal)),
        };
        let foreign: Vec<Oid> = left.keys().copied().collect();
        // what lies no deeper than in a commit that is known ends where it ended there
        let known = known.iter().filter_map(|commit| library.find_commit(*commit).ok());
        let roots: Vec<_> = known.map(|commit| commit.tree_id()).collect();
        let mut pending: Vec<_> = roots.iter().map(|root| (*root, 0)).collect();
        let mut seen = HashSet::new();
        while !left.is_empty()
            && seen.len() < TREES_MAX
            && let Some((tree, level)) = pending.pop()
        {
            if left.get(&tree).is_some_and(|now| *now <= level) {
                left.remove(&tree);
            } else if seen.insert(tree) {
                pending.extend(trees_in(library, tree)?.into_iter().map(|below| (below, level + 1)));
            }
        }
        drop(seen);
        if let Some(refusal) = walk(library, left.into_iter().collect())? {
            return Ok(Some(refusal));
        }
        let Some(sizes) = unfold::sizes(library, &foreign)? else { return Ok(Some(Refusal::Many)) };
        let most = self.most(&order, &sizes);
        if most.is_small() {
            return Ok(None);
        }
        // a repository that is as large already may grow
        let Some(sizes) = unfold::sizes(library, &roots)? else { return Ok(Some(Refusal::Many)) };
        let is_known = roots.iter().any(|root| sizes.get(root).is_some_and(|size| most.is_near(*size)));
        Ok((!is_known).then_some(Refusal::Many))
    }
}

/// What lies in new directories and is not new, with its deepest level; and the numbers of all, what is above before what is below.
#[derive(Debug)]
struct Foreign {
    levels: HashMap<Oid, u32>,
    order: Vec<usize>,
}

fn walk(library: &Library, mut pending: Vec<(Oid, u32)>) -> Result<Option<Refusal>, GitError> {
    let mut deepest = HashMap::new();
    let mut looks = 0;
    while let Some((tree, level)) = pending.pop() {
        if level > DEPTH_MAX {
            return Ok(Some(Refusal::Deep));
        }
        if deepest.get(&tree).is_some_and(|former| *former >= level) {
            continue;
        }
        deepest.insert(tree, level);
        looks += 1;
        if looks > TREES_MAX || pending.len() > ENTRIES_MAX {
            return Ok(Some(Refusal::Many));
        }
        pending.extend(trees_in(library, tree)?.into_iter().map(|below| (below, level + 1)));
    }
    Ok(None)
}

/// Of one that is missing there are none: git finds that out.
fn trees_in(library: &Library, tree: Oid) -> Result<Vec<Oid>, GitError> {
    match library.find_tree(tree) {
        Ok(tree) => Ok(tree
            .iter()
            .filter(|entry| entry.filemode_raw().cast_unsigned() & KIND == DIRECTORY)
            .map(|entry| entry.id())
            .collect()),
        Err(error) if error.code() == ErrorCode::NotFound => Ok(Vec::new()),
        Err(error) => Err(GitError::library("read a directory of the clone")(error)),
    }
}

/// Reads what `git cat-file --batch` writes of trees, in whatever blocks it comes.
#[derive(Debug, Default)]
pub(super) struct TreeReader {
    at: At,
    /// Of a head, or the id that is being read.
    text: Vec<u8>,
    /// Bytes of the tree that are still to come.
    left: u64,
    tree: usize,
    mode: u32,
    /// Bytes of the name.
    name: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum At {
    #[default]
    Head,
    Mode,
    Name,
    Id,
    End,
}

impl TreeReader {
    pub(super) fn push(&mut self, block: &[u8], depths: &mut Depths) {
        for byte in block {
            if depths.refusal.is_some() {
                return;
            }
            if self.byte(*byte, depths).is_none() {
                depths.refusal = Some(Refusal::Malformed);
            }
        }
    }

    /// `None`: no tree is written like this.
    fn byte(&mut self, byte: u8, depths: &mut Depths) -> Option<()> {
        if !matches!(self.at, At::Head | At::End) {
            self.left -= 1;
        }
        self.at = match (self.at, byte) {
            (At::Head, b'\n') => {
                (self.tree, self.left) = head(&self.text, depths)?;
                self.text.clear();
                self.mode = 0;
                if self.left == 0 { At::End } else { At::Mode }
            }
            (At::Head, _) if self.text.len() < 100 => {
                self.text.push(byte);
                At::Head
            }
            (At::Mode, b' ') => At::Name,
            (At::Mode, b'0'..=b'7') => {
                self.mode = self.mode.checked_mul(8)?.checked_add(u32::from(byte - b'0'))?;
                At::Mode
            }
            (At::Name, 0) => At::Id,
            (At::Name, _) => {
                self.name += 1;
                At::Name
            }
            (At::Id, _) => {
                self.text.push(byte);
                if self.text.len() < 20 { At::Id } else { self.entry(depths)? }
            }
            (At::End, b'\n') => At::Head,
            _ => return None,
        };
        (self.left > 0 || matches!(self.at, At::Head | At::End)).then_some(())
    }

    fn entry(&mut self, depths: &mut Depths) -> Option<At> {
        if self.mode & KIND == DIRECTORY {
            depths.add(self.tree, Oid::from_bytes(&self.text).ok()?, self.name);
        } else {
            depths.add_other(self.tree, self.name);
        }
        self.text.clear();
        (self.mode, self.name) = (0, 0);
        Some(if self.left == 0 { At::End } else { At::Mode })
    }
}

/// `id tree size`.
fn head(line: &[u8], depths: &mut Depths) -> Option<(usize, u64)> {
    let mut words = std::str::from_utf8(line).ok()?.split(' ');
    let (id, kind, size) = (words.next()?, words.next()?, words.next()?);
    if kind != "tree" {
        return None;
    }
    Some((depths.begin(Oid::from_str(id).ok()?), size.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn oid(number: u32) -> Oid {
        Oid::from_bytes(&[[0; 16].as_slice(), &number.to_be_bytes()].concat()).unwrap()
    }

    fn written(tree: u32, entries: &[(&str, u32)]) -> Vec<u8> {
        let body: Vec<_> = entries
            .iter()
            .flat_map(|(head, below)| [head.as_bytes(), b"\0", oid(*below).as_bytes()].concat())
            .collect();
        [format!("{} tree {}\n", oid(tree), body.len()).as_bytes(), &body, b"\n"].concat()
    }

    fn read(bytes: &[u8], block: usize) -> Depths {
        let (mut reader, mut depths) = (TreeReader::default(), Depths::default());
        bytes.chunks(block).for_each(|block| reader.push(block, &mut depths));
        depths
    }

    #[test]
    fn directories_are_found_in_whatever_blocks_they_come() {
        let text = [
            written(1, &[("100644 a\nb", 9), ("40000 d", 2), ("040000 e", 3), ("160000 sub", 8)]),
            written(2, &[("40000 d", 3), ("120000 40000 x", 7)]),
            written(4, &[]),
        ]
        .concat();
        for block in [1, 2, 7, 1_000] {
            let foreign = read(&text, block).foreign().unwrap().levels;
            assert_eq!(foreign, HashMap::from([(oid(3), 2)]), "{block}");
        }
    }

    #[test]
    fn what_is_no_tree_is_refused() {
        let missing = format!("{} missing\n", oid(1)).into_bytes();
        let blob = format!("{} blob 0\n\n", oid(1)).into_bytes();
        let (mode, long) = (written(1, &[("4000x d", 2)]), written(1, &[("777777777777 d", 2)]));
        let cut = format!("{} tree 9\n40000 d\0x\n", oid(1)).into_bytes();
        for text in [missing, blob, mode, long, cut] {
            let text = String::from_utf8_lossy(&text).into_owned();
            assert_eq!(read(text.as_bytes(), 100).foreign().unwrap_err(), Refusal::Malformed, "{text}");
        }
    }

    #[test]
    fn no_directory_lies_too_deep_nor_in_itself() {
        let chain = |length: u32| -> Vec<u8> {
            (0..length)
                .flat_map(|tree| written(tree, &[("40000 d", tree + 1), ("40000 e", tree + 1)]))
                .collect()
        };
        let last = read(&chain(DEPTH_MAX), 4_096).foreign().unwrap().levels;
        assert_eq!(last, HashMap::from([(oid(DEPTH_MAX), DEPTH_MAX)]));
        assert_eq!(read(&chain(DEPTH_MAX + 1), 4_096).foreign().unwrap_err(), Refusal::Deep);
        let ring = [written(1, &[("40000 d", 2)]), written(2, &[("40000 d", 1)])].concat();
        assert_eq!(read(&ring, 4_096).foreign().unwrap_err(), Refusal::Malformed);
    }

    /// Nine directories of ten names each are a hundred million paths and more.
    #[test]
    fn what_directories_unfold_to_is_counted_without_unfolding_them() {
        let fan = |levels: u32| -> Vec<u8> {
            let names: Vec<_> = (0..10).map(|name| format!("40000 {name}")).collect();
            let entries = |below| names.iter().map(|name| (name.as_str(), below)).collect::<Vec<_>>();
            let leaf = written(levels, &[("100644 file", 9)]);
            (0..levels).flat_map(|tree| written(tree, &entries(tree + 1))).chain(leaf).collect()
        };
        let unfolded = |depths: &Depths, foreign: &HashMap<Oid, Unfolded>| {
            depths.most(&depths.foreign().unwrap().order, foreign)
        };
        let none = HashMap::new();
        let two = unfolded(&read(&fan(2), 7), &none);
        // 10 + 100 directories and 100 files: "0/", "0/0/" and "0/0/file/"
        assert_eq!(two, Unfolded { paths: 210, bytes: 10 * 2 + 100 * 4 + 100 * 9 });
        assert!(two.is_small() && unfolded(&read(&fan(5), 7), &none).is_small());
        assert!(!unfolded(&read(&fan(8), 7), &none).is_small());
        assert!(!unfolded(&read(&fan(300), 7), &none).is_small(), "too many to be counted");
        // what is not new counts as it is
        let known = HashMap::from([(oid(2), Unfolded { paths: 100_000, bytes: 1 })]);
        assert!(!unfolded(&read(&written(1, &[("40000 a", 2); 11]), 7), &known).is_small());
    }
}
