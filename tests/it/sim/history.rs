//! What happens in one history: callers, operators, kills, and whoever sets the clock.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use offshoot::clock::Clock;
use offshoot::domain::branch::BranchName;
use offshoot::domain::client::{Client, ClientPatch, NewClient, RepositoryName};
use offshoot::domain::id::{JobNumber, JobRef};
use offshoot::domain::job::{JobView, Status};
use offshoot::domain::options::RunOptions;
use offshoot::domain::time::Timestamp;
use offshoot::domain::token::Reach;
use offshoot::store::{AnswerKey, KeyedAnswer, Store, StoreError};
use tokio::time::{Instant, sleep};

use super::actor::render;
use super::beliefs::Belief;
use super::dice::Dice;
use super::receiver::Mood;
use super::server::{LOGINS, QUEUED_MAX, Server};
use super::settled::finish;
use super::time::DAY_MS;
use super::world::{REPAIRED, State, World};
use crate::store_fixture::{NOW_MS, job};

const BRANCHES: [&str; 8] = ["feat", "feat/y", "Feat/y/z", "fix", "fix-2", "docs", "docs/a", "ci"];
const URLS: [&str; 4] = ["https://a.test/", "https://b.test/", "https://c.test/", "https://d.test/"];
/// Further hints than a loop is kept.
const HINTS: usize = 1_200;

pub(super) struct History {
    pub(super) world: Arc<World>,
    /// `None` while it is away.
    server: Option<Server>,
    pub(super) dir: PathBuf,
    pub(super) dice: Dice,
    clients: Vec<Client>,
    /// Keys of requests, the job that each made, and when.
    keys: Vec<(AnswerKey, i64, i64)>,
}

impl History {
    pub(super) fn begin(seed: u64, dir: PathBuf) -> Self {
        let clock = Clock::manual(NOW_MS, seed);
        let world = World::new(seed, clock);
        let server = Server::start(&world, &dir, |_| {});
        let clients = ["a", "b", "c"].map(|repo| {
            let new = NewClient {
                os_client_id: None,
                name: repo.to_owned(),
                repository: RepositoryName::parse("acme", repo).unwrap(),
                default_branch: None,
                clone_url: None,
                options: RunOptions::default(),
            };
            finish(server.store.create_client(new, None)).unwrap()
        });
        Self {
            world,
            server: Some(server),
            dir,
            dice: Dice::new(seed ^ 5),
            clients: clients.to_vec(),
            keys: Vec::new(),
        }
    }

    pub(super) fn store(&self) -> Store {
        self.server.as_ref().unwrap().store.clone()
    }

    pub(super) fn end(self) {
        self.server.unwrap().kill();
    }

    /// One thing happens, and then time passes.
    pub(super) async fn step(&mut self) {
        self.world.tick();
        match self.dice.below(100) {
            0..38 => self.submit(),
            38..46 => self.cancel(),
            46..52 => self.pause(),
            52..57 => self.try_now(),
            57..64 => self.change_mood(),
            64..67 => self.redeliver(),
            67..71 => self.repeat_request(),
            71..73 => self.lose_hints(),
            73..83 => self.set_the_clock().await,
            83..94 => self.end_the_server().await,
            _ => {}
        }
        self.wait().await;
    }

    async fn wait(&self) {
        let wait = match self.dice.below(10) {
            0..3 => Duration::ZERO,
            3..5 => Duration::from_millis(self.dice.below(2_000)),
            5..8 => Duration::from_millis(self.dice.below(70_000)),
            8 => Duration::from_secs(self.dice.below(200)),
            _ => Duration::from_secs(self.dice.below(500)),
        };
        self.pass(wait).await;
    }

    /// Lets time pass in pieces, and looks at everybody after each of them.
    pub(super) async fn pass(&self, mut wait: Duration) {
        // with no time between, this is one of many that are ready: the others come as far as one step each
        if wait.is_zero() {
            tokio::task::yield_now().await;
        }
        while !wait.is_zero() {
            let piece = wait.min(REPAIRED + Duration::from_secs(9));
            sleep(piece).await;
            wait -= piece;
            self.world.tick();
            self.world.state().look();
        }
        self.world.tick();
        if self.server.as_ref().is_some_and(|server| !server.is_whole()) {
            self.world.state().fault("a loop has ended by itself".to_owned());
        }
    }

