//! The API over HTTP, and the dashboard: one table of routes, thin handlers, and the guards before them.
//!
//! Promises: every answer carries `X-Request-Id`; every error is problem+json with `error`; a request passes, in this
//! order, host and origin check, authentication, the scope that its route needs (what is refused is written down), whether changes are accepted, body limits and idempotency before a handler sees it. The OpenAPI
//! document is made from the handlers themselves. Handlers extract, call [`app`](crate::app), convert. Below `/ui` it is a cookie
//! that opens, errors are pages, and there only: see `ui`.
//!
//! Must not know: SQL, git, processes; no rule about jobs is decided here.
//!
//! Fails: as answers. [`serve`] fails only when the listener is unusable. Tested: through the router with a real store
//! beside the code, over real connections in `tests/it`.

mod artifacts;
mod attach;
mod audit;
mod auth;
mod backups;
mod badges;
mod body;
mod clients;
mod connection;
mod crowd;
mod deliveries;
mod events;
mod guard;
mod idempotency;
mod job_reads;
mod jobs;
mod lengths;
mod live;
mod notify;
mod openapi;
mod passes;
mod problem;
mod profiles;
mod query;
mod queue;
mod request_id;
mod serve;
mod sessions;
mod snapshots;
mod system;
mod table;
mod throttle;
mod tokens;
mod ui;
mod usage;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn_with_state;
use secrecy::SecretString;
use tower_http::catch_panic::CatchPanicLayer;

pub use openapi::document;
pub use serve::serve;

use crate::app::App;
use crate::clock::Clock;

/// What the doors need to know beside the use cases.
pub struct Settings {
    /// The built-in admin token.
    pub secret: SecretString,
    /// As it was bound, so with the real port.
    pub address: SocketAddr,
    /// Further names under which callers reach us, with or without a port.
    pub allowed_hosts: Vec<String>,
    /// Requests of one named token in a minute, at least 1.
    pub token_requests_per_minute: u32,
}

/// Everything the router shares.
#[derive(Clone)]
pub struct AppState(Arc<Shared>);

struct Shared {
    app: App,
    clock: Clock,
    built_in: auth::BuiltIn,
    badges: badges::Badges,
    scopes: table::Scopes,
    rates: throttle::Rates,
    wrong_tokens: throttle::WrongTokens,
    hosts: guard::Hosts,
    in_flight: idempotency::InFlight,
    large_bodies: body::LargeBodies,
    open_bodies: body::OpenBodies,
}

impl AppState {
    #[must_use]
    pub fn new(app: App, clock: Clock, settings: &Settings) -> Self {
        Self(Arc::new(Shared {
            app,
            built_in: auth::BuiltIn::new(&settings.secret),
            badges: badges::Badges::new(&settings.secret, settings.address.port(), clock.clone()),
            clock,
            scopes: ui::pages(table::table().scopes).scopes,
            rates: throttle::Rates::new(settings.token_requests_per_minute),
            wrong_tokens: throttle::WrongTokens::default(),
            hosts: guard::Hosts::new(settings.address, &settings.allowed_hosts),
            in_flight: idempotency::InFlight::default(),
            large_bodies: body::LargeBodies::default(),
            open_bodies: body::OpenBodies::default(),
        }))
    }
}

/// The whole service.
pub fn router(state: AppState) -> Router {
    let table = table::table();
    let pages = ui::pages(table.scopes);
    let (routes, _) = table.router.split_for_parts();
    let api = routes
        .fallback(problem::no_such_route)
        .method_not_allowed_fallback(problem::method_not_allowed)
        .with_state(state.0.app.clone())
        // the last one is the outermost
        .layer(from_fn_with_state(state.clone(), idempotency::repeat_answers))
        .layer(from_fn_with_state(state.clone(), body::read_body))
        .layer(from_fn_with_state(state.clone(), guard::refuse_changes))
        .layer(from_fn_with_state(state.clone(), auth::check_scope))
        .layer(from_fn_with_state(state.clone(), audit::write_down))
        .layer(from_fn_with_state(state.clone(), auth::authenticate));
    api.merge(ui::router(&state, pages))
        // the last one is the outermost
        .layer(from_fn_with_state(state.clone(), guard::check_origin))
        .layer(CatchPanicLayer::custom(problem::of_panic))
        .layer(from_fn_with_state(state, request_id::finish_answer))
}

#[cfg(test)]
mod tests;
