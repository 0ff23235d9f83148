//! Files that come with a job, on a whole server: its agent reads them, and nothing else gets them.

use std::os::unix::fs::symlink;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use crate::stand::{Plan, Stand};

fn file(name: &str, content: &[u8]) -> Value {
    json!({"name": name, "contentBase64": BASE64_STANDARD.encode(content)})
}

async fn submit(stand: &Stand, branch: &str, prompt: &str, attachments: Value) -> String {
    let options = json!({"agent": "sh", "publish": "branch"});
    let body =
        json!({"prompt": prompt, "branchName": branch, "attachments": attachments, "options": options});
    stand.submit(body).await
}

/// More than a body may have that brings no attachments.
fn large() -> Vec<u8> {
    (0..3 * 1024 * 1024_u32).map(|index| index.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect()
}

#[tokio::test]
async fn the_agent_reads_them_outside_of_its_worktree_and_they_are_not_published() {
    let mut stand = Stand::built(Plan::default()).await;
    stand.start().await;
    stand.post("/queue/pause", &json!({})).await;
    let prompt = "cp \"$OFFSHOOT_ATTACHMENTS/plan b.txt\" copy.txt; cksum < \"$OFFSHOOT_ATTACHMENTS/big.bin\" > sum.txt; \
                  ls \"$OFFSHOOT_ATTACHMENTS\" > list.txt; stat -c %a \"$OFFSHOOT_ATTACHMENTS\"/* > modes.txt";
    let id =
        submit(&stand, "a", prompt, json!([file("plan b.txt", b"Plan\n"), file("big.bin", &large())])).await;
    // an answered 201 holds for the files too
    stand.kill9().await;
    stand.start().await;
    assert_eq!(
        stand.job(&id).await["attachments"],
        json!([{"name": "plan b.txt", "bytes": 5}, {"name": "big.bin", "bytes": large().len()}])
    );
    stand.post("/queue/resume", &json!({})).await;
    let job = stand.completed(&id).await;
    assert_eq!(job["filesChanged"], 4, "{job:#}");
    assert_eq!(stand.git(&["show", "a:copy.txt"]), "Plan");
    assert_eq!(stand.git(&["show", "a:list.txt"]), "big.bin\nplan b.txt");
    assert_eq!(stand.git(&["show", "a:modes.txt"]), "600\n600");
    let here = stand.path("here.bin");
    std::fs::write(&here, large()).unwrap();
    let sum =
        std::process::Command::new("cksum").stdin(std::fs::File::open(&here).unwrap()).output().unwrap();
    assert_eq!(stand.git(&["show", "a:sum.txt"]), String::from_utf8(sum.stdout).unwrap().trim());
    stand.finish().await;
}

#[tokio::test]
async fn a_retry_has_them_as_they_came_whatever_the_agent_made_of_them() {
    let stand = Stand::new().await;
    let mine = stand.path("mine");
    std::fs::write(&mine, "mine").unwrap();
    let prompt = format!(
        "cat \"$OFFSHOOT_ATTACHMENTS/plan.txt\" >> read.txt; cd \"$OFFSHOOT_ATTACHMENTS\"; \
         rm plan.txt; ln -s {} plan.txt; test -e {}",
        mine.display(),
        stand.gate("go").display()
    );
    let id = submit(&stand, "a", &prompt, json!([file("plan.txt", b"Plan")])).await;
    stand.wait_for_status(&id, "failed").await;
    let follow_up = json!({"prompt": "test -z \"$OFFSHOOT_ATTACHMENTS\" && echo none > none.txt"});
    stand.open_gate("go");
    let again = stand.retry(&id, json!({"mode": "fresh"})).await;
    let job = stand.completed(&again).await;
    assert_eq!(job["attachments"], json!([{"name": "plan.txt", "bytes": 4}]), "{job:#}");
    assert_eq!(stand.git(&["show", "a:read.txt"]), "Plan");
    assert_eq!(std::fs::read_to_string(&mine).unwrap(), "mine");
    // what follows brings files of its own, or none
    let (status, next) = stand.call("POST", &format!("/jobs/{again}/follow-up"), Some(&follow_up)).await;
    assert_eq!((status, &next["attachments"]), (201, &json!([])));
    stand.completed(next["id"].as_str().unwrap()).await;
    assert_eq!(stand.git(&["show", "a:none.txt"]), "none");
    stand.finish().await;
}

/// The directory of the files is the agent's to write into: even that may have become a link.
#[tokio::test]
async fn a_link_in_the_place_of_the_directory_is_not_followed() {
    let stand = Stand::new().await;
    let mine = stand.path("mine");
    std::fs::create_dir(&mine).unwrap();
    symlink("nowhere", mine.join("kept")).unwrap();
    let prompt = format!(
        "d=\"$OFFSHOOT_ATTACHMENTS\"; cat \"$d/plan.txt\" >> read.txt; test -e {1} || \
         {{ rm -r \"$d\"; ln -s {0} \"$d\"; kill -9 $$; }}",
        mine.display(),
        stand.gate("go").display()
    );
    let id = submit(&stand, "a", &prompt, json!([file("plan.txt", b"Plan")])).await;
    stand.wait_for(&id, "a second attempt", |job| job["attempt"].as_i64() >= Some(2)).await;
    stand.open_gate("go");
    let over = stand.wait_for(&id, "its end", |job| job["completedAt"].is_string()).await;
    let names: Vec<_> = std::fs::read_dir(&mine).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["kept"], "{over:#}");
    stand.finish().await;
}

#[tokio::test]
async fn a_file_in_the_place_of_the_directory_ends_no_job() {
    let stand = Stand::new().await;
    let prompt = format!(
        "d=\"$OFFSHOOT_ATTACHMENTS\"; cat \"$d/plan.txt\" >> read.txt; test -e {} || \
         {{ rm -r \"$d\"; echo mine > \"$d\"; kill -9 $$; }}",
        stand.gate("go").display()
    );
    let id = submit(&stand, "a", &prompt, json!([file("plan.txt", b"Plan")])).await;
    stand.wait_for(&id, "a second attempt", |job| job["attempt"].as_i64() >= Some(2)).await;
    stand.open_gate("go");
    stand.completed(&id).await;
    assert_eq!(stand.git(&["show", "a:read.txt"]), "Plan");
    stand.finish().await;
}
