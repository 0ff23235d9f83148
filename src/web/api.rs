//! The API as a page, from the document that the handlers give: nothing in it is written twice.

use std::collections::BTreeMap;

use maud::{Markup, html};
use serde_json::{Map, Value};

use super::Viewer;
use super::shell::{Place, Sheet, page};

/// In the order in which they are read; a path has no others.
const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

/// One call.
struct Call<'d> {
    method: &'static str,
    path: &'d str,
    told: &'d Value,
}

/// `document`: an OpenAPI 3.1 document as the handlers give it. What it leaves out is left out.
#[must_use]
pub fn api(viewer: &Viewer, document: &Value) -> String {
    let calls = calls(document);
    let usual = usual_answers(&calls);
    let mut groups: BTreeMap<&str, Vec<&Call<'_>>> = BTreeMap::new();
    for call in &calls {
        groups.entry(call.told["tags"][0].as_str().unwrap_or("other")).or_default().push(call);
    }
    let none = Map::new();
    let shapes = document["components"]["schemas"].as_object().unwrap_or(&none);
    let body = html! {
        div .head { h1 { "API" } span .count { "version " (text(&document["info"]["version"])) } }
        div .api {
            p { (prose(&document["info"]["description"])) " Programs read the same as " code { "/openapi.json" }
                ", with a token; every call takes one as " code { "Authorization: Bearer …" } "." }
            nav aria-label="Calls" {
                @for (tag, calls) in &groups {
                    h2 { (tag) }
                    ul { @for call in calls { li { a href={ "#" (call.id()) } { (call.name()) } " " span .faint { (prose(&call.told["summary"])) } } } }
                }
            }
            @for (tag, calls) in &groups { h2 .part { (tag) } @for call in calls { (one_call(call, &usual)) } }
            h2 .part { "Answers that every call may give" }
            dl .fields { @for (status, about) in &usual { div { dt { code { (status) } } dd { (about) ": " (link("Problem")) } } } }
            h2 .part { "Shapes" }
            @for (name, shape) in shapes {
                section .card id={ "shape-" (name) } { h3 { code { (name) } } (shape_of(shape)) }
            }
        }
    };
    page(viewer, Sheet { title: "API", place: Place::Api, live: String::new(), body })
}

impl Call<'_> {
    fn id(&self) -> &str {
        text(&self.told["operationId"])
    }

    fn name(&self) -> Markup {
        html! { code { b { (self.method.to_uppercase()) } " " (self.path) } }
    }
}

fn calls(document: &Value) -> Vec<Call<'_>> {
    let mut calls = Vec::new();
    for (path, item) in document["paths"].as_object().into_iter().flatten() {
        for method in METHODS {
            calls.extend(item.get(method).map(|told| Call { method, path, told }));
        }
    }
    calls
}

/// Refusals that most calls share, said once instead of at each.
fn usual_answers<'d>(calls: &[Call<'d>]) -> Vec<(&'d str, &'d str)> {
    let mut counted: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for call in calls {
        for (status, answer) in call.told["responses"].as_object().into_iter().flatten() {
            if !status.starts_with('2') {
                *counted.entry((status, text(&answer["description"]))).or_default() += 1;
            }
        }
    }
    counted.into_iter().filter(|(_, count)| count * 2 > calls.len()).map(|(answer, _)| answer).collect()
}

