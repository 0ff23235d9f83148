//! A running server.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;
use secrecy::SecretString;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::StartError;
use super::lock::InstanceLock;
use super::parts::{self, Override};
use super::signals::StopSignals;
use super::watchdog::{self, Watchdog};
use crate::app::{self, App};
use crate::background::{AgentProgram, Backups, Deliverer, Dispatcher, Janitor, Prober, Vigil};
use crate::clock::Clock;
use crate::config::{Config, Environment};
use crate::failpoint::{self, Edge};
use crate::forge::GitHubAuth;
use crate::git::{Git, GitSettings, RepositoryLocks};
use crate::http::{self, AppState};
use crate::isolation::Sandbox;
use crate::metrics;
use crate::process::{Launcher, ShimProgram, machine_start};
use crate::store::{Store, StoreError};
use crate::upkeep::Upkeep;
use crate::webhook::SigningSecrets;
use crate::worker::{
    Remotes, Worker, empty_trash, finish_clone_removals, remove_unowned_clones, stop_strangers,
    sweep_worktrees,
};

/// The rest of the server is given this long after the drain; only answers under way are left then.
const END_MAX: Duration = Duration::from_secs(5);

/// Started and ready. Dropped, it ends as if killed.
pub struct Server {
    address: SocketAddr,
    app: App,
    store: Store,
    drain: Duration,
    loops: JoinSet<&'static str>,
    stages: Stages,
    signals: StopSignals,
    _lock: InstanceLock,
}

/// The stages of an orderly end.
#[derive(Clone, Default)]
struct Stages {
    /// No new jobs; workers leave at the next good point.
    drain: CancellationToken,
    /// Workers take their agents along.
    stop_agents: CancellationToken,
    /// Answers and callbacks end too.
    stop: CancellationToken,
}

/// What everything else stands on: nothing of it acts by itself.
struct Ground {
    sandbox: Arc<Sandbox>,
    lock: InstanceLock,
    store: Store,
    git: Git,
    locks: RepositoryLocks,
    remotes: Remotes,
    worker: Worker,
    programs: Vec<AgentProgram>,
    listener: TcpListener,
    address: SocketAddr,
    opens_pull_requests: bool,
}

impl Ground {
    async fn lay(
        config: &Config,
        env: &Environment,
        brought: Override,
        clock: &Clock,
    ) -> Result<Self, StartError> {
        let (data_dir, limits) = (&config.paths.data_dir, parts::store_limits(config));
        for (dir, mode) in config.paths.ensure()? {
            tracing::warn!(
                dir = %dir.display(),
                mode = format!("{mode:04o}"),
                "others could look into a directory of this server: it has mode 0700 now"
            );
        }
        let lock = failpoint::at(Edge::TakeLock, || InstanceLock::take(data_dir))?;
        let store = match Store::open_through(brought.vfs.as_deref(), data_dir, clock.clone(), limits) {
            Err(error @ StoreError::Corrupt(_)) => {
                Store::open_damaged(data_dir, clock.clone(), limits, &error)
            }
            opened => {
                opened?.with_places(parts::places(config)).with_subscriptions(parts::subscriptions(config))
            }
        };
        let laid = Self::lay_on(lock, store.clone(), config, env, brought, clock).await;
        if laid.is_err()
            && store.damage().is_none()
            && let Err(error) = store.note_unused().await
        {
            tracing::warn!(%error, "the next start checks the whole database");
        }
        laid
    }

    async fn lay_on(
        lock: InstanceLock,
        store: Store,
        config: &Config,
        env: &Environment,
        brought: Override,
        clock: &Clock,
    ) -> Result<Self, StartError> {
        let data_dir = &config.paths.data_dir;
        let scratch_dir = config.paths.data_dir.join("scratch");
        let mut git_settings = GitSettings::new(env.for_git(), scratch_dir);
        git_settings.large_bytes_max = config.limits.worktree_bytes_max;
        // a copy of the database has the same name, but another place
        git_settings.maker = format!("{} {}", store.instance(), data_dir.display());
        let git = Git::probe(git_settings, clock.clone()).await?;
        let (forge, auth) = match brought.forge {
            Some(forge) => (Some(forge), GitHubAuth::Anonymous),
            None => {
                let auth = parts::forge_auth(config, env).await;
                (parts::forge(config, &auth, clock)?, auth)
            }
        };
        let listener = match brought.listener {
            Some(listener) => listener,
            None => failpoint::around(Edge::Listen, listen(config.server.address())).await?,
        };
        let address = listener
            .local_addr()
            .map_err(|source| StartError::Io { what: "the listener has no address", source })?;
        let locks = RepositoryLocks::default();
        let remotes = Remotes::new(config.github.clone_url.clone(), &config.github.api_url, forge.clone());
        let settings = parts::worker_settings(config, env, parts::scanner(config, env, &auth)?);
        let programs = parts::programs(&settings, env);
        let sandbox = settings.isolation.sandbox.clone();
        let found = sandbox.find().await;
        tracing::info!(sandbox = found.detail(), works = found.works(), "looked for a sandbox");
        let opens_pull_requests = forge.is_some();
        if !opens_pull_requests {
            tracing::warn!(
                "no GitHub token and no App: only jobs with options.publish = \"branch\" or \"none\" are accepted"
            );
        }
        let worker = Worker::new(
            store.clone(),
            git.clone(),
            locks.clone(),
            forge,
            remotes.clone(),
            Launcher::new(ShimProgram::Own, parts::scopes(config, env)),
            clock.clone(),
            settings,
        );
        Ok(Self {
            lock,
            store,
            git,
            locks,
            remotes,
            worker,
            programs,
            sandbox,
            listener,
            address,
            opens_pull_requests,
        })
    }
}

