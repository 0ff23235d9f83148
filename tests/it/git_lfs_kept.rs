//! Large files of work that was never published: they go nowhere without a copy.

use std::fs;
use std::path::Path;

use crate::git_fixture::{Rig, run};
use crate::git_lfs::ATTRIBUTES;
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
    // as the documentation says to get them
    let work = rig.dir.path().join("work");
    git2::Repository::init(&work).unwrap();
    run(&work, &["fetch", "-q", bundle.to_str().unwrap(), &format!("{}:refs/heads/kept", kept.name)]);
    assert_eq!(run(&work, &["show", "kept:b.bin"]).stdout, pointer(b"only here").1.as_bytes());
    // a clone without large files leaves nothing beside
    let plain = Rig::new().await;
    let path = plain.worktree().await;
    fs::write(path.join("x.txt"), "x").unwrap();
    let kept = plain.snapshot().await.unwrap();
    let bundle = plain.dir.path().join("bundles/x-1.bundle");
    plain.repository.bundle(std::slice::from_ref(&kept.name), &bundle).await.unwrap();
    assert_eq!(fs::read_dir(bundle.parent().unwrap()).unwrap().count(), 1);
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
