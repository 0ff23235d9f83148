//! One installation under fire: lives of its server that end too early, and a last one in which everything must end.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use offshoot::failpoint::VARIABLE;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::caller::Caller;
use crate::evidence::{Evidence, Watched};
use crate::fake_github::TOKEN;
use crate::gather::gather;
use crate::jobs::Kind;
use crate::plan::{Dice, Need, Point, Strike, need};
use crate::stand::{Plan, Running, SECRET, Stand, WEBHOOK_SECRET, poll};
use crate::watch::{look, watch as watch_processes};

/// Jobs that may run at once.
pub(crate) const ALLOWED: usize = 3;
/// Stories that are under way while strikes are left; more would only wait.
const STORIES: usize = 8;
/// A life whose failpoint was not passed by then is ended all the same; the next try lasts longer, because the machine
/// may be busy.
const PASSED_MAX: Duration = Duration::from_secs(6);
/// How often a failpoint that was not passed is tried again.
const AGAIN_MAX: usize = 4;
/// Seconds before each further try of a callback: a receiver that never works is given up within a run.
pub(crate) const CALLBACK_WAITS: [u64; 3] = [1, 1, 2];
/// After the last start: backoff of a forge or remote that failed is 15 s, one pull request a second.
const OVER_MAX: Duration = Duration::from_secs(150);

/// What a world came to.
#[derive(Debug, Default)]
pub(crate) struct Burned {
    pub(crate) evidence: Evidence,
    /// Servers and supervisors that were ended.
    pub(crate) kills: usize,
    /// How often each failpoint struck.
    pub(crate) struck: BTreeMap<String, usize>,
    pub(crate) missed: Vec<String>,
    /// All that its servers said.
    pub(crate) log: String,
    pub(crate) dir: PathBuf,
}

/// Everything a world may not show to anybody.
pub(crate) fn secrets() -> Vec<String> {
    use base64::Engine as _;
    let as_basic = base64::prelude::BASE64_STANDARD.encode(format!("x-access-token:{TOKEN}"));
    [SECRET, WEBHOOK_SECRET, TOKEN].map(str::to_owned).into_iter().chain([as_basic]).collect()
}

pub(crate) struct World {
    pub(crate) stand: Arc<Stand>,
    pub(crate) caller: Arc<Caller>,
    target: watch::Sender<Option<String>>,
    dice: Dice,
    stories: JoinSet<()>,
    hurt: BTreeMap<i64, u32>,
    complaints: Vec<String>,
    /// What SQLite said of its file when it was not whole for the first time.
    damage: Option<String>,
    burned: Burned,
}

/// Needs a job that is old, which takes a life or two.
fn waits_for_age(strike: Strike) -> bool {
    matches!(strike, Strike::At { point, .. } if need(point.edge) == Need::OldJob)
}

/// One life of a server.
struct Life {
    server: Running,
    strike: Strike,
    need: Need,
    began: Instant,
    /// It is killed then, unless it has ended.
    until: Instant,
    acts_at: Duration,
    acted: bool,
    told_to_end: bool,
}

impl World {
    pub(crate) async fn new(dice: Dice, keep: bool) -> Self {
        let plan = Plan {
            workers: u32::try_from(ALLOWED).unwrap(),
            callbacks: format!(
                "retry_seconds = {CALLBACK_WAITS:?}\nprevious_secret = \"an-earlier-secret-0123456789\""
            ),
            env: vec![("LOG_LEVEL".to_owned(), "info".to_owned())],
            keep,
            ..Plan::default()
        };
        let stand = Arc::new(Stand::built(plan).await);
        let own = env!("CARGO_BIN_EXE_offshoot");
        let (runs, gates) = (stand.path("runs"), stand.path("gates"));
        let script = format!(
            "#!/bin/sh\ncase \"$1\" in --version|auth) exec {own} scripted-agent \"$@\";; esac\n\
             echo $OFFSHOOT_STEP >> {}\ncase \"$*\" in *--resume*) [ ! -e {}/forgotten-${{PWD##*/}} ] || {{\n\
             echo 'No conversation found with session ID: x' >&2; exit 1; }};; esac\nexec {own} scripted-agent \"$@\"\n",
            runs.display(),
            gates.display()
        );
        stand.install("claude", &script);
        // the forge refuses no second pull request: who asks without looking is found out
        stand.github.allow_twins();
        let (target, aimed) = watch::channel(None);
        let mut own_dice = dice;
        let caller = Arc::new(Caller::new(stand.clone(), aimed, Dice::new(own_dice.below(u64::MAX))));
        Self {
            stand,
            caller,
            target,
            dice: own_dice,
            stories: JoinSet::new(),
            hurt: BTreeMap::new(),
            complaints: Vec::new(),
            damage: None,
            burned: Burned::default(),
        }
    }

