//! The OpenAPI document, made from the handlers; error answers, which every call shares, are added by a table.

use std::sync::OnceLock;

use utoipa::openapi::path::{Operation, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{AnyOfBuilder, Type};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{
    ContentBuilder, ObjectBuilder, OpenApi, Ref, RefOr, Required, ResponseBuilder, Schema,
};
use utoipa::{Modify, OpenApi as OpenApiDerive, ToSchema};

use super::idempotency::KEY_BYTES_MAX;
use super::table;
use crate::wire::callback::CallbackBody;
use crate::wire::event::{StreamFrame, StreamItem};
use crate::wire::live::Taken;
use crate::wire::problem::{PROBLEM_MEDIA_TYPE, Problem};

#[derive(OpenApiDerive)]
#[openapi(
    info(title = "offshoot", description = "A job queue for coding agents on your own machine. An empty query parameter is an absent one."),
    components(schemas(Problem, CallbackBody, StreamItem, StreamFrame, Taken)),
    modifiers(&Bearer),
    security(("token" = [])),
)]
pub(super) struct Api;

/// A body of bytes as they are.
#[derive(ToSchema)]
#[schema(value_type = String, format = Binary)]
#[expect(dead_code, reason = "describes what is sent as a stream")]
pub(super) struct FileBytes(Vec<u8>);

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
    (429, "Too many requests with this token, or wrong tokens from this address"),
    (500, "A fault of the server"),
];

/// Further errors of single calls, by the name of the handler.
const FURTHER: &[(&str, &[(u16, &str)])] = &[
    ("create_backup", &[(409, "The file is there already, or the same request is under way")]),
    ("create_client", &[(409, "Registered already"), (502, "git's reason")]),
    ("get_client", &[(404, "No such client")]),
    (
        "update_client",
        &[(404, "No such client"), (409, "osClientId is taken, or others change it all the time")],
    ),
    (
        "delete_client",
        &[(404, "No such client"), (409, "Live jobs or unpublished work"), (503, "A job does not end")],
    ),
    ("create_profile", &[(409, "The name is taken, also by the configuration, or there are 100")]),
    ("get_profile", &[(404, "No such profile"), (409, "Two have the name")]),
    (
        "update_profile",
        &[(404, "No such profile"), (409, "It is in the configuration, or others change it all the time")],
    ),
    ("delete_profile", &[(404, "No such profile"), (409, "It is in the configuration")]),
    ("create_token", &[(409, "The name is taken, or there are 200")]),
    ("get_token", &[(404, "No such token")]),
    ("revoke_token", &[(404, "No such token")]),
    ("get_audit", &[(422, "Out of range")]),
    ("list_jobs", &[(422, "Out of range")]),
    (
        "submit_job",
        &[(409, "The branch is in use, or the same request is under way"), (429, "The queue is full")],
    ),
    ("get_job", &[(404, "No such job"), AMBIGUOUS, (422, "Out of range")]),
    ("list_messages", &[(404, "No such job"), AMBIGUOUS, (422, "Out of range")]),
    ("get_log", &[(404, "No such job, attempt or output"), AMBIGUOUS, STREAMS]),
    ("job_events", &[(404, "No such job"), AMBIGUOUS, STREAMS]),
    ("all_events", &[STREAMS]),
    ("job_socket", &[(404, "No such job"), AMBIGUOUS, (426, "No WebSocket was asked for"), STREAMS]),
    ("list_snapshots", &[(404, "No such job"), AMBIGUOUS]),
    ("get_snapshot", &[(404, "No such job or snapshot"), AMBIGUOUS]),
    ("get_artifact", &[(404, "No such job, or no such file of it"), AMBIGUOUS]),
    ("get_diff", &[(404, "No such job, or no result yet"), AMBIGUOUS, (422, "Out of range")]),
    ("cancel_job", &[(404, "No such job"), (503, "The job still has processes; the request stands")]),
    (
        "attach_job",
        &[
            (404, "No such job"),
            (409, "Over, published by now, not begun, or taken over by somebody else"),
            (503, "The job still has processes; the wish stands"),
        ],
    ),
    ("prolong_visit", &[(404, "No such job"), (409, "The visit is over")]),
    (
        "detach_job",
        &[
            (404, "No such job"),
            (409, "The visit is over, or what is there cannot be published"),
            (503, "The job has not made way yet"),
        ],
    ),
    (
        "retry_job",
        &[
            (404, "No such job"),
            (409, "Live, completed, or its branch is in use"),
            (429, "The queue is full"),
        ],
    ),
    ("follow_up_job", &[(404, "No such job"), (409, "Its client was deleted"), (429, "The queue is full")]),
    ("list_sessions", &[(422, "Out of range")]),
    ("get_session", &[(404, "No such conversation"), (422, "Out of range")]),
    (
        "delete_session",
        &[
            (404, "No such conversation"),
            (409, "Jobs go on in it, or several bear the id"),
            (422, "Out of range"),
        ],
    ),
    ("list_deliveries", &[(404, "No such job"), AMBIGUOUS]),
    ("redeliver", &[(404, "No such job or delivery")]),
    ("list_all_deliveries", &[(422, "Out of range")]),
    ("get_delivery", &[(404, "No such delivery")]),
    ("redeliver_by_id", &[(404, "No such delivery")]),
    ("resume_webhook", &[(404, "The URL is not suspended")]),
    ("test_webhook", &[(404, "No such job"), AMBIGUOUS]),
    ("test_notify", &[(404, "No such target")]),
    ("get_queue", &[(422, "Not a cursor")]),
    ("get_usage", &[(422, "No such grouping, no day, or out of range")]),
    ("sync_clients", &[(404, "No such client")]),
];

