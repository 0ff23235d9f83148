//! Keeps the machine awake while jobs run.

use tokio_util::sync::CancellationToken;

use super::next_change;
use crate::awake::{Hold, Keeper, PROGRAM};
use crate::store::{Change, Store};

/// Holds the machine while at least one job runs.
pub struct Vigil {
    store: Store,
    /// `None`: this system has no program for it.
    keeper: Option<Keeper>,
    shutdown: CancellationToken,
}

/// How it is at the moment.
enum State {
    /// No job runs.
    Asleep,
    Awake(Box<Hold>),
    /// Jobs run, and it cannot be done; tried again with the next ones.
    InVain,
}

impl Vigil {
    #[must_use]
    pub fn new(store: Store, keeper: Option<Keeper>, shutdown: CancellationToken) -> Self {
        Self { store, keeper, shutdown }
    }

    /// Runs until told to shut down.
    pub async fn run(self) {
        let mut changes = self.store.watch();
        let mut state = State::Asleep;
        let mut is_warned = false;
        loop {
            state = self.tick(state, &mut is_warned).await;
            let matters = |change| matches!(change, Change::JobMoved(_) | Change::Queue);
            let lost = tokio::select! {
                biased;
                () = self.shutdown.cancelled() => break,
                why = lost(&mut state) => Some(why),
                _ = next_change(&mut changes, None, matters) => None,
            };
            if let Some(why) = lost {
                warn_once(&mut is_warned, &why);
                state = State::InVain;
            }
        }
        if let State::Awake(hold) = state {
            hold.release().await;
        }
    }

    /// As it should be now.
    async fn tick(&self, state: State, is_warned: &mut bool) -> State {
        let runs = match self.store.accounts().await {
            Ok(accounts) => accounts.running > 0,
            Err(error) => {
                tracing::warn!(%error, "it is not known whether jobs run; looked at again later");
                return state;
            }
        };
        match (state, runs) {
            (State::Asleep, true) => self.hold(is_warned),
            (State::Awake(hold), false) => {
                hold.release().await;
                asleep()
            }
            (State::InVain, false) => asleep(),
            (state, _) => state,
        }
    }

    fn hold(&self, is_warned: &mut bool) -> State {
        let Some(keeper) = &self.keeper else {
            warn_once(is_warned, "it is not in PATH");
            return State::InVain;
        };
        match keeper.hold() {
            Ok(hold) => {
                tracing::debug!(program = PROGRAM, "jobs run: this machine is kept awake");
                State::Awake(Box::new(hold))
            }
            Err(error) => {
                warn_once(is_warned, &error.to_string());
                State::InVain
            }
        }
    }
}

fn asleep() -> State {
    tracing::debug!("no job runs: this machine may sleep");
    State::Asleep
}

/// Never, where nothing is held.
async fn lost(state: &mut State) -> String {
    match state {
        State::Awake(hold) => hold.lost().await,
        State::Asleep | State::InVain => std::future::pending().await,
    }
}

fn warn_once(is_warned: &mut bool, why: &str) {
    if !std::mem::replace(is_warned, true) {
        tracing::warn!(
            program = PROGRAM,
            why,
            "nothing keeps this machine awake while jobs run; server.keep_awake = false where that is well"
        );
    }
}