impl Server {
    /// Starts everything, in the order that recovery needs, and tells a service manager that it is ready.
    ///
    /// # Errors
    /// What was in the way; nothing runs then.
    pub async fn start(config: Config, env: &Environment, brought: Override) -> Result<Self, StartError> {
        metrics::install();
        let signals = StopSignals::listen()
            .map_err(|source| StartError::Io { what: "signals cannot be listened to", source })?;
        let clock = Clock::system();
        let secret = config.admin_secret()?.clone();
        let ground = Ground::lay(&config, env, brought, &clock).await?;
        let Ground { lock, store, git, locks, remotes, worker, programs, listener, address, .. } = ground;
        let stages = Stages::default();
        let (prober, probes) = Prober::new(store.clone(), clock.clone(), programs, stages.stop.clone());
        let mut app_settings = app::Settings::from_config(&config, ground.opens_pull_requests, vec![address])
            .with_sandbox(ground.sandbox);
        app_settings.targets = parts::targets(&config, env, &[address]);
        let targets = app_settings.targets.clone();
        app_settings.signing = note_rotation(&store, app_settings.signing).await?;
        let settings = parts::deliverer_settings(&config, &app_settings);
        let upkeep = Upkeep::new(
            store.clone(),
            git.clone(),
            locks.clone(),
            worker.clone(),
            parts::upkeep_settings(&config),
        );
        let app = App::new(store.clone(), app_settings, git, locks, remotes, clock.clone(), probes)
            .with_upkeep(upkeep.clone())
            .with_doctor(parts::doctor(&config, env, &clock))
            .with_worker(worker.clone());
        if let Err(error) = app.learn_tokens().await {
            // of a damaged database: its owner gets in
            tracing::warn!(%error, "named tokens open nothing, only the built-in secret does");
        }
        let deliverer = Deliverer::new(store.clone(), clock.clone(), settings, stages.stop.clone())
            .with_schedule(parts::callback_schedule(&config))
            .with_targets(targets);
        let drain = Duration::from_secs(config.server.drain_seconds);
        let mut loops = JoinSet::new();
        let adopted = match store.damage() {
            // nothing that acts by itself: no row can be trusted, and none could be written
            Some(damage) => {
                tracing::error!("{}", damage.guide);
                let stop = stages.stop.clone();
                spawn(
                    &mut loops,
                    "watchdog",
                    watchdog::ping_reading(sd_notify::watchdog_enabled(), stop, notify),
                );
                0
            }
            None => {
                let adopted = begin_work(&mut loops, &store, &worker, upkeep, &stages, drain).await?;
                spawn(&mut loops, "deliverer", deliverer.run());
                spawn(&mut loops, "prober", prober.run());
                if config.server.keep_awake {
                    let vigil = Vigil::new(store.clone(), parts::keeper(env), stages.stop.clone());
                    spawn(&mut loops, "vigil", vigil.run());
                }
                adopted
            }
        };
        let router = http::router(state(&app, &clock, secret, address, &config));
        let stop = stages.stop.clone();
        spawn(&mut loops, "http", async move {
            if let Err(error) = http::serve(listener, router, stop.cancelled_owned()).await {
                tracing::error!(%error, "the listener failed");
            }
        });
        tracing::info!(%address, adopted, version = env!("CARGO_PKG_VERSION"), "ready");
        failpoint::at(Edge::Ready, || notify(&[NotifyState::Ready]));
        Ok(Self { address, app, store, drain, loops, stages, signals, _lock: lock })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it works with, for those who started it in their own process.
    #[must_use]
    pub fn app(&self) -> &App {
        &self.app
    }

    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Serves until SIGTERM or SIGINT, then ends in stages. A second signal ends it at once.
    pub async fn run_until_signalled(mut self, stop_agents: bool) -> ExitCode {
        let mut failure = self.store.failure();
        let failed = tokio::select! {
            () = self.signals.next() => false,
            Ok(_) = failure.wait_for(|failed| *failed) => true,
            Some(ended) = self.loops.join_next() => {
                tracing::error!(?ended, "a part of the server ended by itself");
                true
            }
        };
        if failed {
            tracing::error!("ending: the next start recovers");
            return ExitCode::FAILURE;
        }
        if stop_agents {
            self.stages.stop_agents.cancel();
        }
        self.end().await
    }

    /// Ends in stages, as after a signal.
    pub async fn end(mut self) -> ExitCode {
        tracing::info!("stopping");
        notify(&[NotifyState::Stopping, NotifyState::Status("finishing the steps under way")]);
        self.app.start_draining();
        self.stages.drain.cancel();
        let (loops, stages, app, store) = (&mut self.loops, &self.stages, &self.app, &self.store);
        let whole = self.drain + END_MAX;
        let drained_at = tokio::time::Instant::now() + self.drain;
        let in_stages = async {
            if store.damage().is_none() {
                // the dispatcher is the only loop that ends by the first stage
                let _ = failpoint::around(Edge::Drain, loops.join_next()).await;
            }
            let left = drained_at.saturating_duration_since(tokio::time::Instant::now());
            failpoint::around(Edge::StopOperations, app.stop_operations(left)).await;
            app.end_streams();
            stages.stop.cancel();
            let all = async { while loops.join_next().await.is_some() {} };
            failpoint::around(Edge::StopLoops, all).await;
            if store.damage().is_none()
                && let Err(error) = store.note_orderly_stop().await
            {
                tracing::warn!(%error, "the next start checks the whole database");
            }
        };
        tokio::select! {
            () = in_stages => tracing::info!("stopped"),
            () = tokio::time::sleep(whole) => tracing::warn!("stopped before everything had ended"),
            () = self.signals.next() => tracing::warn!("second signal: leaving at once"),
        }
        ExitCode::SUCCESS
    }
}

/// Says since when the previous secret is that. What cannot be written into a damaged database signs nothing either.
async fn note_rotation(
    store: &Store,
    signing: Option<SigningSecrets>,
) -> Result<Option<SigningSecrets>, StoreError> {
    let Some(secrets) = signing else { return Ok(None) };
    let Some(rotation) = secrets.rotation().filter(|_| store.damage().is_none()) else {
        return Ok(Some(secrets));
    };
    let secrets = secrets.rotated_at(store.note_rotation(rotation).await?);
    if secrets.at(store.steady_ms()).rotation().is_none() {
        tracing::warn!(
            "callbacks.previous_secret signs no more, for the rotation is more than 24 h ago: it can be removed"
        );
    }
    Ok(Some(secrets))
}

/// Takes over what an earlier server left, in the order that recovery needs, and starts what works on jobs. Gives the
/// number of jobs that were adopted.
async fn begin_work(
    loops: &mut JoinSet<&'static str>,
    store: &Store,
    worker: &Worker,
    upkeep: Upkeep,
    stages: &Stages,
    drain: Duration,
) -> Result<usize, StartError> {
    let mut dispatcher =
        Dispatcher::new(store.clone(), worker.clone(), stages.drain.clone(), stages.stop_agents.clone());
    // before anything goes that they work in
    stop_strangers(worker).await?;
    failpoint::around(Edge::SweepTrash, empty_trash(worker)).await;
    finish_clone_removals(worker).await?;
    remove_unowned_clones(worker).await?;
    store.settle_logins(&worker.usual_agent()).await?;
    // where the machine does not say, no start is told from another
    let boot = machine_start().unwrap_or_default();
    let adopted = failpoint::around(Edge::Adopt, dispatcher.adopt(&boot)).await?;
    failpoint::around(Edge::SweepWorktrees, sweep_worktrees(worker, false)).await?;
    let watchdog = Watchdog {
        pulse: dispatcher.pulse(),
        store: store.clone(),
        patience: sd_notify::watchdog_enabled(),
        drain: stages.drain.clone(),
        stop: stages.stop.clone(),
    };
    spawn(loops, "dispatcher", dispatcher.run(drain));
    spawn(loops, "watchdog", watchdog.run(notify));
    let janitor = Janitor::new(store.clone(), worker.clone(), stages.stop.clone()).with_upkeep(upkeep);
    spawn(loops, "janitor", janitor.run());
    spawn(loops, "backups", Backups::new(store.clone(), stages.stop.clone()).run());
    Ok(adopted)
}

fn spawn(
    loops: &mut JoinSet<&'static str>,
    name: &'static str,
    work: impl Future<Output = ()> + Send + 'static,
) {
    loops.spawn(async move {
        work.await;
        name
    });
}

async fn listen(address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address)
        .await
        .map_err(|error| StartError::Listen { address, reason: error.to_string() })
}

fn state(app: &App, clock: &Clock, secret: SecretString, address: SocketAddr, config: &Config) -> AppState {
    let settings = http::Settings {
        secret,
        address,
        allowed_hosts: config.server.allowed_hosts.clone(),
        token_requests_per_minute: config.server.token_requests_per_minute,
    };
    AppState::new(app.clone(), clock.clone(), &settings)
}

/// Without a service manager this does nothing.
fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "the service manager could not be told");
    }
}