    /// Lives all lives and gives what there is to be said of them.
    pub(crate) async fn burn(mut self, strikes: Vec<Strike>) -> Burned {
        let watched = Arc::new(Mutex::new(Watched::default()));
        let stop = CancellationToken::new();
        let mut watching = JoinSet::new();
        let dir = self.stand.dir().to_owned();
        watching.spawn(watch_processes(dir, secrets(), watched.clone(), stop.clone()));
        self.stories.spawn(self.caller.clone().play(Kind::Old, Need::Jobs));
        let mut left: Vec<(Strike, usize)> = strikes.into_iter().rev().map(|strike| (strike, 0)).collect();
        while let Some((strike, tries)) = left.pop() {
            if waits_for_age(strike)
                && !self.caller.let_jobs_grow_old()
                && left.iter().any(|one| !waits_for_age(one.0))
            {
                left.insert(0, (strike, tries));
                continue;
            }
            if self.dice.below(4) == 0 {
                self.caller.let_a_worktree_grow_old();
            }
            let struck = self.live(strike, tries).await;
            match strike {
                Strike::At { point, .. } if !struck && tries < AGAIN_MAX => {
                    left.insert(0, (Strike::At { point, passing: 1 }, tries + 1));
                }
                Strike::At { point, .. } if !struck => self.burned.missed.push(point.name()),
                _ => {}
            }
        }
        let (server, settled) = self.settle().await;
        let unfinished = self.end_stories().await;
        stop.cancel();
        while watching.join_next().await.is_some() {}
        let mut evidence = gather(&self.stand, &self.caller, server, OVER_MAX).await;
        evidence.settled = settled;
        if let Some(damage) = self.damage {
            evidence.integrity = damage;
        }
        evidence.unfinished.extend(unfinished);
        evidence.allowed = ALLOWED;
        evidence.hurt = self.hurt;
        evidence.complaints.extend(self.complaints);
        evidence.complaints.extend(self.caller.complaints());
        evidence.watched = std::mem::take(&mut watched.lock().unwrap());
        Burned { evidence, log: self.stand.log_text(), dir: self.stand.dir().to_owned(), ..self.burned }
    }

    /// One life; true if its failpoint struck.
    async fn live(&mut self, strike: Strike, tries: usize) -> bool {
        let mut life = self.begin(strike, tries);
        let mut struck = false;
        let ended = poll(PASSED_MAX * 10, async || {
            if let Some(status) = life.server.try_ended() {
                return Some(Some(status));
            }
            if life.server.is_ready() {
                self.aim(&life.server);
            }
            if !struck && let Some(who) = self.newly_struck() {
                struck = true;
                // the supervisor of a step, and not the server
                if Evidence::marker(&who).is_some() {
                    self.hurt(&who);
                    life.until = Instant::now() + self.some_ms(700);
                }
            }
            self.act(&mut life);
            (Instant::now() >= life.until).then_some(None)
        })
        .await
        .flatten();
        self.target.send_replace(None);
        match ended {
            Some(status) => {
                struck |= self.newly_struck().is_some();
                self.judge_end(&life, status, struck);
            }
            None => life.server.kill().await,
        }
        self.burned.kills += 1;
        self.look_at_database();
        if let (Strike::At { point, .. }, true) = (strike, struck) {
            *self.burned.struck.entry(point.name()).or_default() += 1;
        }
        struck
    }

