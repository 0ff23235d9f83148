//! Packs and directories in the repository of a sandbox: what git makes of them comes back, and what is made by hand passes no bound.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Stdio;

use offshoot::git::Shadow;

use crate::git_fixture::{BRANCH, Rig, add_commit, spec};
use crate::git_shadow::{above, commits, does, inside, lent, other, point, said};

/// A client whose file `a.txt` has a length of which deltas are made.
async fn rig() -> (Rig, Shadow) {
    let rig = Rig::without_clone(&[("a.txt", &lines(0..800)), ("dir/b.txt", "b\n")]).await;
    rig.repository.ensure_clone(&rig.remote).await.unwrap();
    let shadow = lent(&rig).await;
    (rig, shadow)
}

/// Twenty bytes each.
fn lines(numbers: std::ops::Range<u32>) -> String {
    numbers.map(|number| format!("{:019}\n", number.wrapping_mul(2_654_435_761))).collect()
}

fn asked(rig: &Rig, shadow: &Shadow, args: &[&str], stdin: &[u8]) -> Vec<u8> {
    let mut command = inside(rig, shadow, args);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(stdin).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "git {args:?}");
    output.stdout
}

/// An object in the shadow; its file, which may be taken away again.
fn blob(rig: &Rig, shadow: &Shadow, content: &str) -> (String, PathBuf) {
    let id = asked(rig, shadow, &["hash-object", "-w", "--stdin"], content.as_bytes());
    let id = String::from_utf8(id).unwrap().trim_end().to_owned();
    let file = shadow.shadow.join("objects").join(&id[..2]).join(&id[2..]);
    (id, file)
}

/// The branch gets a commit on the base, whose one file this is.
fn leads_to(rig: &Rig, shadow: &Shadow, blob: &str) {
    let tree =
        asked(rig, shadow, &["mktree", "--missing"], format!("100644 blob {blob}\ta.txt\n").as_bytes());
    let tree = String::from_utf8(tree).unwrap();
    point(rig, shadow, &said(rig, shadow, tree.trim_end(), "x\n"));
}

/// A pack whose index names these at these offsets, with the sums of what is there (gitformat-pack(5)).
fn put_pack(shadow: &Shadow, pack: &[u8], mut named: Vec<(String, usize, u32)>) {
    named.sort();
    let mut index = b"\xfftOc\0\0\0\x02".to_vec();
    for first in 0..=u8::MAX {
        let up_to =
            named.iter().filter(|(id, ..)| u8::from_str_radix(&id[..2], 16).unwrap() <= first).count();
        index.extend(u32::try_from(up_to).unwrap().to_be_bytes());
    }
    named.iter().for_each(|(id, ..)| index.extend(hex::decode(id).unwrap()));
    named.iter().for_each(|(_, _, sum)| index.extend(sum.to_be_bytes()));
    named.iter().for_each(|(_, at, _)| index.extend(u32::try_from(*at).unwrap().to_be_bytes()));
    let sum = &pack[pack.len() - 20..];
    index.extend(sum);
    index.extend([0; 20]);
    let path = shadow.shadow.join("objects/pack").join(format!("pack-{}", hex::encode(sum)));
    fs::write(path.with_extension("pack"), pack).unwrap();
    fs::write(path.with_extension("idx"), index).unwrap();
}

/// As of zlib.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| (sum >> 1) ^ (0xedb8_8320 & (sum & 1).wrapping_neg()))
    })
}

/// A pack with one delta of what is not in it, a file of this length, which is repeated so often.
fn thin(base: &str, length: usize, times: usize) -> Vec<u8> {
    let seven_bits = |mut number: usize| {
        let mut bytes = Vec::new();
        while number > 0x7f {
            bytes.push(u8::try_from(number & 0x7f).unwrap() | 0x80);
            number >>= 7;
        }
        bytes.push(u8::try_from(number).unwrap());
        bytes
    };
    let copied = [&[0xb0], &u16::try_from(length).unwrap().to_le_bytes()[..]].concat();
    let delta = [seven_bits(length), seven_bits(times * length), copied.repeat(times)].concat();
    let size = u8::try_from(delta.len()).unwrap();
    let (low, high) = delta.iter().fold((1_u32, 0), |(low, high), byte| {
        let low = (low + u32::from(*byte)) % 65_521;
        (low, (high + low) % 65_521)
    });
    // of zlib, as it is stored without being packed (RFC 1950 and 1951)
    let stored = [&[0x78, 0x01, 0x01, size, 0, !size, 0xff], &delta[..], &(high << 16 | low).to_be_bytes()];
    let head = [b"PACK\0\0\0\x02\0\0\0\x01", &[0x70 | 0x80 | size & 0xf, size >> 4][..]];
    [head.concat(), hex::decode(base).unwrap(), stored.concat(), vec![7; 20]].concat()
}