    fn submit(&mut self) {
        let dice = &self.dice;
        let world = self.world.clone();
        let mut state = world.state();
        let numbers: Vec<i64> = state.jobs.keys().rev().take(6).copied().collect();
        let mut after: Vec<i64> = numbers.into_iter().filter(|_| dice.percent(15)).collect();
        after.sort_unstable();
        let (client, login) = (dice.below(3) as usize, usize::from(dice.percent(30)));
        let branch = if dice.percent(30) {
            dice.one_of(&BRANCHES).to_owned()
        } else {
            format!("b{}", dice.below(1_000))
        };
        let wall = state.clocks.wall_ms();
        let run_at = dice.percent(15).then(|| wall + dice.between(-60_000, 7_200_000));
        let mut new = job(&self.clients[client].id, &branch);
        new.request.priority = if dice.percent(70) { 0 } else { dice.between(-1, 1) as i8 };
        new.request.run_at = run_at.map(Timestamp::from_ms);
        new.request.callback_url = dice.percent(70).then(|| dice.one_of(&URLS).to_owned());
        new.login = LOGINS[login].to_owned();
        let name = |number: &i64| JobRef::Number(JobNumber(*number));
        let store = self.store();
        new.request.depends_on =
            after.iter().map(|number| finish(store.get_job(&name(number))).unwrap().job.id).collect();
        let (priority, has_callback) = (new.request.priority, new.request.callback_url.is_some());
        let key = dice.percent(20).then(|| key(self.keys.len()));
        let answer = key.clone().map(|key| KeyedAnswer {
            key,
            render: Box::new(|view: &JobView| (201, None, view.job.number.to_string().into_bytes())),
        });
        let clock = self.world.clock.clone();
        let answered = finish(store.submit_job(new, answer, move |view| render(&clock, view)));
        let branch = BranchName::parse(&branch).unwrap().as_str().to_lowercase();
        let belief = Belief {
            client,
            branch,
            priority,
            login,
            after,
            run_at,
            status: Status::Queued,
            attempt: 0,
            counted: 0,
            tries: 0,
            backoff: None,
            committed: false,
            cancel: false,
            has_callback,
            changed_at: Instant::now(),
            ready_since: None,
        };
        match answered {
            Ok(view) => self.accepted(&mut state, view.job.number.0, belief, key),
            Err(StoreError::QueueFull { .. }) if queued_before(&state) >= QUEUED_MAX as usize => {}
            Err(StoreError::BranchBusy(with)) => {
                let other = state.jobs[&with.number.0].clone();
                if !other.status.is_live()
                    || other.client != client
                    || !other.is_in_the_way_of(&belief.branch)
                {
                    state.fault(format!("{} is refused because of {other:?}", belief.branch));
                }
            }
            Err(error) => state.fault(format!("a job is refused: {error}")),
        }
    }

    fn accepted(&mut self, state: &mut State, number: i64, mut belief: Belief, key: Option<AnswerKey>) {
        state.tell(|| format!("job {number}: {belief:?}"));
        let status = |of: &i64| state.jobs[of].status;
        let fails = |of: &i64| !status(of).is_live() && status(of) != Status::Completed;
        if belief.after.iter().any(fails) {
            belief.status = Status::Failed;
        }
        if queued_before(state) >= QUEUED_MAX as usize {
            state.fault(format!("job {number} is one too many"));
        }
        if state.jobs.keys().next_back().is_some_and(|last| *last >= number) {
            state.fault(format!("job {number} has no new number"));
        }
        if let Some(key) = key {
            self.keys.push((key, number, state.clocks.true_ms));
        }
        state.jobs.insert(number, belief);
    }

    fn cancel(&self) {
        let mut state = self.world.state();
        let count = state.jobs.len() as u64;
        let live = |number: &i64| state.jobs[number].status.is_live();
        let candidates: Vec<i64> = state.jobs.keys().copied().filter(live).collect();
        if candidates.is_empty() || count == 0 {
            return;
        }
        let number = self.dice.one_of(&candidates);
        cancel(&self.world, &mut state, &self.store(), number);
    }

    fn pause(&self) {
        let store = self.store();
        let mut state = self.world.state();
        state.changed_at = Instant::now();
        if self.dice.percent(40) {
            state.paused = !state.paused;
            if state.paused {
                finish(store.pause_queue(Some("a reason"))).unwrap();
            } else {
                finish(store.resume_queue()).unwrap();
            }
        } else {
            let client = self.dice.below(3) as usize;
            let on = !state.paused_clients[client];
            state.paused_clients[client] = on;
            let patch = ClientPatch { paused: Some(on), ..ClientPatch::default() };
            finish(store.update_client(&self.clients[client].id, patch)).unwrap();
        }
        let (paused, clients) = (state.paused, state.paused_clients);
        state.tell(|| format!("paused {paused} {clients:?}"));
    }

