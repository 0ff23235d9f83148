//! The dashboard's doors: pages, and what the forms on them do.
//!
//! Promises: everything below `/ui` but the way in, the stylesheet and the script needs a badge, a cookie that comes with no
//! request of another site; a change needs a word of the browser, too, that a page of ours made it. A page needs the scope `read`.
//! An action names the call of the API that it makes, and needs what that one needs: there is one table of who may do
//! what. Each is carried out by the same function of [`app`](crate::app), written down like the call, and answered by going back
//! to a page (303). Every answer has a policy under which nothing but our own files is loaded or run; only
//! what the outermost guards refuse (host, origin, sizes) is answered as everywhere.
//!
//! Must not know: how pages look ([`web`](crate::web)), SQL, git. It has no rule of its own about jobs.
//!
//! Fails: as pages with the status that the API would answer. Tested: `src/http/tests/ui_*.rs`, and in a browser in
//! `tests/browser/`.

mod act;
mod changes;
mod clients;
mod docs;
mod door;
mod form;
mod hints;
mod job;
mod jobs;
mod looks;
mod new_job;
mod queue;
mod system;

use axum::Router;
use axum::extract::FromRef;
use axum::http::Method;
use axum::middleware::from_fn_with_state;
use axum::response::Redirect;
use axum::routing::{MethodRouter, get, post};

pub(super) use looks::ShownAsPage;

use super::table::Scopes;
use super::{AppState, artifacts, audit, auth, body, guard, idempotency, job_reads};
use crate::app::App;
use crate::domain::token::Scope;

/// The pages and what they do, each with the scope that it needs.
pub(super) struct Pages {
    router: Router<AppState>,
    pub(super) scopes: Scopes,
}

impl Pages {
    fn page(mut self, path: &str, handler: MethodRouter<AppState>) -> Self {
        self.scopes.add(Method::GET, path, Scope::Read, Some(200));
        Self { router: self.router.route(path, handler), ..self }
    }

    /// `call` is the path of the POST of the API that is made. One that there is not would need everything.
    fn action(self, call: &str, path: &str, handler: MethodRouter<AppState>) -> Self {
        self.change(call, path, handler, Some(303))
    }

    /// As [`Self::action`], of a call that is no POST.
    fn by_method(self, method: &Method, call: &str, path: &str, handler: MethodRouter<AppState>) -> Self {
        self.change_by(method, call, path, handler, Some(303))
    }

    /// Answered by a page that shows what was made.
    fn made(self, call: &str, path: &str, handler: MethodRouter<AppState>) -> Self {
        self.change(call, path, handler, Some(201))
    }

    fn of_clients(self) -> Self {
        self.action("/clients", "/ui/clients", post(clients::register))
            .action("/sync", "/ui/sync", post(clients::sync_all))
            .action("/sync", "/ui/clients/{id}/sync", post(clients::sync))
            .by_method(&Method::PATCH, "/clients/{id}", "/ui/clients/{id}/pause", post(clients::pause))
            .by_method(&Method::PATCH, "/clients/{id}", "/ui/clients/{id}/resume", post(clients::resume))
            .by_method(&Method::DELETE, "/clients/{id}", "/ui/clients/{id}/remove", post(clients::remove))
    }

    fn of_system(self) -> Self {
        let redeliver = "/deliveries/{delivery}/redeliver";
        // no call of the API: the command line looks for itself
        self.unwritten("/doctor", "/ui/system/doctor", post(system::examine))
            .action("/backups", "/ui/system/backups", post(system::back_up))
            .action(redeliver, "/ui/system/deliveries/{delivery}/redeliver", post(system::redeliver))
            .action("/webhooks/resume", "/ui/system/webhooks/resume", post(system::resume_webhook))
            .made("/tokens", "/ui/system/tokens", post(system::make_token))
            .by_method(
                &Method::DELETE,
                "/tokens/{id}",
                "/ui/system/tokens/{id}/revoke",
                post(system::revoke_token),
            )
    }

    /// Only those who could make the call may ask for it; nothing is changed, and nothing written down.
    fn unwritten(self, call: &str, path: &str, handler: MethodRouter<AppState>) -> Self {
        self.change(call, path, handler, None)
    }

    /// The call is made for each of several jobs, and each is written down by itself.
    fn many(self, call: &str, path: &str, handler: MethodRouter<AppState>) -> Self {
        self.change(call, path, handler, None)
    }

    fn change(
        self,
        call: &str,
        path: &str,
        handler: MethodRouter<AppState>,
        written_as: Option<u16>,
    ) -> Self {
        self.change_by(&Method::POST, call, path, handler, written_as)
    }

    fn change_by(
        mut self,
        method: &Method,
        call: &str,
        path: &str,
        handler: MethodRouter<AppState>,
        written_as: Option<u16>,
    ) -> Self {
        let scope = self.scopes.of(method, call).unwrap_or(Scope::Admin);
        self.scopes.add(Method::POST, path, scope, written_as);
        Self { router: self.router.route(path, handler), ..self }
    }
}