fn one_call(call: &Call<'_>, usual: &[(&str, &str)]) -> Markup {
    let told = call.told;
    let parameters = told["parameters"].as_array().map(Vec::as_slice).unwrap_or_default();
    let bodies = told["requestBody"]["content"].as_object().into_iter().flatten();
    let answers = told["responses"].as_object().into_iter().flatten();
    let own = answers.filter(|(status, answer)| {
        !usual.iter().any(|one| *one == (status.as_str(), text(&answer["description"])))
    });
    html! {
        section .card id=(call.id()) {
            h3 { (call.name()) }
            p { (prose(&told["summary"])) @if told["description"].is_string() { " " (prose(&told["description"])) } }
            @if let Some(scope) = told["x-scope"].as_str() { p .faint { "Needs a token that may " code { (scope) } "." } }
            @if !parameters.is_empty() {
                h4 { "Parameters" }
                dl .fields {
                    @for one in parameters {
                        div {
                            dt { code { (text(&one["name"])) } }
                            dd { span .faint { (text(&one["in"])) @if one["required"] == true { ", required" } ", " (kind(&one["schema"])) } " "
                                (prose(&one["description"])) }
                        }
                    }
                }
            }
            @for (media, body) in bodies { h4 { "Body" } p { (kind(&body["schema"])) " " span .faint { (media) } } }
            h4 { "Answers" }
            dl .fields {
                @for (status, answer) in own {
                    div {
                        dt { code { (status) } }
                        dd { (prose(&answer["description"])) @for (media, content) in answer["content"].as_object().into_iter().flatten() {
                            ": " (kind(&content["schema"])) " " span .faint { (media) } } }
                    }
                }
            }
        }
    }
}

/// A shape: its members, or the words it may be.
fn shape_of(shape: &Value) -> Markup {
    let parts = shape["allOf"].as_array().map(Vec::as_slice).unwrap_or_default();
    let members = shape["properties"].as_object();
    html! {
        @if shape["description"].is_string() { p { (prose(&shape["description"])) } }
        @for part in parts {
            @if part.get("$ref").is_some() { p { "All of " (kind(part)) ", and" } } @else { (shape_of(part)) }
        }
        @if let Some(members) = members {
            dl .fields { @for (name, member) in members { (one_member(name, member, is_required(shape, name))) } }
        } @else if parts.is_empty() { p { (kind(shape)) } }
    }
}

fn is_required(shape: &Value, name: &str) -> bool {
    shape["required"].as_array().is_some_and(|names| names.iter().any(|one| one == name))
}

fn one_member(name: &str, member: &Value, is_required: bool) -> Markup {
    html! {
        div {
            dt { code { (name) } }
            dd {
                span .faint { (kind(member)) @if !is_required { ", may be left out" } } " "
                (prose(&member["description"]))
            }
        }
    }
}

/// What a value looks like, in a few words.
fn kind(schema: &Value) -> Markup {
    if let Some(name) = schema["$ref"].as_str() {
        return link(name.rsplit('/').next().unwrap_or(name));
    }
    for (key, word) in [("oneOf", " or "), ("anyOf", " or "), ("allOf", " and ")] {
        if let Some(several) = schema[key].as_array() {
            return html! { @for (at, one) in several.iter().enumerate() { @if at > 0 { (word) } (kind(one)) } };
        }
    }
    if let Some(words) = schema["enum"].as_array() {
        return html! { @for (at, word) in words.iter().enumerate() { @if at > 0 { ", " } code { (bare(word)) } } };
    }
    let types = match &schema["type"] {
        Value::Array(several) => several.iter().map(text).collect(),
        Value::String(one) => vec![one.as_str()],
        _ => vec!["anything"],
    };
    html! {
        @for (at, one) in types.iter().enumerate() {
            @if at > 0 { " or " }
            @match *one {
                "array" => { "list of " (kind(&schema["items"])) }
                "object" if schema["additionalProperties"].is_object() => { "map to " (kind(&schema["additionalProperties"])) }
                other => (other)
            }
        }
        (limits(schema))
    }
}

/// The bounds that a schema names.
fn limits(schema: &Value) -> Markup {
    let words = [("minimum", "from"), ("maximum", "to"), ("minLength", "at least"), ("maxLength", "at most")];
    html! { @for (key, word) in words { @if let Some(number) = schema.get(key) { " " (word) " " (bare(number)) } } }
}

fn link(name: &str) -> Markup {
    html! { a href={ "#shape-" (name) } { code { (name) } } }
}

/// A text as it stands, or a number.
fn bare(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Sentences of the sources: what they put between backticks is code.
fn prose(value: &Value) -> Markup {
    html! {
        @for (at, piece) in text(value).split('`').enumerate() {
            @if at % 2 == 1 { code { (piece) } } @else { (piece) }
        }
    }
}
