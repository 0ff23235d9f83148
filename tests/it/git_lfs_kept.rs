//! Large files of work that was never published: they go nowhere without a copy.

use std::fs;
use std::path::Path;

use crate::git_fixture::{Rig, run};
use crate::git_lfs::{ATTRIBUTES, left_out};
use crate::lfs_objects::{object, pointer, put_object};

/// A clone with a snapshot of a large file, which is nowhere else.
async fn kept() -> (Rig, offshoot::git::Snapshot) {
    let rig = Rig::without_clone(&[(".gitattributes", ATTRIBUTES), ("a.txt", "a\n")]).await;
    rig.repository.ensure_clone(&rig.remote).await.unwrap();
    let path = rig.worktree().await;
    fs::write(path.join("b.bin"), "only here").unwrap();
    fs::write(path.join("c.bin"), "here as well").unwrap();
    let kept = rig.snapshot().await.unwrap();
    assert_eq!(rig.content(&kept.commit, "b.bin"), pointer(b"only here").1.as_bytes());
    (rig, kept)
}

#[tokio::test]
async fn a_bundle_has_the_large_files_of_the_clone_beside_it() {
    let (rig, kept) = kept().await;
    let bundle = rig.dir.path().join("bundles/x-1.bundle");
    rig.repository.bundle(std::slice::from_ref(&kept.name), &bundle).await.unwrap();
    rig.repository.remove().await.unwrap();
    assert!(!rig.repository.path().exists());
    let beside = bundle.with_extension("large-files");
    assert_eq!(fs::read(object(&beside, b"only here")).unwrap(), b"only here");
    assert_eq!(fs::read(object(&beside, b"here as well")).unwrap(), b"here as well");
    // a clone without large files leaves nothing beside
    let plain = Rig::new().await;
    let path = plain.worktree().await;
    fs::write(path.join("x.txt"), "x").unwrap();
    let kept = plain.snapshot().await.unwrap();
    let bundle = plain.dir.path().join("bundles/x-1.bundle");
    plain.repository.bundle(std::slice::from_ref(&kept.name), &bundle).await.unwrap();
    assert_eq!(fs::read_dir(bundle.parent().unwrap()).unwrap().count(), 1);
}

/// Line by line what the page for people says to type.
#[tokio::test]
async fn work_comes_out_of_a_bundle_as_the_documentation_says() {
    if left_out("work from a bundle, with large files") {
        return;
    }
    let (rig, kept) = kept().await;
    let dir = rig.dir.path().join("bundles");
    // what an agent has made beside its work may have any name
    let names = [kept.name.clone(), "refs/heads/main".to_owned(), "refs/heads/master".to_owned()];
    for name in &names[1..] {
        run(rig.repository.path(), &["update-ref", name, rig.base.as_str()]);
    }
    rig.repository.bundle(&names, &dir.join("x-1.bundle")).await.unwrap();
    rig.repository.remove().await.unwrap();
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/backup.md")).unwrap();
    let (_, section) = page.split_once("## Work from a bundle").unwrap();
    let (_, lines) = section.split_once("```sh\n").unwrap();
    let (lines, _) = lines.split_once("```").unwrap();
    let lines = lines
        .replace("NAME", "x-1")
        .replace("is REF", "it")
        .replace("REF", &kept.name.replacen("refs/", "refs/bundle/", 1));
    let mut typed = std::process::Command::new("sh");
    typed.args(["-exc", &lines]).current_dir(&dir).env("GIT_CONFIG_GLOBAL", "/dev/null");
    let ended = typed.output().unwrap();
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    assert!(String::from_utf8_lossy(&ended.stdout).contains(&kept.name[5..]), "the refs are told");
    for (file, content) in [("b.bin", "only here"), ("c.bin", "here as well"), ("a.txt", "a\n")] {
        assert_eq!(fs::read_to_string(dir.join("work").join(file)).unwrap(), content);
    }
}

#[tokio::test]
async fn a_snapshot_is_handed_out_with_the_content_of_its_large_files() {
    let (rig, kept) = kept().await;
    let gone = object(rig.repository.path(), b"here as well");
    fs::remove_file(&gone).unwrap();
    let tar = rig.dir.path().join("kept.tar");
    rig.repository.write_tar(&kept.commit, fs::File::create(&tar).unwrap()).await.unwrap();
    let out = rig.dir.path().join("out");
    tar::Archive::new(fs::File::open(&tar).unwrap()).unpack(&out).unwrap();
    assert_eq!(fs::read(out.join("b.bin")).unwrap(), b"only here");
    assert_eq!(fs::read(out.join("a.txt")).unwrap(), b"a\n");
    assert_eq!(fs::read(out.join("c.bin")).unwrap(), pointer(b"here as well").1.as_bytes());
}

fn damage(clone: &Path) {
    fs::remove_file(clone.join("HEAD")).unwrap();
}

#[tokio::test]
async fn a_clone_made_anew_has_the_large_files_and_names_those_that_it_has_not() {
    let (rig, kept) = kept().await;
    // of the remote's own commit, whoever has its content: nothing of ours
    put_object(rig.repository.path(), b"of another branch");
    fs::write(object(rig.repository.path(), b"here as well"), "here as weLL").unwrap();
    damage(rig.repository.path());
    let aside = rig.repository.set_aside(async { true }).await.unwrap().unwrap();
    rig.repository.ensure_clone(&rig.remote).await.unwrap();
    let carried = rig.repository.carry_over(&aside).await.unwrap();
    assert_eq!(carried.lost, Some(vec!["the content of c.bin".to_owned()]));
    assert!(rig.repository.find_ref(&kept.name).await.unwrap().is_some());
    let path = rig.repository.path();
    assert_eq!(fs::read(object(path, b"only here")).unwrap(), b"only here");
    assert_eq!(fs::read(object(path, b"of another branch")).unwrap(), b"of another branch");
    assert!(!object(path, b"here as well").exists());
}
