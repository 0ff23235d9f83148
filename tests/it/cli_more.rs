//! Further commands as processes: changes of clients, and what a job changed.

use serde_json::{Value, json};

use crate::cli::{command, run};
use crate::cli_fake::{Answer, Fake};

fn client(changes: &Value) -> Value {
    let mut client = json!({
        "id": "client-ab12", "osClientId": null, "name": "Widgets", "githubOrg": "acme", "githubRepo": "widgets",
        "defaultBranch": "main", "repoExists": true, "cloneUrl": null, "paused": true, "pausedReason": "repo_tampered",
        "options": {}, "createdAt": "2026-11-21T12:00:00.000Z", "updatedAt": "2026-11-21T12:00:00.000Z", "deletedAt": null,
    });
    client.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    client
}

#[tokio::test]
async fn a_client_is_unpaused_changed_fetched_and_removed_by_its_name() {
    let fake = Fake::start(|seen, _| match seen.line.split('?').next().unwrap() {
        "GET /clients" => Answer::json(200, &json!({ "clients": [client(&json!({}))] })),
        "PATCH /clients/client-ab12" => {
            let changed = json!({ "paused": false, "pausedReason": null, "warnings": ["look"] });
            Answer::json(200, &client(&changed))
        }
        "POST /sync" => Answer::json(
            200,
            &json!({ "synced": [{ "repo": "acme/widgets", "success": false, "error": "no route" }] }),
        ),
        _ if seen.line.contains("force=true") => {
            Answer::json(200, &json!({ "deleted": true, "repoRemoved": true }))
        }
        _ if seen.line.contains("removeRepo=true") => {
            Answer::problem(409, "unpublished_work", "the clone keeps unpublished work", json!({}))
        }
        _ => Answer::problem(409, "client_busy", "2 jobs of it are live", json!({})),
    })
    .await;
    let ran = run(&fake, &["client", "set", "acme/widgets", "--unpause", "--name", "W"]).await;
    assert_eq!((ran.code, ran.err.as_str()), (0, "warning: look\n"), "{ran:?}");
    assert_eq!(ran.out, "Changed Widgets (client-ab12): ready\n");
    let patch = fake.seen().pop().unwrap();
    assert_eq!(patch.body, json!({ "paused": false, "name": "W" }), "only what was said");
    assert_eq!(run(&fake, &["client", "set", "widgets"]).await.code, 2);
    assert_eq!(run(&fake, &["client", "set", "widgets", "--pause", "--unpause"]).await.code, 2);

    let ran = run(&fake, &["client", "sync", "widgets"]).await;
    assert_eq!((ran.code, ran.out.as_str()), (1, "acme/widgets  no route\n"), "{ran:?}");
    assert_eq!(fake.lines().pop().unwrap(), "POST /sync?clientId=client-ab12");
    assert!(ran.err.contains("git ls-remote git@github.com:acme/widgets.git"), "{ran:?}");
    let ran = run(&fake, &["client", "sync", "--json"]).await;
    let told: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((ran.code, &told["synced"][0]["error"]), (1, &"no route".into()), "{ran:?}");

    let ran = run(&fake, &["client", "rm", "widgets"]).await;
    assert_eq!(ran.code, 6, "{ran:?}");
    assert!(ran.err.contains("cancel its jobs with it:  offshoot client rm client-ab12 --force"), "{ran:?}");
    let ran = run(&fake, &["client", "rm", "widgets", "--remove-repo"]).await;
    assert!(
        ran.err.contains("a bundle first:  offshoot client rm client-ab12 --remove-repo --force"),
        "{ran:?}"
    );
    let ran = run(&fake, &["client", "rm", "widgets", "--force", "--remove-repo"]).await;
    assert_eq!(ran.out, "Removed Widgets (client-ab12); its clone is gone too.\n", "{ran:?}");
    assert_eq!(fake.lines().pop().unwrap(), "DELETE /clients/client-ab12?removeRepo=true&force=true");
}

#[tokio::test]
async fn what_a_job_changed_comes_as_a_patch_as_numbers_or_as_names() {
    const PATCH: &str = "diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\r\n+b\n";
    const LATIN: &[u8] =
        b"--- a/x\n+++ b/x\n@@ -1 +1 @@\n-caf\xe9\n+caf\xe8\nBinary files a/y and b/y differ\n";
    let fake = Fake::start(|seen, _| match seen.line.as_str() {
        "GET /jobs/142/diff?format=patch" => Answer::text(200, PATCH),
        "GET /jobs/144/diff?format=patch" => Answer::text(200, LATIN),
        "GET /jobs/145/diff?format=patch" => Answer::text(200, PATCH).header("x-truncated", "true"),
        "GET /jobs/142/diff?format=json" => Answer::json(
            200,
            &json!({
                "baseSha": "a", "headSha": "b", "filesChanged": 2, "insertions": 1, "deletions": 3, "truncated": false,
                "files": [
                    { "path": "src/x", "oldPath": null, "status": "modified", "insertions": 1, "deletions": 3, "binary": false },
                    { "path": "logo.png", "oldPath": null, "status": "added", "insertions": null, "deletions": null, "binary": true },
                ],
            }),
        ),
        _ => Answer::problem(404, "not_found", "no such job", json!({})),
    })
    .await;
    let ran = run(&fake, &["diff", "142"]).await;
    assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (0, PATCH, ""), "byte for byte in a pipe");
    // in an encoding of its own, which a text of ours could not hold
    let mut latin = command(&fake.url, &["diff", "144"]);
    let output = latin.output().await.unwrap();
    assert_eq!((output.status.code(), output.stdout), (Some(0), LATIN.to_vec()));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("note: 1 binary file only named"), "{said}");
    let ran = run(&fake, &["diff", "145"]).await;
    assert_eq!((ran.code, ran.out.as_str()), (1, PATCH), "{ran:?}");
    assert!(
        ran.err.contains("its end is missing") && ran.err.contains("offshoot diff 145 --stat"),
        "{ran:?}"
    );
    let ran = run(&fake, &["diff", "142", "--stat"]).await;
    let sum = " 2 files changed, 1 insertion, 3 deletions";
    assert_eq!(ran.out, format!(" src/x | +1 -3\n logo.png | binary\n{sum}\n"));
    assert_eq!(run(&fake, &["diff", "142", "--name-only"]).await.out, "src/x\nlogo.png\n");
    let json: Value = serde_json::from_str(&run(&fake, &["diff", "142", "--json"]).await.out).unwrap();
    assert_eq!(json["filesChanged"], 2);
    let ran = run(&fake, &["diff", "143"]).await;
    assert_eq!(ran.code, 5, "{ran:?}");
    assert!(ran.err.contains("offshoot ls"), "{ran:?}");
}
