//! Whoever sends jobs: repeats each call until it is answered, and writes down every 201.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::http::Method;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use crate::clients::Until;
use crate::evidence::{Accepted, Removed};
use crate::fake_github::{Effect, Fault};
use crate::jobs::{self, Hook, Kind, Places};
use crate::plan::{Dice, Need};
use crate::stand::{Answer, SECRET, Stand};

/// Between two tries, unless a new server comes.
const AGAIN: Duration = Duration::from_millis(60);
/// One try: a cancel may take 20 s by contract.
const TRY_MAX: Duration = Duration::from_secs(30);
/// A call that was not answered by then, through all restarts, never will be.
pub(crate) const ANSWERED_MAX: Duration = Duration::from_secs(180);

/// The repositories that every world has.
const REPOS: [&str; 2] = ["acme/widgets", "acme/gadgets"];

pub(crate) struct Caller {
    pub(crate) stand: Arc<Stand>,
    /// Where the server listens, while there is one.
    pub(crate) target: watch::Receiver<Option<String>>,
    http: reqwest::Client,
    dice: Mutex<Dice>,
    pub(crate) sent: AtomicU64,
    accepted: Mutex<Vec<Accepted>>,
    removed: Mutex<Vec<Removed>>,
    complaints: Mutex<Vec<String>>,
}

/// A job as it will be sent.
pub(crate) struct Draft {
    pub(crate) body: Value,
    pub(crate) hook: Hook,
    pub(crate) key: String,
}

/// An answer that is final.
pub(crate) struct Answered {
    pub(crate) status: u16,
    pub(crate) body: Value,
}

impl Caller {
    pub(crate) fn new(stand: Arc<Stand>, target: watch::Receiver<Option<String>>, dice: Dice) -> Self {
        stand.make_remote(REPOS[1]);
        REPOS.iter().for_each(|repo| put_owners_file(&stand, repo));
        let caller = Self {
            stand,
            target,
            http: reqwest::Client::builder().no_proxy().build().unwrap(),
            dice: Mutex::new(dice),
            sent: AtomicU64::new(0),
            accepted: Mutex::default(),
            removed: Mutex::default(),
            complaints: Mutex::default(),
        };
        REPOS.iter().for_each(|repo| caller.hook_remote(repo));
        caller
    }

    pub(crate) fn accepted(&self) -> Vec<Accepted> {
        self.accepted.lock().unwrap().clone()
    }

    /// Writes something more down about a job.
    pub(crate) fn note(&self, id: &str, mark: impl Fn(&mut Accepted)) {
        self.accepted.lock().unwrap().iter_mut().filter(|one| one.id == id).for_each(mark);
    }

    pub(crate) fn write_down_removal(&self, removed: Removed) {
        self.removed.lock().unwrap().push(removed);
    }

    pub(crate) fn removals(&self) -> Vec<Removed> {
        self.removed.lock().unwrap().clone()
    }

    pub(crate) fn complaints(&self) -> Vec<String> {
        self.complaints.lock().unwrap().clone()
    }

    pub(crate) fn complain(&self, what: String) {
        self.complaints.lock().unwrap().push(what);
    }

    pub(crate) fn roll<T>(&self, with: impl FnOnce(&mut Dice) -> T) -> T {
        with(&mut self.dice.lock().unwrap())
    }