    /// Somebody mends a login and says so, or only says so.
    fn try_now(&self) {
        let login = self.dice.below(2) as usize;
        let mends = self.dice.percent(70);
        let mut state = self.world.state();
        if mends {
            (state.logins[login].dead, state.logins[login].missing) = (false, false);
        }
        try_now(&mut state, &self.store(), login);
    }

    fn change_mood(&self) {
        use Mood::{Away, Broken, Busy, Gone, Good, Hangs, Slow};
        let mood = self.dice.one_of(&[Good, Good, Good, Broken, Broken, Slow, Hangs, Away, Busy, Gone]);
        let url = self.dice.one_of(&URLS).to_owned();
        let mut state = self.world.state();
        state.tell(|| format!("{url} is {mood:?}"));
        state.receiver.moods.insert(url, mood);
    }

    fn redeliver(&self) {
        let mut state = self.world.state();
        let over = state.jobs.iter().filter(|(_, job)| !job.status.is_live() && job.has_callback);
        let candidates: Vec<i64> = over.map(|(number, _)| *number).collect();
        if candidates.is_empty() {
            return;
        }
        let number = JobNumber(self.dice.one_of(&candidates));
        let store = &self.store();
        let Some(detail) = finish(store.list_deliveries(number)).unwrap().pop() else { return };
        state.tell(|| format!("{} is wanted again", detail.delivery.event_id));
        state.tries_may_repeat();
        finish(store.redeliver(number, &detail.delivery.id, &Reach::WHOLE)).unwrap();
    }

    fn repeat_request(&self) {
        if self.keys.is_empty() {
            return;
        }
        let at = self.dice.below(self.keys.len() as u64) as usize;
        self.ask_again(at);
    }

    fn ask_again(&self, at: usize) {
        let (key, number, made_ms) = &self.keys[at];
        let mut state = self.world.state();
        let found = finish(self.store().find_answer(key)).unwrap();
        let body = found.map(|found| String::from_utf8(found.body).unwrap());
        let oldest = state.clocks.true_ms + state.clocks.unseen_ms - made_ms;
        if body.is_none() && oldest < DAY_MS {
            state.fault(format!("the request for job {number} is forgotten after {oldest} ms at most"));
        }
        if body.is_some_and(|body| body != number.to_string()) {
            state.fault(format!("the request for job {number} has another answer"));
        }
    }

    /// More hints at once than are kept for a reader: the rest is lost.
    fn lose_hints(&self) {
        let mut state = self.world.state();
        state.tell(|| "hints are lost".to_owned());
        let store = self.store();
        finish(async {
            let floods = (0..HINTS).map(|_| store.try_now(Some("nobody")));
            for tried in futures_util::future::join_all(floods).await {
                tried.unwrap();
            }
        });
        drop(state);
        // one that falls among them
        self.cancel();
    }

    async fn set_the_clock(&self) {
        let kind = self.dice.below(9);
        let hours = self.dice.between(1, 12) * 3_600_000;
        self.world.state().tell(|| format!("the clock: {kind}, hours {hours}"));
        if kind == 8 {
            // the awake time itself leaps, as it does where a machine was stopped from outside
            tokio::time::advance(Duration::from_millis(hours as u64)).await;
            return self.world.tick();
        }
        let clocks = &mut self.world.state().clocks;
        match kind {
            0 => clocks.set_by(DAY_MS),
            1 => clocks.set_by(-DAY_MS),
            2 => clocks.set_by(self.dice.between(-5_000, 5_000)),
            3 => clocks.set_by(self.dice.one_of(&[-1_000, 1_000])),
            4 => clocks.slew(self.dice.one_of(&[-12, 0, 12, 500])),
            5 => clocks.set_by(self.dice.between(-400, 400) * DAY_MS),
            6 => clocks.freeze(hours),
            _ => clocks.sleep(hours),
        }
    }