    /// After every death: a later server may cover up what this one has done.
    fn look_at_database(&mut self) {
        let file = self.stand.path("data/offshoot.db");
        // killed before it was made
        let is_there = file.metadata().is_ok_and(|meta| meta.len() > 0);
        if is_there && self.damage.is_none() {
            self.damage = Some(crate::gather::integrity(&file)).filter(|said| said != "ok");
        }
    }

    fn begin(&mut self, strike: Strike, tries: usize) -> Life {
        let (variables, need) = match strike {
            Strike::At { point, passing } => (self.order(point, passing), need(point.edge)),
            _ => (Vec::new(), Need::Jobs),
        };
        self.bring(need);
        let flags: &[&str] = if need == Need::TermWithAgents { &["--stop-agents"] } else { &[] };
        let began = Instant::now();
        let (lasts, acts_at) = match strike {
            Strike::At { .. } => (PASSED_MAX * (1 + u32::try_from(tries).unwrap()), self.some_ms(300)),
            Strike::Random { after_ms } => (Duration::from_millis(after_ms), Duration::ZERO),
            Strike::Shim { after_ms } | Strike::Agent { after_ms } | Strike::Ending { after_ms } => {
                (Duration::from_millis(after_ms + 1_500), Duration::from_millis(after_ms))
            }
        };
        let server = self.stand.spawn_with(&variables, flags);
        Life { server, strike, need, began, until: began + lasts, acts_at, acted: false, told_to_end: false }
    }

    fn order(&self, point: Point, passing: u64) -> Vec<(String, String)> {
        let file = self.strikes_file();
        let _ = std::fs::remove_file(&file);
        vec![(VARIABLE.to_owned(), format!("{}#{passing}:{}", point.name(), file.display()))]
    }

    fn strikes_file(&self) -> PathBuf {
        self.stand.path("struck")
    }

    /// Who was struck since this was asked the last time.
    fn newly_struck(&self) -> Option<String> {
        let said = std::fs::read_to_string(self.strikes_file()).ok().filter(|said| said.ends_with('\n'))?;
        let _ = std::fs::remove_file(self.strikes_file());
        said.split_whitespace().last().map(str::to_owned)
    }

    fn hurt(&mut self, marker: &str) {
        if let Some((job, _)) = Evidence::marker(marker) {
            *self.hurt.entry(job).or_default() += 1;
            self.burned.kills += 1;
        }
    }

    fn some_ms(&mut self, end: u64) -> Duration {
        Duration::from_millis(self.dice.below(end))
    }

    fn aim(&self, server: &Running) {
        if self.target.borrow().is_none() {
            self.target.send_replace(Some(server.url.clone()));
        }
    }

    /// Sees to it that there is work, and what the failpoint needs.
    fn bring(&mut self, need: Need) {
        while self.stories.try_join_next().is_some() {}
        if let Some(kind) = Kind::that_brings(need) {
            self.stories.spawn(self.caller.clone().play(kind, need));
        }
        self.stories.spawn(self.caller.clone().call(need));
        if need == Need::ClientOfAnHour || self.dice.below(14) == 0 {
            let with_clone = need == Need::ClientOfAnHour || self.dice.below(2) == 0;
            let caller = self.caller.clone();
            self.stories.spawn(async move { caller.client_under_siege(with_clone).await });
        }
        if self.dice.below(6) == 0 {
            self.stories.spawn(self.caller.clone().clear_up());
        }
        let mut more = 0;
        while self.stories.len() < STORIES && more < 3 {
            more += 1;
            let kind = Kind::any(&mut self.dice);
            self.stories.spawn(self.caller.clone().play(kind, Need::Jobs));
        }
    }