    pub(crate) fn places(&self) -> Places<'_> {
        Places { dir: self.stand.dir() }
    }

    /// Sends until there is an answer, to whichever server there is.
    pub(crate) async fn ask(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
        key: Option<&str>,
    ) -> Answered {
        self.ask_with(SECRET, method, path, body, key).await
    }

    /// The same, with another token.
    pub(crate) async fn ask_with(
        &self,
        token: &str,
        method: &str,
        path: &str,
        body: Option<&Value>,
        key: Option<&str>,
    ) -> Answered {
        let mut target = self.target.clone();
        let until = Instant::now() + ANSWERED_MAX;
        while Instant::now() < until {
            let url = target.borrow_and_update().clone();
            if let Some(url) = url
                && let Some(answered) = self.try_once(token, method, &format!("{url}{path}"), body, key).await
            {
                return answered;
            }
            let _ = timeout(AGAIN, target.changed()).await;
        }
        self.complain(format!("{method} {path} was never answered"));
        Answered { status: 0, body: Value::Null }
    }

    async fn try_once(
        &self,
        token: &str,
        method: &str,
        url: &str,
        body: Option<&Value>,
        key: Option<&str>,
    ) -> Option<Answered> {
        let mut request = self.http.request(method.parse().unwrap(), url).bearer_auth(token).timeout(TRY_MAX);
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await.ok()?;
        let status = response.status().as_u16();
        let body: Value = serde_json::from_slice(&response.bytes().await.ok()?).ok()?;
        let is_to_repeat = status == 503 || body["code"] == "idempotency_in_flight";
        (!is_to_repeat).then_some(Answered { status, body })
    }

    /// A POST that has to be answered with `expected`.
    pub(crate) async fn post(&self, path: &str, body: Value, key: &str, expected: u16) -> Option<Value> {
        let answered = self.ask("POST", path, Some(&body), Some(key)).await;
        if answered.status == expected {
            return Some(answered.body);
        }
        self.complain(format!("POST {path} ({key}): {} {}", answered.status, answered.body));
        None
    }

    pub(crate) async fn job(&self, id: &str) -> Value {
        self.ask("GET", &format!("/jobs/{id}"), None, None).await.body
    }

    pub(crate) async fn wait_until_over(&self, id: &str) -> Value {
        let until = Instant::now() + ANSWERED_MAX;
        loop {
            let job = self.job(id).await;
            let is_live = matches!(job["status"].as_str(), Some("queued" | "running") | None);
            if !is_live || Instant::now() >= until {
                return job;
            }
            self.pause(250).await;
        }
    }

    /// Waits for nothing that ever comes.
    pub(crate) async fn pause(&self, ms: u64) {
        let never = std::future::pending::<()>();
        let _ = timeout(Duration::from_millis(ms), never).await;
    }

    pub(crate) fn new_repository(&self) -> String {
        let name = format!("acme/new-{}", self.sent.fetch_add(1, Ordering::Relaxed));
        self.stand.make_remote(&name);
        self.hook_remote(&name);
        name
    }

    fn hook_remote(&self, repo: &str) {
        self.stand.hook_of(repo, "pre-receive", &jobs::pre_receive(&self.places()));
        self.stand.hook_of(repo, "post-receive", jobs::POST_RECEIVE);
    }

    /// Sends a job of the kind and writes it down.
    pub(crate) async fn send(&self, kind: Kind, repo: &str, urgent: bool) -> Option<Accepted> {
        let draft = self.draft(kind, repo, urgent);
        let answer = self.post("/jobs", draft.body, &draft.key, 201).await?;
        Some(self.write_down(&answer, kind, repo, draft.hook, false))
    }

    /// A job that is not sent yet.
    pub(crate) fn draft(&self, kind: Kind, repo: &str, urgent: bool) -> Draft {
        let number = self.sent.fetch_add(1, Ordering::Relaxed);
        let (hook, wait_ms) = self.roll(|dice| (any_hook(dice), dice.below(400)));
        let hook = if kind == Kind::Old { Hook::Fine } else { hook };
        let fault = self.roll(|dice| any_failure(dice, hook));
        let mut body = self.places().body(kind, number, wait_ms, &self.stand.remote_of(repo));
        let (org, name) = repo.split_once('/').unwrap();
        body["priority"] = if urgent { 10.into() } else { 0.into() };
        body["githubOrg"] = org.into();
        body["githubRepo"] = name.into();
        body["osCallbackUrl"] = self.address(hook, number, fault).into();
        if kind == Kind::After {
            // one that is forgotten by now would be refused
            let earlier = self.accepted().into_iter().filter(|job| job.kind != Kind::Old);
            let earlier: Vec<_> = earlier.map(|job| job.id).collect();
            if !earlier.is_empty() {
                body["dependsOn"] = json!([self.roll(|dice| dice.pick(&earlier))]);
            }
        }
        if kind == Kind::Later {
            let at_ms = offshoot::clock::Clock::system().now_ms() + 1_000;
            body["runAt"] = jiff::Timestamp::from_millisecond(at_ms).unwrap().to_string().into();
        }
        if kind == Kind::LostAnswer {
            let branch = body["branchName"].as_str().unwrap_or_default();
            let lost = self.roll(|dice| dice.pick(&[Effect::LostResponse, Effect::Dropped, Effect::Garbled]));
            self.stand
                .github
                .fault(Fault::new(lost).on(Method::POST, "/pulls").about(&format!("\"{branch}\"")));
        }
        if kind == Kind::TakenBranch {
            self.stand.foreign_branch(repo, &jobs::branch(kind, number));
        }
        Draft { body, hook, key: format!("job-{number}") }
    }

    /// Where a receiver answers so; `fault` is how it fails, if it does.
    fn address(&self, hook: Hook, number: u64, fault: Answer) -> String {
        let receiver = &self.stand.receiver;
        // more answers than there can be tries
        let always = |answer: Answer| std::iter::repeat_n(answer, 64);
        match hook {
            Hook::Fine => receiver.url(),
            Hook::FailsOnce => receiver.url_with(&format!("once-{number}"), [fault]),
            Hook::Gone => receiver.url_with(&format!("gone-{number}"), always(Answer::Status(410))),
            Hook::Broken => receiver.url_with(&format!("broken-{number}"), always(fault)),
        }
    }

    pub(crate) fn write_down(
        &self,
        answer: &Value,
        kind: Kind,
        repo: &str,
        hook: Hook,
        publishes: bool,
    ) -> Accepted {
        let text = |field: &str| answer[field].as_str().unwrap_or_default().to_owned();
        let job = Accepted {
            id: text("id"),
            number: answer["number"].as_i64().unwrap_or_default(),
            root: text("rootJobId"),
            repo: repo.to_owned(),
            kind,
            publishes,
            hook,
            keeps: answer["options"]["keepWorktree"] == true,
            cancelled: false,
            over: None,
            age: None,
        };
        self.accepted.lock().unwrap().push(job.clone());
        job
    }

    /// A job from its submission to the last thing that its caller does about it.
    pub(crate) async fn play(self: Arc<Self>, kind: Kind, need: Need) {
        let repo = match (kind, need) {
            // a client that is paused is in nobody's way
            (Kind::Tampers | Kind::Forsaken, _) | (_, Need::NewRepository) => self.new_repository(),
            _ => self.roll(|dice| dice.pick(&REPOS)).to_owned(),
        };
        let Some(job) = self.send(kind, &repo, need != Need::Jobs).await else { return };
        match kind {
            Kind::Hang => {
                self.wait_until_it_runs(&job).await;
                self.cancel(&job).await;
            }
            Kind::CancelledSometime => {
                let after = self.roll(|dice| dice.below(1_200));
                self.pause(after).await;
                self.cancel(&job).await;
            }
            Kind::RejectedOnce | Kind::Keeps | Kind::DryRun | Kind::Moved | Kind::Torn => {
                self.publish(&job).await;
            }
            Kind::CutOff | Kind::Forgotten => self.go_on(&job).await,
            Kind::Told => self.tell(&job).await,
            Kind::Attached => self.visit(&job).await,
            Kind::Tampers => self.lift_tampering(&job).await,
            Kind::Renewed => self.renew(&job).await,
            Kind::Forsaken => self.retry_in_vain(&job).await,
            Kind::Old => self.wait_until_it_may_grow_old(&job).await,
            _ => {}
        }
        if job.keeps {
            self.leave_chain_alone(&job.root).await;
        }
    }

    pub(crate) async fn wait_until_it_runs(&self, job: &Accepted) {
        let until = Instant::now() + ANSWERED_MAX;
        let marked = format!("-{}-", job.number);
        while Instant::now() < until {
            let runs = std::fs::read_to_string(self.stand.path("runs")).unwrap_or_default();
            if runs.lines().any(|line| line.contains(&marked)) {
                break;
            }
            self.pause(100).await;
        }
        let more = self.roll(|dice| dice.below(1_000));
        self.pause(more).await;
    }

    pub(crate) async fn cancel(&self, job: &Accepted) {
        self.note(&job.id, |job| job.cancelled = true);
        let answered = self.ask("POST", &format!("/jobs/{}/cancel", job.id), Some(&json!({})), None).await;
        let (status, told) = (answered.status, answered.body["status"].as_str().unwrap_or_default());
        if !(status == 400 || (status == 200 && told == "cancelled")) {
            self.complain(format!("cancelling {}: {status} {}", job.id, answered.body));
        }
    }

    /// Nothing is done to it any more.
    async fn wait_until_it_may_grow_old(&self, job: &Accepted) {
        let until = Instant::now() + ANSWERED_MAX;
        while Instant::now() < until {
            let told = self.job(&job.id).await;
            if told["callback"]["state"] == "delivered" {
                return self.note(&job.id, |job| job.over = Some(told.clone()));
            }
            self.pause(100).await;
        }
    }

    /// What is needed besides jobs.
    pub(crate) async fn call(self: Arc<Self>, need: Need) {
        match need {
            Need::ClientOfAnHour => {
                let until = self.roll(|dice| dice.pick(&Until::ALL));
                self.client_of_an_hour(until).await;
            }
            Need::UnpublishedWork => self.client_of_an_hour(Until::Unpublished).await,
            Need::KnownClient => self.known_client().await,
            Need::ProfileOfAnHour => self.profile_of_an_hour().await,
            Need::TokenOfAnHour => self.token_of_an_hour().await,
            Need::Switches => {
                for verb in ["pause", "try-now", "resume"] {
                    self.post_plain(&format!("/queue/{verb}")).await;
                }
            }
            Need::Redelivery => self.redeliver().await,
            Need::EndedConversation => self.forget_conversation().await,
            Need::Resume => {
                let body = json!({"url": self.stand.receiver.url_with("nobody", [])});
                let answered = self.ask("POST", "/webhooks/resume", Some(&body), None).await;
                // nothing is suspended there; that it is looked for is enough
                if !matches!(answered.status, 200 | 404) {
                    self.complain(format!("POST /webhooks/resume: {} {}", answered.status, answered.body));
                }
            }
            Need::Damage => self.damaged_clone().await,
            Need::IdleClone => self.idle_clone().await,
            Need::Backup => {
                let key = format!("backup-{}", self.sent.fetch_add(1, Ordering::Relaxed));
                self.post("/backups", json!({}), &key, 201).await;
            }
            _ => {}
        }
    }

    /// Clears up at some moment.
    pub(crate) async fn clear_up(self: Arc<Self>) {
        let after = self.roll(|dice| dice.below(1_500));
        self.pause(after).await;
        self.post_plain("/gc").await;
    }

    pub(crate) async fn post_plain(&self, path: &str) -> Value {
        let answered = self.ask("POST", path, Some(&json!({})), None).await;
        if answered.status != 200 {
            self.complain(format!("POST {path}: {} {}", answered.status, answered.body));
        }
        answered.body
    }

    /// Of a job that nothing goes on with.
    async fn forget_conversation(&self) {
        let until = Instant::now() + ANSWERED_MAX;
        while Instant::now() < until {
            for job in self.accepted().iter().filter(|job| job.kind == Kind::UsageLimit) {
                let told = self.job(&job.id).await;
                let Some(session) = told["sessionId"].as_str().filter(|_| told["completedAt"].is_string())
                else {
                    continue;
                };
                let path = format!("/sessions/{session}");
                let answered = self.ask("DELETE", &path, None, None).await;
                // gone: the answer to the first request was lost
                if !matches!(answered.status, 200 | 404) {
                    self.complain(format!("DELETE {path}: {} {}", answered.status, answered.body));
                }
                let named = self.job(&job.id).await;
                if !named["sessionId"].is_null() {
                    self.complain(format!("{} names a conversation that was deleted: {named}", job.id));
                }
                return;
            }
            self.pause(100).await;
        }
    }

    async fn redeliver(&self) {
        let until = Instant::now() + ANSWERED_MAX;
        while Instant::now() < until {
            let may = |job: &&Accepted| job.hook == Hook::Fine && job.kind != Kind::Old;
            for job in self.accepted().iter().filter(may) {
                if self.job(&job.id).await["callback"]["state"] == "delivered" {
                    return self.redeliver_of(&job.id).await;
                }
            }
            self.pause(100).await;
        }
    }

    async fn redeliver_of(&self, id: &str) {
        let listed = self.ask("GET", &format!("/jobs/{id}/deliveries"), None, None).await.body;
        let Some(delivery) = listed["deliveries"][0]["id"].as_str() else {
            return self.complain(format!("{id} was called back and lists no delivery: {listed}"));
        };
        let answered = self
            .ask("POST", &format!("/jobs/{id}/deliveries/{delivery}/redeliver"), Some(&json!({})), None)
            .await;
        if !(200..300).contains(&answered.status) {
            self.complain(format!("redelivering {delivery}: {} {}", answered.status, answered.body));
        }
    }
}

fn any_hook(dice: &mut Dice) -> Hook {
    match dice.below(20) {
        0..=3 => Hook::FailsOnce,
        4 => Hook::Gone,
        5 | 6 => Hook::Broken,
        _ => Hook::Fine,
    }
}

fn any_failure(dice: &mut Dice, hook: Hook) -> Answer {
    let failures = [
        Answer::Status(500),
        Answer::Status(429),
        Answer::Redirect("http://127.0.0.1:1/".to_owned()),
        Answer::Reset,
        // accepted in the end
        Answer::Late(Duration::from_millis(700)),
    ];
    let never = failures.len() - 1;
    dice.pick(if hook == Hook::Broken { &failures[..never] } else { &failures[..] })
}

/// What `copyFiles` copies.
fn put_owners_file(stand: &Stand, repo: &str) {
    let dir = stand.path("data/files").join(repo);
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join(".env"), "KEY=of-the-owner\n").unwrap();
}
