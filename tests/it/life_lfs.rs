//! Large files on a whole server: agents see and change content, in the sandbox and without it, pull requests have pointers, and
//! nothing that a repository says about git-lfs leads it elsewhere.

use serde_json::json;

use crate::left_out::{Need, has_program, leave_out};
use crate::lfs_objects::{object, pointer, put_object};
use crate::stand::{Plan, Stand, install_program};

#[tokio::test]
async fn agents_see_content_and_pull_requests_have_pointers() {
    if !has_program("git-lfs") {
        leave_out(Need::GitLfs, "large files on a whole server");
        return;
    }
    let stand = Stand::new().await;
    let mark = stand.path("mark");
    let program = stand.path("evil");
    install_program(&program, &format!("#!/bin/sh\necho \"$0 $*\" >> {}\ncat\n", mark.display()));
    let foreign = stand.path("foreign.git");
    git2::Repository::init_bare(&foreign).unwrap();
    // of the repository itself, by whoever: no setting of it counts
    let settings = format!(
        "[lfs]\nurl = file://{foreign}\npushurl = file://{foreign}\nstandalonetransferagent = evil\nconcurrenttransfers = 1\n\
         [lfs \"customtransfer.evil\"]\npath = {program}\n[remote \"origin\"]\nlfsurl = file://{foreign}\n",
        foreign = foreign.display(),
        program = program.display(),
    );
    stand.foreign_commit("main", ".gitattributes", "*.bin filter=lfs diff=lfs merge=lfs -text\n");
    stand.foreign_commit("main", ".lfsconfig", &settings);
    stand.foreign_commit("main", "a.bin", &pointer(b"large content").1);
    put_object(&stand.remote(), b"large content");
    for isolation in ["auto", "none"] {
        let prompt = format!(
            "S=$(git status --porcelain); printf '%s' \"$S\" > status.txt; cat a.bin > seen.txt; \
             printf 'new in {isolation}' > b.bin; echo >> .lfsconfig"
        );
        let options = json!({"agent": "sh", "isolation": isolation});
        let id = stand.submit(json!({"prompt": prompt, "branchName": isolation, "options": options})).await;
        let job = stand.completed(&id).await;
        assert_eq!(job["warnings"], json!([]), "{job:#}");
        let said = stand.messages(&id).await;
        let told = said.iter().any(|message| message["content"].to_string().contains("fetching large files"));
        // the clone has them by the second job
        assert_eq!(told, isolation == "auto", "{said:?}");
        let show = |file: &str| stand.git(&["show", &format!("{isolation}:{file}")]);
        assert_eq!((show("seen.txt"), show("status.txt")), ("large content".to_owned(), String::new()));
        let new = format!("new in {isolation}");
        assert_eq!(show("b.bin"), pointer(new.as_bytes()).1.trim_end());
        assert_eq!(std::fs::read(object(&stand.remote(), new.as_bytes())).unwrap(), new.as_bytes());
        // what goes on with the branch sees what was pushed
        let follow = json!({"prompt": "cat b.bin > again.txt; printf more >> b.bin"});
        let next = stand.post(&format!("/jobs/{id}/follow-up"), &follow).await;
        stand.completed(next["id"].as_str().unwrap()).await;
        assert_eq!(show("again.txt"), new);
        assert_eq!(show("b.bin"), pointer(format!("{new}more").as_bytes()).1.trim_end());
    }
    assert!(!mark.exists(), "run: {}", std::fs::read_to_string(&mark).unwrap_or_default());
    assert!(!foreign.join("lfs").exists(), "objects went elsewhere");
    stand.finish().await;
}

/// A key in a large file is pushed as one in any other is.
#[tokio::test]
async fn a_key_in_a_large_file_is_found_and_a_pointer_to_nothing_is_not_published() {
    if !has_program("git-lfs") {
        leave_out(Need::GitLfs, "a key in a large file");
        return;
    }
    let stand = Stand::new().await;
    stand.foreign_commit("main", ".gitattributes", "*.bin filter=lfs -text\n");
    let key = ["AKIA", "Z7QF4NXW2KBT6LMP"].concat();
    let prompt = format!("printf 'aws_access_key_id = {key}\\n' > k.bin");
    let body = json!({"prompt": prompt, "branchName": "key", "options": {"agent": "sh"}});
    let id = stand.submit(body).await;
    stand.failed(&id, "secret_detected").await;
    assert!(!stand.remote().join("lfs").exists(), "nothing was pushed");
    let prompt = format!("cat > p.bin <<'END'\n{}END\n", pointer(b"of nobody").1);
    let body = json!({"prompt": prompt, "branchName": "lost", "options": {"agent": "sh"}});
    let id = stand.submit(body).await;
    let job = stand.failed(&id, "push_rejected").await;
    assert!(job["reason"]["message"].as_str().unwrap().contains("p.bin"), "{job:#}");
    assert_eq!(stand.tip("lost"), None);
    stand.finish().await;
}

#[tokio::test]
async fn a_program_that_does_not_work_ends_only_jobs_that_change_a_large_file_and_says_why() {
    let mut stand = Stand::built(Plan::default()).await;
    let programs = stand.path("broken");
    std::fs::create_dir(&programs).unwrap();
    install_program(&programs.join("git-lfs"), "#!/bin/sh\necho 'no library' >&2\nexit 127\n");
    stand.set_env("PATH", format!("{}:/usr/local/bin:/usr/bin:/bin", programs.display()));
    stand.start().await;
    stand.foreign_commit("main", ".gitattributes", "*.bin filter=lfs -text\n");
    stand.foreign_commit("main", "a.bin", &pointer(b"large content").1);
    let job = |branch: &str, prompt: &str| json!({"prompt": prompt, "branchName": branch, "options": {"agent": "sh"}});
    let id = stand.submit(job("seen", "cp a.bin seen.txt")).await;
    let warnings = stand.completed(&id).await["warnings"].to_string();
    assert!(warnings.contains("a.bin stay pointers") && warnings.contains("no library"), "{warnings}");
    assert_eq!(stand.git(&["show", "seen:seen.txt"]), pointer(b"large content").1.trim_end());
    let id = stand.submit(job("changed", "printf new > b.bin")).await;
    let reason = stand.failed(&id, "unsupported_filter").await["reason"]["message"].to_string();
    let expected = "b.bin is kept by git-lfs, which does not work where the server runs";
    assert!(reason.contains(expected) && reason.contains("no library"), "{reason}");
    stand.finish().await;
}