/// A pack of two files of a thousand lines and fewer, the smaller a delta of the larger, and what git names in it: first the larger.
fn pair(rig: &Rig, shadow: &Shadow) -> (Vec<u8>, [(String, usize, u32); 2]) {
    let (large, large_file) = blob(rig, shadow, &lines(0..1_100));
    let (small, small_file) = blob(rig, shadow, &lines(0..900));
    let args = ["pack-objects", "-q", "--stdout", "--delta-base-offset"];
    let pack = asked(rig, shadow, &args, format!("{large} f\n{small} f\n").as_bytes());
    let at = rig.dir.path().join("pair.pack");
    fs::write(&at, &pack).unwrap();
    does(rig, shadow, &["index-pack", &at.display().to_string()]);
    let named = asked(rig, shadow, &["show-index"], &fs::read(at.with_extension("idx")).unwrap());
    let find = |id: &str| {
        let text = String::from_utf8_lossy(&named).into_owned();
        let line = text.lines().find(|line| line.contains(id)).unwrap();
        let (offset, rest) = line.split_once(' ').unwrap();
        let sum = rest.split_once('(').unwrap().1.trim_end_matches(')');
        (id.to_owned(), offset.parse().unwrap(), u32::from_str_radix(sum, 16).unwrap())
    };
    let found = [find(&large), find(&small)];
    assert!(found[0].1 < found[1].1, "the delta is behind what it is one of");
    for file in [large_file, small_file] {
        fs::remove_file(file).unwrap();
    }
    (pack, found)
}

/// Whoever reads a delta has what it is one of in memory, and its result, whatever the lists say.
#[tokio::test]
async fn nothing_in_a_pack_passes_the_measuring() {
    type Deed = fn(&Rig, &Shadow);
    let deeds: [(&str, &str, Deed); 6] = [
        ("a large delta of a file of the clone", "malformed", |rig, shadow| {
            let base = lines(0..800);
            let (large, file) = blob(rig, shadow, &base.repeat(3));
            let pack = thin(&does(rig, shadow, &["rev-parse", "HEAD:a.txt"]), base.len(), 3);
            let sum = crc32(&pack[12..pack.len() - 20]);
            put_pack(shadow, &pack, vec![(large.clone(), 12, sum)]);
            fs::remove_file(file).unwrap();
            leads_to(rig, shadow, &large);
        }),
        ("a delta of what the index does not name", "malformed", |rig, shadow| {
            let (mut pack, [_, small]) = pair(rig, shadow);
            pack[11] = 1;
            put_pack(shadow, &pack, vec![small.clone()]);
            leads_to(rig, shadow, &small.0);
        }),
        ("one name for two objects", "malformed", |rig, shadow| {
            let (pack, [large, small]) = pair(rig, shadow);
            put_pack(shadow, &pack, vec![(small.0.clone(), large.1, large.2), small.clone()]);
            leads_to(rig, shadow, &small.0);
        }),
        ("a small one that hides a large one of this name", "at most 100 MiB", |rig, shadow| {
            let (pack, [large, small]) = pair(rig, shadow);
            put_pack(shadow, &pack, vec![large.clone(), small.clone()]);
            let (_, hiding) = blob(rig, shadow, "small");
            let dir = shadow.shadow.join("objects").join(&large.0[..2]);
            fs::create_dir_all(&dir).unwrap();
            fs::rename(hiding, dir.join(&large.0[2..])).unwrap();
            leads_to(rig, shadow, &large.0);
        }),
        ("a small delta of a large file", "at most 100 MiB", |rig, shadow| {
            let (pack, [large, small]) = pair(rig, shadow);
            put_pack(shadow, &pack, vec![large, small.clone()]);
            leads_to(rig, shadow, &small.0);
        }),
        ("what a power failure has left, and no commit leads to", "", |rig, shadow| {
            commits(rig, shadow, "two");
            let (_, file) = blob(rig, shadow, "left");
            fs::remove_file(&file).unwrap();
            fs::write(file, "").unwrap();
        }),
    ];
    for (what, expected, deed) in deeds {
        let (rig, shadow) = rig().await;
        commits(&rig, &shadow, "one");
        deed(&rig, &shadow);
        let repository = other(&rig, |settings| settings.file_bytes_max = 20_000).await;
        let collected = repository.collect(&rig.worktree_path(), &rig.base, spec()).await.expect(what);
        assert_eq!(rig.content(&collected.head, "one"), b"one", "{what}: the files are there");
        let told: Vec<_> = collected.notes.iter().map(|note| note.text).collect();
        assert_eq!(told.len(), usize::from(!expected.is_empty()), "{what}: {told:?}");
        assert!(told.iter().all(|text| text.contains(expected)), "{what}: {told:?}");
        rig.fsck();
    }
}

