//! The OpenAPI document in `docs/` is the one that the handlers give.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;

use serde_json::Value;

use crate::tidy_source::root;

/// Compares a generated file with what it should be; with `UPDATE_DOCS=1` writes it.
#[expect(clippy::disallowed_methods, reason = "a switch for whoever runs the tests")]
pub(crate) fn assert_current(path: &str, text: &str) {
    let file = root().join(path);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&file, text).unwrap();
    }
    let found = fs::read_to_string(&file).unwrap_or_default();
    assert!(found == text, "{path} is out of date: run UPDATE_DOCS=1 cargo test --test it docs_");
}

#[test]
fn docs_openapi_is_current() {
    assert_current("docs/openapi.json", &format!("{}\n", offshoot::http::document()));
}

#[test]
fn every_reference_leads_somewhere_and_every_call_has_an_answer() {
    let document: Value = serde_json::from_str(offshoot::http::document()).unwrap();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    let mut left = vec![&document];
    while let Some(value) = left.pop() {
        match value {
            Value::Object(members) => {
                if let Some(Value::String(reference)) = members.get("$ref") {
                    let pointer = reference.strip_prefix('#').unwrap();
                    assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
                }
                left.extend(members.values());
            }
            Value::Array(items) => left.extend(items),
            _ => {}
        }
    }
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, call) in item.as_object().unwrap() {
            let answers = call["responses"].as_object().unwrap();
            // a WebSocket begins with 101
            let is_good = |status: &String| status.starts_with('2') || status == "101";
            assert!(answers.keys().any(is_good), "{method} {path}");
        }
    }
}
