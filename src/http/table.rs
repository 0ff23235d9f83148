//! Every route of the API, in one place, each with the scope that it needs: there is no other way in.

use std::collections::HashMap;

use axum::http::Method;
use utoipa::OpenApi as _;
use utoipa::openapi::extensions::ExtensionsBuilder;
use utoipa::openapi::path::{Operation, PathItem, Paths};
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouter};
use utoipa_axum::routes;

use super::openapi::Api;
use super::{
    artifacts, attach, audit, backups, clients, deliveries, events, job_reads, jobs, live, notify, passes,
    profiles, queue, sessions, snapshots, system, tokens, usage,
};
use crate::app::App;
use crate::domain::token::Scope;

/// The member of an operation in the document that names its scope.
const SCOPE_MEMBER: &str = "x-scope";

/// Which scope a route needs, and what is written down of it, by its method and its path as it is written in the table.
#[derive(Clone, Debug, Default)]
pub(super) struct Scopes(HashMap<(Method, String), (Scope, Option<u16>)>);

impl Scopes {
    /// `None` for what is open to everybody, and for what there is not.
    pub(super) fn of(&self, method: &Method, route: &str) -> Option<Scope> {
        self.find(method, route).map(|(scope, _)| scope)
    }

    /// With what it is answered when everything goes well, 200 for what there is not; `None`: that is not written down.
    pub(super) fn written_as(&self, method: &Method, route: &str) -> Option<u16> {
        self.find(method, route).map_or(Some(200), |(_, status)| status)
    }

    /// What the dashboard has beside the API; `written_as` as above.
    pub(super) fn add(&mut self, method: Method, route: &str, scope: Scope, written_as: Option<u16>) {
        self.0.insert((method, route.to_owned()), (scope, written_as));
    }

    fn find(&self, method: &Method, route: &str) -> Option<(Scope, Option<u16>)> {
        // it is answered by the handler of GET
        let method = if method == Method::HEAD { Method::GET } else { method.clone() };
        self.0.get(&(method, route.to_owned())).copied()
    }
}

pub(super) struct Table {
    pub(super) router: OpenApiRouter<App>,
    pub(super) scopes: Scopes,
}

impl Table {
    /// What a watchdog may ask without a token; the answers say nothing else.
    fn open(self, routes: UtoipaMethodRouter<App>) -> Self {
        Self { router: self.router.routes(routes), ..self }
    }

    fn needs(self, scope: Scope, routes: UtoipaMethodRouter<App>) -> Self {
        self.add(scope, routes, true)
    }

    fn add(mut self, scope: Scope, mut routes: UtoipaMethodRouter<App>, is_written_down: bool) -> Self {
        for (path, method, operation) in operations(&mut routes.1) {
            let named = ExtensionsBuilder::new().add(SCOPE_MEMBER, scope.as_str()).build();
            operation.extensions.get_or_insert_default().merge(named);
            let mut told = operation.responses.responses.keys().filter_map(|status| status.parse().ok());
            let success = told.find(|status| (200..300).contains(status)).unwrap_or(200);
            self.scopes.0.insert((method, path), (scope, is_written_down.then_some(success)));
        }
        Self { router: self.router.routes(routes), ..self }
    }

    fn read(self, routes: UtoipaMethodRouter<App>) -> Self {
        self.needs(Scope::Read, routes)
    }

    fn submit(self, routes: UtoipaMethodRouter<App>) -> Self {
        self.needs(Scope::Submit, routes)
    }

    fn operate(self, routes: UtoipaMethodRouter<App>) -> Self {
        self.needs(Scope::Operate, routes)
    }

    /// What somebody says again and again, and what changes nothing that anybody would look up.
    fn operate_unwritten(self, routes: UtoipaMethodRouter<App>) -> Self {
        self.add(Scope::Operate, routes, false)
    }

    fn admin(self, routes: UtoipaMethodRouter<App>) -> Self {
        self.needs(Scope::Admin, routes)
    }
}

fn operations(paths: &mut Paths) -> impl Iterator<Item = (String, Method, &mut Operation)> {
    paths.paths.iter_mut().flat_map(|(path, item)| {
        let PathItem { get, post, put, patch, delete, .. } = item;
        let methods = [
            (Method::GET, get),
            (Method::POST, post),
            (Method::PUT, put),
            (Method::PATCH, patch),
            (Method::DELETE, delete),
        ];
        methods
            .into_iter()
            .filter_map(move |(method, operation)| Some((path.clone(), method, operation.as_mut()?)))
    })
}

pub(super) fn table() -> Table {
    let empty = Table { router: OpenApiRouter::with_openapi(Api::openapi()), scopes: Scopes::default() };
    system_routes(job_routes(empty))
}

fn job_routes(table: Table) -> Table {
    table
        // jobs
        .read(routes!(job_reads::list_jobs))
        .submit(routes!(jobs::submit_job))
        .read(routes!(job_reads::get_job))
        .read(routes!(job_reads::list_messages))
        .read(routes!(job_reads::get_log))
        .read(routes!(job_reads::get_diff))
        .read(routes!(artifacts::get_artifact))
        .read(routes!(snapshots::list_snapshots))
        .read(routes!(snapshots::get_snapshot))
        .operate(routes!(jobs::cancel_job))
        .operate(routes!(attach::attach_job))
        .operate_unwritten(routes!(attach::prolong_visit))
        .operate(routes!(attach::detach_job))
        .submit(routes!(jobs::retry_job))
        .submit(routes!(jobs::follow_up_job))
        // sessions
        .read(routes!(sessions::list_sessions))
        .read(routes!(sessions::get_session))
        .operate(routes!(sessions::delete_session))
        // events; words for an agent are looked at one by one
        .read(routes!(events::job_events))
        .read(routes!(events::all_events))
        .read(routes!(live::job_socket))
        // webhooks
        .read(routes!(deliveries::list_deliveries))
        .operate(routes!(deliveries::redeliver))
        .read(routes!(deliveries::list_all_deliveries))
        .read(routes!(deliveries::get_delivery))
        .operate(routes!(deliveries::redeliver_by_id))
        .read(routes!(deliveries::list_suspended))
        .operate(routes!(deliveries::resume_webhook))
        .operate(routes!(deliveries::test_webhook))
        // notices
        .read(routes!(notify::list_notify))
        .operate(routes!(notify::test_notify))
}

fn system_routes(table: Table) -> Table {
    table
        // clients
        .read(routes!(clients::list_clients))
        .read(routes!(clients::get_client))
        .admin(routes!(clients::create_client))
        .admin(routes!(clients::update_client, clients::delete_client))
        // profiles
        .admin(routes!(profiles::list_profiles, profiles::create_profile))
        .admin(routes!(profiles::get_profile, profiles::update_profile, profiles::delete_profile))
        // tokens
        .admin(routes!(tokens::list_tokens, tokens::create_token))
        .admin(routes!(tokens::get_token, tokens::revoke_token))
        .admin(routes!(audit::get_audit))
        // queue
        .read(routes!(queue::get_queue))
        .operate(routes!(queue::pause_queue))
        .operate(routes!(queue::resume_queue))
        .operate(routes!(queue::try_now))
        // system
        .admin(routes!(backups::list_backups, backups::create_backup))
        .read(routes!(system::get_health))
        .read(routes!(system::get_metrics))
        .read(routes!(usage::get_usage))
        .read(routes!(passes::create_pass))
        .operate(routes!(system::sync_clients))
        .admin(routes!(system::collect_garbage))
        .open(routes!(system::livez))
        .open(routes!(system::readyz))
        .read(routes!(system::get_document))
}