/// Behind the table of the API, of which `scopes` are.
pub(super) fn pages(scopes: Scopes) -> Pages {
    Pages { router: Router::new(), scopes }
        .page("/ui/", get(queue::show))
        .page("/ui/jobs", get(jobs::show))
        .page("/ui/new", get(new_job::show))
        .action("/jobs", "/ui/new", post(new_job::submit))
        .page("/ui/new/preview", get(new_job::back))
        .unwritten("/jobs", "/ui/new/preview", post(new_job::preview))
        .page("/ui/jobs/{id}", get(job::show))
        .page("/ui/jobs/{id}/lines", get(job::lines))
        .page("/ui/jobs/{id}/changes", get(changes::show))
        .page("/ui/jobs/{id}/log", get(job_reads::get_log))
        .page("/ui/jobs/{id}/artifacts/{*path}", get(artifacts::get_artifact))
        .page("/ui/clients", get(clients::show))
        .page("/ui/clients/{id}", get(clients::show_one))
        .page("/ui/system", get(system::show))
        .page("/ui/system/doctor", get(system::doctor))
        .page("/ui/system/deliveries", get(system::deliveries))
        .page("/ui/system/tokens", get(system::tokens))
        .page("/ui/system/audit", get(system::audit))
        .page("/ui/docs", get(docs::show))
        .page("/ui/events", get(hints::all))
        .page("/ui/jobs/{id}/events", get(hints::of_job))
        .page("/ui/{*path}", get(door::nothing_here))
        .action("/queue/pause", "/ui/queue/pause", post(act::pause))
        .action("/queue/resume", "/ui/queue/resume", post(act::resume))
        .action("/queue/try-now", "/ui/queue/try-now", post(act::try_now))
        .action("/jobs/{id}/cancel", "/ui/jobs/{id}/cancel", post(act::cancel))
        .action("/jobs/{id}/retry", "/ui/jobs/{id}/retry", post(act::retry))
        .action("/jobs/{id}/follow-up", "/ui/jobs/{id}/follow-up", post(act::follow_up))
        .many("/jobs/{id}/cancel", "/ui/bulk/cancel", post(act::cancel_many))
        .many("/jobs/{id}/retry", "/ui/bulk/retry", post(act::retry_many))
        .action(
            "/jobs/{id}/deliveries/{delivery}/redeliver",
            "/ui/jobs/{id}/deliveries/{delivery}/redeliver",
            post(act::redeliver),
        )
        .of_clients()
        .of_system()
}

/// A path as it may be written down: a pass is a key as long as it has not been used.
pub(super) fn told_path(path: &str) -> &str {
    const ENTER: &str = "/ui/enter/";
    if path.starts_with(ENTER) { ENTER } else { path }
}

impl FromRef<AppState> for App {
    fn from_ref(state: &AppState) -> Self {
        state.0.app.clone()
    }
}

pub(super) fn router(state: &AppState, pages: Pages) -> Router {
    let inside = pages
        .router
        // the last one is the outermost
        .layer(from_fn_with_state(state.clone(), idempotency::carry_out))
        .layer(from_fn_with_state(state.clone(), body::read_form))
        .layer(from_fn_with_state(state.clone(), guard::refuse_changes))
        .layer(from_fn_with_state(state.clone(), auth::check_scope))
        .layer(from_fn_with_state(state.clone(), audit::write_down))
        .layer(from_fn_with_state(state.clone(), door::let_in));
    let open = Router::new()
        .route("/", get(async || Redirect::to("/ui/")))
        .route("/ui", get(async || Redirect::to("/ui/")))
        // a browser has no token to show, and the cookie is good below /ui only
        .route("/docs", get(async || Redirect::to("/ui/docs")))
        .route("/ui/enter/{pass}", get(door::enter).post(door::enter))
        .route("/ui/sign-in", get(door::show_sign_in).post(door::sign_in))
        // nothing changes but who has a cookie: whoever came in may go, also when nothing can be written
        .route("/ui/sign-out", post(door::sign_out))
        .route("/ui/theme", post(door::set_theme))
        .route("/ui/assets/{name}", get(door::asset))
        .layer(from_fn_with_state(state.clone(), body::read_open_form));
    inside
        .merge(open)
        .with_state(state.clone())
        .layer(axum::middleware::from_fn(door::from_our_page))
        .layer(axum::middleware::from_fn(looks::finish_page))
}

#[cfg(test)]
mod tests {
    use super::told_path;

    #[test]
    fn a_pass_is_written_down_nowhere() {
        assert_eq!(told_path("/ui/enter/abc"), "/ui/enter/");
        assert_eq!(told_path("/ui/jobs/7"), "/ui/jobs/7");
    }
}