    async fn end_the_server(&mut self) {
        // some steps further, so that it hits everywhere
        for _ in 0..self.dice.below(12) {
            tokio::task::yield_now().await;
        }
        self.world.tick();
        let old = self.server.take().unwrap();
        match self.dice.below(10) {
            0..2 => old.end(self.dice.percent(40)).await,
            _ => old.kill(),
        }
        self.world.tick();
        if self.dice.percent(30) {
            let noted = Duration::from_secs(40);
            let mut state = self.world.state();
            // what was set just now may not have been noted yet
            if state.clocks.set_at.is_none_or(|at| at.elapsed() > noted) && state.changed_at.elapsed() > noted
            {
                let off = self.dice.between(10_000, 2 * 3_600_000);
                let wrong = self.dice.one_of(&[0, 0, 0, DAY_MS, -DAY_MS]);
                state.tell(|| format!("the machine is off for {off} and wrong by {wrong}"));
                state.reboot(off, wrong);
            }
        } else if self.dice.percent(50) {
            sleep(Duration::from_secs(self.dice.below(300))).await;
            self.world.tick();
        }
        let world = self.world.clone();
        let early = self.dice.percent(30).then(|| self.dice.below(64));
        self.server = Some(Server::start(&self.world, &self.dir, |store| {
            let mut state = world.state();
            let live: Vec<i64> =
                state.jobs.iter().filter(|(_, job)| job.status.is_live()).map(|(n, _)| *n).collect();
            if let Some(at) = early.filter(|_| !live.is_empty()) {
                cancel(&world, &mut state, store, live[at as usize % live.len()]);
            }
        }));
    }

    /// Faults are over: everybody is mended, and time passes until all is done. Gives the number of rounds.
    pub(super) async fn calm_down(&self) {
        self.world.tick();
        let store = self.store();
        {
            let mut state = self.world.state();
            state.tell(|| "from here on everything works".to_owned());
            (state.calm, state.changed_at) = (true, Instant::now());
            state.paused = false;
            state.paused_clients = [false; 3];
            state.clocks.set_right();
            finish(store.resume_queue()).unwrap();
            for client in &self.clients {
                let patch = ClientPatch { paused: Some(false), ..ClientPatch::default() };
                finish(store.update_client(&client.id, patch)).unwrap();
            }
            for login in 0..LOGINS.len() {
                (state.logins[login].dead, state.logins[login].missing) = (false, false);
                try_now(&mut state, &store, login);
            }
        }
        // a job's time is at most a few hundred days of a clock that was set; a callback's tries span three days
        for round in 0..60 {
            self.pass(Duration::from_secs(if round % 8 == 7 { 1_300 } else { 130 })).await;
            let accounts = finish(store.accounts()).unwrap();
            if accounts.running + accounts.queued + accounts.deliveries_pending == 0 {
                return;
            }
            // an agent from before may have met a dead login only now
            for login in 0..LOGINS.len() {
                let mut state = self.world.state();
                if state.logins[login].hold.is_some_and(|held| held.until.is_none()) {
                    try_now(&mut state, &store, login);
                }
            }
            // nothing but waits is left: the machine sleeps meanwhile, and what is due starts soon after
            let due = self.world.state().last_run_at().unwrap_or(0);
            let sleeps = if round % 8 == 7 { due.max(6 * 3_600_000) } else { 0 };
            self.world.state().clocks.sleep(sleeps);
        }
        self.world.state().fault("not everything has come to its end".to_owned());
    }

    /// Every request is still known, or was made more than a day ago.
    pub(super) fn ask_for_all(&self) {
        for at in 0..self.keys.len() {
            self.ask_again(at);
        }
    }
}

fn queued_before(state: &State) -> usize {
    state.of(Status::Queued).count()
}

fn key(number: usize) -> AnswerKey {
    AnswerKey {
        token: "admin".to_owned(),
        method: "POST".to_owned(),
        path: "/jobs".to_owned(),
        key: format!("key-{number}"),
        body_hash: String::new(),
    }
}

fn try_now(state: &mut State, store: &Store, login: usize) {
    state.tell(|| format!("try {} now", LOGINS[login]));
    state.changed_at = Instant::now();
    finish(store.try_now(Some(LOGINS[login]))).unwrap();
    state.lift(login);
}

fn cancel(world: &World, state: &mut State, store: &Store, number: i64) {
    let clock = world.clock.clone();
    let name = JobRef::Number(JobNumber(number));
    let answer = finish(store.request_cancel(&name, move |view| render(&clock, view)));
    state.tell(|| format!("cancel job {number}: {answer:?}"));
    let job = state.jobs.get_mut(&number).unwrap();
    match (job.status, answer) {
        (Status::Queued, Ok(found)) if !found.was_running && !found.was_cancelled => {
            job.status = Status::Cancelled;
            state.follow(number);
        }
        // claimed, and its worker has not begun yet
        (Status::Queued | Status::Running, Ok(found)) if found.was_running => job.cancel = true,
        (status, answer) => {
            let text = format!("cancel of job {number}, {status}: {answer:?}");
            state.fault(text);
        }
    }
}
