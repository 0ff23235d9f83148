//! Jobs from POST to their end, each way a job can go, on the real server.

use serde_json::json;

use crate::stand::Stand;

#[tokio::test]
async fn a_prompt_becomes_a_pull_request_and_a_callback() {
    let stand = Stand::new().await;
    let id = stand
        .submit(json!({"prompt": "Greet", "branchName": "greet/it", "title": "Greet people",
            "body": "As asked.", "osFeatureId": "F-7", "metadata": {"a": 1}, "labels": ["x"]}))
        .await;
    let job = stand.completed(&id).await;
    assert_eq!(job["outcome"], "pull_request", "{job:#}");
    stand.callback(&id).await;
    stand.finish().await;
}