const AMBIGUOUS: (u16, &str) = (409, "The beginning of the id is not unique");

const STREAMS: (u16, &str) = (429, "128 streams are open, which is the most at once");

/// Calls that change something.
const CHANGES: &[(u16, &str)] = &[(503, "Draining or read-only"), (507, "The disk is full")];

/// Calls whose body is read.
const BODY: &[(u16, &str)] = &[
    (408, "The body came too slowly"),
    (413, "The body is larger than 1 MiB"),
    (415, "The body is not JSON"),
    (422, "Invalid, or not supported"),
];

/// Calls that take an `Idempotency-Key`.
const KEYED: &[(u16, &str)] = &[
    (409, "A request with this Idempotency-Key is under way"),
    (422, "Invalid, or the Idempotency-Key was used with another body"),
];

/// The document as JSON text.
#[must_use]
pub fn document() -> &'static str {
    static TEXT: OnceLock<String> = OnceLock::new();
    TEXT.get_or_init(|| {
        let (_, mut document) = table::table().router.split_for_parts();
        for item in document.paths.paths.values_mut() {
            item.get.iter_mut().for_each(|operation| complete(operation, &[]));
            item.delete.iter_mut().for_each(|operation| complete(operation, &[CHANGES]));
            item.patch.iter_mut().for_each(|operation| complete(operation, &[CHANGES, BODY]));
            item.post.iter_mut().for_each(|operation| complete(operation, &[CHANGES, KEYED, BODY]));
        }
        overlap(&mut document, "EventData");
        // the router's own way of writing a parameter that may have slashes in it
        let plain = |path: String| path.replace("{*", "{");
        let paths = std::mem::take(&mut document.paths.paths);
        document.paths.paths = paths.into_iter().map(|(path, item)| (plain(path), item)).collect();
        document.to_pretty_json().expect("a document of plain members with text keys serialises")
    })
}

