//! The OpenAPI document, made from the handlers; error answers, which every call shares, are added by a table.

use std::sync::OnceLock;

use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{ContentBuilder, OpenApi, Ref, ResponseBuilder};
use utoipa::{Modify, OpenApi as OpenApiDerive};

use super::table;
use crate::wire::callback::CallbackBody;
use crate::wire::event::Event;
use crate::wire::problem::{PROBLEM_MEDIA_TYPE, Problem};

#[derive(OpenApiDerive)]
#[openapi(
    info(title = "offshoot", description = "A job queue for coding agents on your own machine."),
    components(schemas(Problem, CallbackBody, Event)),
    modifiers(&Bearer),
    security(("token" = [])),
)]
pub(super) struct Api;

struct Bearer;

impl Modify for Bearer {
    fn modify(&self, document: &mut OpenApi) {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
        let components = document.components.get_or_insert_with(Default::default);
        components.add_security_scheme("token", SecurityScheme::Http(scheme));
    }
}

/// What every call with a token may answer.
const ALWAYS: &[(u16, &str)] = &[
    (400, "Malformed request"),
    (401, "No or wrong token"),
    (403, "The token's scope is too narrow, or the request comes from a foreign web page"),
    (421, "Unknown host name"),
    (500, "A fault of the server"),
];

/// Further errors of single calls, by the name of the handler.
const FURTHER: &[(&str, &[(u16, &str)])] = &[
    (
        "create_client",
        &[(409, "Registered already"), (422, "Invalid, or not supported"), (502, "git's reason")],
    ),
    ("get_client", &[(404, "No such client")]),
    ("update_client", &[(404, "No such client"), (409, "osClientId is taken"), (422, "Invalid")]),
    (
        "delete_client",
        &[(404, "No such client"), (409, "Live jobs or unpublished work"), (503, "A job does not end")],
    ),
    ("list_jobs", &[(422, "Out of range")]),
    (
        "submit_job",
        &[
            (409, "The branch is in use, or the same request is under way"),
            (422, "Invalid, or not supported"),
            (429, "The queue is full"),
            (503, "Draining or read-only"),
            (507, "The disk is full"),
        ],
    ),
    ("get_job", &[(404, "No such job"), (409, "The beginning of the id is not unique")]),
    ("list_messages", &[(404, "No such job"), (422, "Out of range")]),
    ("get_log", &[(404, "No such job, attempt or output"), (422, "Not supported")]),
    ("get_diff", &[(404, "No such job, or no result yet"), (422, "Out of range")]),
    ("cancel_job", &[(404, "No such job"), (503, "The job still has processes; the request stands")]),
    (
        "retry_job",
        &[(404, "No such job"), (409, "Live, completed, or its branch is in use"), (422, "Invalid")],
    ),
    ("list_deliveries", &[(404, "No such job")]),
    ("redeliver", &[(404, "No such job or delivery")]),
    ("get_queue", &[(422, "Not a cursor")]),
    ("pause_queue", &[(422, "Invalid")]),
    ("try_now", &[(422, "Invalid")]),
    ("sync_clients", &[(404, "No such client")]),
];

/// Calls whose body is read.
const BODY: &[(u16, &str)] = &[
    (408, "The body came too slowly"),
    (413, "The body is larger than 1 MiB"),
    (415, "The body is not JSON"),
];

/// The document as JSON text.
#[must_use]
pub fn document() -> &'static str {
    static TEXT: OnceLock<String> = OnceLock::new();
    TEXT.get_or_init(|| {
        let (_, mut document) = table::routes().split_for_parts();
        for item in document.paths.paths.values_mut() {
            let reads = [&mut item.get, &mut item.delete];
            reads.into_iter().flatten().for_each(|operation| add_errors(operation, false));
            let writes = [&mut item.post, &mut item.patch];
            writes.into_iter().flatten().for_each(|operation| add_errors(operation, true));
        }
        document.to_pretty_json().expect("a document of plain members with text keys serialises")
    })
}

fn add_errors(operation: &mut Operation, has_body: bool) {
    let name = operation.operation_id.clone().unwrap_or_default();
    if matches!(name.as_str(), "livez" | "readyz") {
        return;
    }
    let further = FURTHER.iter().find(|(handler, _)| *handler == name).map_or(&[][..], |(_, errors)| errors);
    let body = if has_body { BODY } else { &[] };
    for (status, description) in ALWAYS.iter().chain(body).chain(further) {
        let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
        let response =
            ResponseBuilder::new().description(*description).content(PROBLEM_MEDIA_TYPE, content).build();
        operation.responses.responses.entry(status.to_string()).or_insert(response.into());
    }
}
