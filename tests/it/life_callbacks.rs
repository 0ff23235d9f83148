//! Callbacks and receivers that do not take them.

use serde_json::json;

use crate::stand::{Answer, Stand};

#[tokio::test]
async fn a_redirect_is_a_failure_that_is_tried_again_and_never_followed() {
    let stand = Stand::new().await;
    let elsewhere = stand.receiver.url().replace("callback", "elsewhere");
    stand.receiver.order([Answer::Redirect(elsewhere)]);
    let id = stand.submit_prompt("r", "Greet").await;
    stand.completed(&id).await;
    stand.callback(&id).await;
    // the receiver has it before the record of the try is stored
    stand.wait_for(&id, "delivered", |job| job["callback"]["state"] == "delivered").await;
    let all = stand.callbacks(&id);
    assert_eq!(all.iter().map(|one| one.status).collect::<Vec<_>>(), [307, 204]);
    assert_eq!((&all[0].id, &all[0].bytes), (&all[1].id, &all[1].bytes));
    let deliveries = stand.get(&format!("/jobs/{id}/deliveries")).await;
    assert_eq!(deliveries["deliveries"][0]["tries"], 2, "{deliveries:#}");
    stand.finish().await;
}

#[tokio::test]
async fn a_receiver_that_is_gone_is_left_alone_until_somebody_redelivers() {
    let stand = Stand::new().await;
    stand.receiver.order([Answer::Status(410)]);
    let id = stand.submit_prompt("g", "[[scenario:no-change]]").await;
    stand.completed(&id).await;
    let job = stand.wait_for(&id, "suspended", |job| job["callback"]["state"] == "suspended").await;
    assert_eq!(job["callback"]["lastStatus"], 410);
    // another job's callback to the same address is not sent either
    let other = stand.submit_prompt("o", "[[scenario:no-change]]").await;
    stand.completed(&other).await;
    stand.wait_for(&other, "suspended", |job| job["callback"]["state"] == "suspended").await;
    assert!(stand.callbacks(&other).is_empty());
    for id in [&id, &other] {
        let deliveries = stand.get(&format!("/jobs/{id}/deliveries")).await;
        let delivery = deliveries["deliveries"][0]["id"].as_str().unwrap().to_owned();
        stand.post(&format!("/jobs/{id}/deliveries/{delivery}/redeliver"), &json!({})).await;
        stand.callback(id).await;
        stand.wait_for(id, "delivered", |job| job["callback"]["state"] == "delivered").await;
    }
    stand.finish().await;
}