/// One of several shapes of which more than one may fit: those of events are told apart by the event's type.
fn overlap(document: &mut OpenApi, schema: &str) {
    let schemas = document.components.as_mut().map(|components| &mut components.schemas);
    let Some(RefOr::T(schema)) = schemas.and_then(|schemas| schemas.get_mut(schema)) else { return };
    if let Schema::OneOf(one) = schema {
        let any = AnyOfBuilder::new().description(one.description.take());
        *schema = std::mem::take(&mut one.items).into_iter().fold(any, AnyOfBuilder::item).build().into();
    }
}

/// Adds what the handlers do not say: the errors that calls share, and a description of each answer, which the
/// format demands.
fn complete(operation: &mut Operation, shared: &[&[(u16, &str)]]) {
    for response in operation.responses.responses.values_mut() {
        if let RefOr::T(response) = response
            && response.description.is_empty()
        {
            response.description = "Done".to_owned();
        }
    }
    if let Some(RefOr::T(body)) = &mut operation.request_body {
        // an absent one is read as an empty object
        body.required = Some(Required::False);
    }
    let name = operation.operation_id.clone().unwrap_or_default();
    if matches!(name.as_str(), "livez" | "readyz") {
        return;
    }
    let further = FURTHER.iter().find(|(handler, _)| *handler == name).map_or(&[][..], |(_, errors)| errors);
    for (status, description) in further.iter().chain(ALWAYS).chain(shared.iter().copied().flatten()) {
        let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
        let response =
            ResponseBuilder::new().description(*description).content(PROBLEM_MEDIA_TYPE, content).build();
        operation.responses.responses.entry(status.to_string()).or_insert(response.into());
    }
    if shared.iter().any(|errors| std::ptr::eq(*errors, KEYED)) {
        add_key(operation);
    }
}

/// Every POST takes the header, in a layer before the handlers.
fn add_key(operation: &mut Operation) {
    let key = ParameterBuilder::new()
        .name("Idempotency-Key")
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some("1 to 255 printable characters: a repeat within 24 h gets the first answer again"))
        .schema(Some(
            ObjectBuilder::new()
                .schema_type(Type::String)
                .max_length(Some(KEY_BYTES_MAX))
                // printable ASCII, and not spaces alone
                .pattern(Some("^[ -~]*[!-~][ -~]*$")),
        ))
        .build();
    operation.parameters.get_or_insert_default().push(key.into());
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::document;

    fn operations(document: &Value) -> Vec<(String, String, &Value)> {
        let paths = document["paths"].as_object().unwrap().iter();
        paths
            .flat_map(|(path, item)| {
                let item = item.as_object().unwrap().iter();
                item.map(|(method, operation)| (method.clone(), path.clone(), operation))
            })
            .collect()
    }

    #[test]
    fn every_answer_is_described_and_every_change_says_how_it_fails() {
        let document: Value = serde_json::from_str(document()).unwrap();
        assert_eq!(document["openapi"], "3.1.0");
        for (method, path, operation) in operations(&document) {
            let responses = operation["responses"].as_object().unwrap();
            for (status, response) in responses {
                let description = response["description"].as_str().unwrap_or_default();
                assert!(!description.is_empty(), "{method} {path} {status}");
            }
            let wanted: &[&str] = match method.as_str() {
                "get" if matches!(path.as_str(), "/livez" | "/readyz") => &["200"],
                "get" if path.starts_with("/ws/") => {
                    &["101", "400", "401", "403", "421", "426", "429", "500"]
                }
                "get" => &["200", "400", "401", "403", "421", "429", "500"],
                "delete" => &["200", "401", "503", "507"],
                _ => &["401", "408", "413", "415", "422", "503", "507"],
            };
            for status in wanted {
                assert!(responses.contains_key(*status), "{method} {path} lacks {status}");
            }
            let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
            let keys = parameters.iter().filter(|parameter| parameter["name"] == "Idempotency-Key").count();
            assert_eq!(keys, usize::from(method == "post"), "{method} {path}");
        }
    }
}
