//! Files that came with jobs: there with the job, with each retry of it, and gone with it.

use offshoot::domain::attachment::AttachedFile;
use offshoot::domain::id::JobNumber;
use offshoot::domain::job::{Chain, NewJob};

use crate::store_fixture::{Bench, done, ended_before, job};

const DAY_MS: i64 = 86_400_000;

#[tokio::test]
async fn a_retry_has_its_own_copies_and_each_is_forgotten_with_its_job() {
    let bench = Bench::new(1);
    let client = bench.client("a").await;
    let files = vec![
        AttachedFile { name: "a.bin".to_owned(), content: vec![0; 100_000] },
        AttachedFile { name: "b".to_owned(), content: vec![] },
    ];
    let mut new = NewJob { files: files.clone(), ..job(&client.id, "1") };
    new.request.attachments = files.iter().map(AttachedFile::told).collect();
    let attachments = new.request.attachments.clone();
    let first = bench.try_submit(new).await.unwrap().job;
    assert_eq!(first.request.attachments, attachments);
    bench.end(bench.claim().await.lease, done()).await;
    bench.clock.advance_ms(DAY_MS);
    let chain = Chain { root: first.id.clone(), original: Some(first.id.clone()), parent: None };
    let mut again = NewJob { chain: Some(chain), ..job(&client.id, "1") };
    again.request.attachments.clone_from(&attachments);
    bench.try_submit(again).await.unwrap();
    bench.end(bench.claim().await.lease, done()).await;
    for number in [1, 2] {
        assert_eq!(bench.store.attached_files(JobNumber(number)).await.unwrap(), files);
    }
    bench.clock.advance_ms(DAY_MS);
    let before = ended_before(bench.now());
    assert_eq!(bench.forget(vec![JobNumber(1), JobNumber(2)], before).await, 2);
    for number in [1, 2] {
        assert_eq!(bench.store.attached_files(JobNumber(number)).await.unwrap(), []);
    }
}
