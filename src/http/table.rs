//! Every route that is built, in one place. What is documented and not built yet stands in `later`.

use utoipa::OpenApi as _;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::openapi::Api;
use super::{
    artifacts, attach, backups, clients, deliveries, events, job_reads, jobs, live, profiles, queue,
    sessions, snapshots, system, usage,
};
use crate::app::App;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::with_openapi(Api::openapi())
        // clients
        .routes(routes!(clients::list_clients, clients::create_client))
        .routes(routes!(clients::get_client, clients::update_client, clients::delete_client))
        // profiles
        .routes(routes!(profiles::list_profiles, profiles::create_profile))
        .routes(routes!(profiles::get_profile, profiles::update_profile, profiles::delete_profile))
        // jobs
        .routes(routes!(job_reads::list_jobs, jobs::submit_job))
        .routes(routes!(job_reads::get_job))
        .routes(routes!(job_reads::list_messages))
        .routes(routes!(job_reads::get_log))
        .routes(routes!(job_reads::get_diff))
        .routes(routes!(artifacts::get_artifact))
        .routes(routes!(snapshots::list_snapshots))
        .routes(routes!(snapshots::get_snapshot))
        .routes(routes!(jobs::cancel_job))
        .routes(routes!(attach::attach_job))
        .routes(routes!(attach::prolong_visit))
        .routes(routes!(attach::detach_job))
        .routes(routes!(jobs::retry_job))
        .routes(routes!(jobs::follow_up_job))
        // sessions
        .routes(routes!(sessions::list_sessions))
        .routes(routes!(sessions::get_session, sessions::delete_session))
        // events
        .routes(routes!(events::job_events))
        .routes(routes!(events::all_events))
        .routes(routes!(live::job_socket))
        // webhooks
        .routes(routes!(deliveries::list_deliveries))
        .routes(routes!(deliveries::redeliver))
        .routes(routes!(deliveries::list_all_deliveries))
        .routes(routes!(deliveries::get_delivery))
        .routes(routes!(deliveries::redeliver_by_id))
        .routes(routes!(deliveries::list_suspended))
        .routes(routes!(deliveries::resume_webhook))
        .routes(routes!(deliveries::test_webhook))
        // queue
        .routes(routes!(queue::get_queue))
        .routes(routes!(queue::pause_queue))
        .routes(routes!(queue::resume_queue))
        .routes(routes!(queue::try_now))
        // system
        .routes(routes!(backups::list_backups, backups::create_backup))
        .routes(routes!(system::get_health))
        .routes(routes!(system::get_metrics))
        .routes(routes!(usage::get_usage))
        .routes(routes!(system::sync_clients))
        .routes(routes!(system::collect_garbage))
        .routes(routes!(system::livez))
        .routes(routes!(system::readyz))
        .routes(routes!(system::get_document))
}