    /// What this life has to do once its time has come.
    fn act(&mut self, life: &mut Life) {
        if life.acted || life.began.elapsed() < life.acts_at {
            return;
        }
        let ready = self.target.borrow().is_some();
        match (life.strike, life.need) {
            (Strike::Shim { .. }, _) | (Strike::At { .. }, Need::LostShim) => {
                // one that has released its agent, where what it leaves has to be ended
                let any = life.need != Need::LostShim;
                life.acted = self.kill_one(|all, seen| {
                    let step = seen.supervises()?;
                    let runs = || all.iter().any(|other| other.marker.as_deref() == Some(step));
                    (any || runs()).then(|| step.to_owned())
                });
                if life.acted && life.need != Need::LostShim {
                    life.until = Instant::now() + self.some_ms(600);
                }
            }
            (Strike::Agent { .. }, _) => {
                life.acted = self.kill_one(|all, seen| {
                    let parent = all.iter().find(|other| other.pid == seen.parent)?;
                    parent.supervises().map(str::to_owned)
                });
            }
            (Strike::Ending { .. }, _) | (Strike::At { .. }, Need::Term) if ready => {
                life.told_to_end = true;
                life.acted = true;
                life.server.signal(Signal::SIGTERM);
                if matches!(life.strike, Strike::Ending { .. }) {
                    life.until = Instant::now() + self.some_ms(400);
                }
            }
            (Strike::At { .. }, Need::TermWithAgents) if ready => {
                let all = look(self.stand.dir(), &[]);
                if all.iter().any(|seen| seen.marker.is_some()) {
                    life.told_to_end = true;
                    life.acted = true;
                    life.server.signal(Signal::SIGTERM);
                }
            }
            _ => {}
        }
    }

    /// Kills one of the processes for which `step` gives the step that this hurts.
    fn kill_one(
        &mut self,
        step: impl Fn(&[crate::watch::Seen], &crate::watch::Seen) -> Option<String>,
    ) -> bool {
        let all = look(self.stand.dir(), &[]);
        let found: Vec<_> = all.iter().filter_map(|seen| Some((seen.pid, step(&all, seen)?))).collect();
        if found.is_empty() {
            return false;
        }
        let (pid, marker) = self.dice.pick(&found);
        self.hurt(&marker);
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        true
    }

    fn judge_end(&mut self, life: &Life, status: ExitStatus, struck: bool) {
        let by_order = struck && status.signal() == Some(Signal::SIGKILL as i32);
        let by_term = life.told_to_end && status.code() == Some(0);
        if !by_order && !by_term {
            self.complaints.push(format!("the server ended with {status} in {:?}", life.strike));
        }
    }

    /// The last start: nobody kills any more. How long until nothing of the times before is left.
    async fn settle(&mut self) -> (Running, Duration) {
        for _ in 0..2 * ALLOWED {
            self.stories.spawn(self.caller.clone().play(Kind::Slow, Need::Crowd));
        }
        let began = Instant::now();
        let mut server = self.stand.spawn_with(&[], &[]);
        let ready = poll(Duration::from_secs(60), async || server.is_ready().then_some(())).await;
        if ready.is_none() {
            self.complaints.push(format!("the last server never became ready: {:?}", server.try_ended()));
        }
        self.aim(&server);
        let clean = poll(Duration::from_secs(60), async || {
            crate::gather::is_settled(&self.stand, &self.caller).await.then(|| began.elapsed())
        });
        let settled = clean.await.unwrap_or_else(|| began.elapsed());
        (server, settled)
    }

    /// Every caller comes to its end.
    async fn end_stories(&mut self) -> Vec<String> {
        let all = async {
            while let Some(ended) = self.stories.join_next().await {
                ended.unwrap();
            }
        };
        match tokio::time::timeout(OVER_MAX, all).await {
            Ok(()) => Vec::new(),
            Err(_) => vec![format!("{} callers still wait", self.stories.len())],
        }
    }
}