/// Deltas within a pack, of what was lent as well; the same object in two places; packs of a fetch, which are completed.
#[tokio::test]
async fn what_git_packs_in_a_sandbox_comes_back() {
    type Way = fn(&Rig, &Shadow);
    let ways: [(&str, Way); 7] = [
        ("gc", |rig, shadow| drop(does(rig, shadow, &["gc", "-q"]))),
        ("repacked alone", |rig, shadow| drop(does(rig, shadow, &["repack", "-adlq"]))),
        ("repacked with what is lent", |rig, shadow| drop(does(rig, shadow, &["repack", "-adfq"]))),
        ("packed and loose", |rig, shadow| drop(does(rig, shadow, &["repack", "-alq"]))),
        ("many packs", |rig, shadow| {
            for name in ["three", "four"] {
                does(rig, shadow, &["repack", "-lq"]);
                commits(rig, shadow, name);
            }
        }),
        ("fetched", |rig, shadow| {
            let path = rig.remote_path();
            add_commit(&path, "more", &[("a.txt", &lines(0..801)), ("dir/b.txt", "c\n")]);
            let from = path.display().to_string();
            let args = ["-c", "fetch.unpackLimit=1", "fetch", "-q", &from, "refs/heads/more"];
            does(rig, shadow, &args);
            let packs = fs::read_dir(shadow.shadow.join("objects/pack")).unwrap().count();
            assert!(packs >= 2, "it came as a pack");
            does(
                rig,
                shadow,
                &[
                    "-c",
                    "user.name=a",
                    "-c",
                    "user.email=a@b",
                    "merge",
                    "-q",
                    "-s",
                    "ours",
                    "--allow-unrelated-histories",
                    "-m",
                    "merged",
                    "FETCH_HEAD",
                ],
            );
        }),
        ("imported", |rig, shadow| {
            let (begin, by) = (does(rig, shadow, &["rev-parse", "HEAD"]), "a <a@b> 1700000000 +0000");
            let text = lines(0..803);
            let stream = format!(
                "commit refs/heads/imported\ncommitter {by}\ndata 1\nx\nfrom {begin}\nM 100644 inline a.txt\ndata {}\n{text}\n",
                text.len()
            );
            let args = ["-c", "fastimport.unpackLimit=1", "fast-import", "--quiet"];
            asked(rig, shadow, &args, stream.as_bytes());
            does(rig, shadow, &["reset", "-q", "--hard", "imported"]);
        }),
    ];
    for (what, way) in ways {
        let (rig, shadow) = rig().await;
        for end in [810, 820] {
            fs::write(rig.worktree_path().join("a.txt"), lines(0..end)).unwrap();
            does(&rig, &shadow, &["commit", "-qam", "longer"]);
        }
        commits(&rig, &shadow, "one");
        way(&rig, &shadow);
        let head = does(&rig, &shadow, &["rev-parse", BRANCH]);
        let collected = rig.collect().await;
        assert_eq!((collected.head.to_string(), collected.committed), (head, false), "{what}");
        assert_eq!(collected.notes, [], "{what}");
        assert_eq!(rig.content(&collected.head, "one"), b"one", "{what}");
        rig.fsck();
    }
}

/// A git that takes any depth, as those before 2.43 do.
fn without_bound(rig: &Rig) -> PathBuf {
    let program = rig.dir.path().join("git");
    let script = "#!/bin/sh\nif [ \"$1\" = fetch ]; then for one; do\n[ ! -e \"$one/HEAD\" ] || git config -f \"$one/config\" core.maxTreeDepth 1000000; done; fi\nexec git -c core.maxTreeDepth=1000000 \"$@\"\n";
    crate::stand::install_program(&program, script);
    program
}

/// Whoever walks them does it with a recursion, and what lies in a commit of the clone may be laid into others.
#[tokio::test]
async fn directories_in_directories_are_bounded_whatever_git_takes() {
    let rig = Rig::new().await;
    let shadow = lent(&rig).await;
    let repository = other(&rig, |settings| settings.program = without_bound(&rig)).await;
    let worktree = rig.worktree_path();
    // there is a directory in it
    let tree = does(&rig, &shadow, &["rev-parse", "HEAD^{tree}"]);
    for (what, inner, outer, passes) in [
        ("far too many", 0, 20_000, false),
        ("one too many", 0, 2_048, false),
        ("some", 0, 1_500, true),
        ("one too many with those of the clone", 1_500, 548, false),
        ("as many as may be with those of the clone", 1_500, 547, true),
    ] {
        let inner = above(&shadow, &tree, inner);
        // what was taken over is in the clone alone
        for dir in fs::read_dir(shadow.shadow.join("objects")).unwrap().map(|entry| entry.unwrap()) {
            if dir.file_name().len() == 2 {
                fs::remove_dir_all(dir.path()).unwrap();
            }
        }
        point(&rig, &shadow, &said(&rig, &shadow, &above(&shadow, &inner, outer), what));
        let tip = does(&rig, &shadow, &["rev-parse", BRANCH]);
        repository.absorb(&worktree).await.expect(what);
        let head = repository.worktree_head(&worktree).await.unwrap().unwrap();
        assert_eq!(head.to_string() == tip, passes, "{what}");
    }
}
