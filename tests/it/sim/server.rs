//! The server inside the simulation: the real store and the real loops. It can be stopped, and it can be gone from one
//! moment to the next.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use offshoot::background::{AgentProgram, Deliverer, DelivererSettings, Dispatcher, Janitor, Prober};
use offshoot::domain::agent_kind::AgentKind;
use offshoot::store::{Limits, Store};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::actor::Actor;
use super::receiver::Post;
use super::settled::{Settled, finish};
use super::world::{RUNNING_MAX, RUNNING_PER_CLIENT_MAX, World};

pub(super) const LOGINS: [&str; 2] = ["claude", "codex"];
pub(super) const QUEUED_MAX: u32 = 40;

pub(super) struct Server {
    pub(super) store: Store,
    world: Arc<World>,
    loops: JoinSet<()>,
    drain: CancellationToken,
    stop_agents: CancellationToken,
    stop: CancellationToken,
}

impl Server {
    /// In the order of the real one: open, adopt, then the loops.
    pub(super) fn start(world: &Arc<World>, dir: &Path, meanwhile: impl FnOnce(&Store)) -> Self {
        let limits = Limits {
            running_max: RUNNING_MAX as u32,
            running_per_client_max: Some(RUNNING_PER_CLIENT_MAX as u32),
            queued_max: QUEUED_MAX,
            disk_free_bytes_min: 0,
        };
        let store = Store::open(dir, world.clock.clone(), limits).unwrap();
        world.set_store(Some(store.clone()));
        let (drain, stop_agents, stop) =
            (CancellationToken::new(), CancellationToken::new(), CancellationToken::new());
        let actor = Actor { world: world.clone(), store: store.clone() };
        let mut dispatcher =
            Dispatcher::new(store.clone(), actor.clone(), drain.clone(), stop_agents.clone());
        finish(dispatcher.adopt(&world.clock.boot())).unwrap();
        let settings = DelivererSettings { sender: Post { world: world.clone() }, secrets: None };
        let deliverer = Deliverer::new(store.clone(), world.clock.clone(), settings, stop.clone());
        // there is always a shell
        let programs = LOGINS.map(|name| AgentProgram {
            name: name.to_owned(),
            kind: AgentKind::Command,
            command: vec!["/bin/sh".to_owned()],
            environment: BTreeMap::new(),
        });
        let (prober, _) = Prober::new(store.clone(), world.clock.clone(), programs.to_vec(), stop.clone());
        let janitor = Janitor::new(store.clone(), actor, stop.clone());
        // somebody is faster than the loops
        meanwhile(&store);
        let mut loops = JoinSet::new();
        loops.spawn(Settled::new(world, dispatcher.run(Duration::from_secs(5))));
        loops.spawn(Settled::new(world, deliverer.run()));
        loops.spawn(Settled::new(world, prober.run()));
        loops.spawn(Settled::new(world, janitor.run()));
        let mut state = world.state();
        state.tell(|| "server started".to_owned());
        state.changed_at = Instant::now();
        drop(state);
        Self { store, world: world.clone(), loops, drain, stop_agents, stop }
    }

    /// Killed: nothing of it does anything more.
    pub(super) fn kill(self) {
        let Self { world, mut loops, store, .. } = self;
        world.state().tell(|| "server killed".to_owned());
        loops.abort_all();
        drop(loops);
        world.set_store(None);
        drop(store);
        let mut state = world.state();
        state.tries_may_repeat();
        state.forget_ready();
    }

    /// Ends in stages, with or without the agents.
    pub(super) async fn end(mut self, with_agents: bool) {
        self.world.state().tell(|| format!("server ends, with agents {with_agents}"));
        if with_agents {
            self.stop_agents.cancel();
        }
        self.drain.cancel();
        self.loops.join_next().await;
        self.stop.cancel();
        while let Some(ended) = self.loops.join_next().await {
            if let Err(error) = ended {
                self.world.state().fault(format!("a loop ended badly: {error}"));
            }
        }
        self.kill();
    }

    /// Whether every loop still runs.
    pub(super) fn is_whole(&self) -> bool {
        self.loops.len() == 4
    }
}
