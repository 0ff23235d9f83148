//! What becomes a prompt, and what is refused by its place.

use serde_json::{Value, json};

use super::*;
use crate::domain::options::RunOptions;
use crate::domain::profile::Source;
use crate::wire::request::Submission;

const HUGE: usize = PROMPT_BYTES_MAX + 1;

fn profile(template: Option<&str>) -> Profile {
    Profile {
        name: "review".to_owned(),
        template: template.map(|text| Template::parse(text).unwrap()),
        options: RunOptions::default(),
        submit: false,
        source: Source::Configuration,
    }
}

/// The prompt, or the places of all faults.
fn filled(profile: Option<&Profile>, body: &Value) -> Result<String, Vec<String>> {
    let mut reading = Reading::default();
    let asked = Submission::read(body, &mut reading);
    let wanted = Wanted {
        prompt: asked.prompt.as_deref(),
        variables: &asked.variables,
        names_profile: asked.profile.is_some(),
    };
    let prompt = prompt(&wanted, profile, &mut reading);
    let places: Vec<_> = reading.faults.into_iter().map(|fault| fault.pointer).collect();
    if places.is_empty() { Ok(prompt) } else { Err(places) }
}

#[test]
fn a_template_is_filled_in_whole_or_refused_by_the_place_of_each_fault() {
    let with = |template: &str, body: Value| filled(Some(&profile(Some(template))), &body);
    let good = [
        ("Review {{path}}", json!({"variables": {"path": "src"}}), "Review src"),
        ("Review", json!({}), "Review"),
        ("Review", json!({"variables": {}}), "Review"),
        ("Be kind. {{prompt}}", json!({"prompt": "  Fix it\n"}), "Be kind. Fix it"),
        // a value is text, whatever it looks like
        ("{{a}}{{b}}", json!({"variables": {"a": "{{b}}", "b": "{{prompt}}"}}), "{{b}}{{prompt}}"),
        ("{{prompt}} {{a}}", json!({"prompt": "{{a}} }} {{", "variables": {"a": ""}}), "{{a}} }} {{"),
        (" {{a}} ", json!({"variables": {"a": " x "}}), "x"),
    ];
    for (template, body, expected) in good {
        assert_eq!(with(template, body.clone()).as_deref(), Ok(expected), "{template} {body}");
    }
    let huge = "x".repeat(HUGE);
    let bad = [
        ("Review {{path}}", json!({}), vec!["/variables/path"]),
        ("{{b}} {{a}}", json!({}), vec!["/variables/a", "/variables/b"]),
        ("{{path}}", json!({"variables": {"pth": "x"}}), vec!["/variables/pth", "/variables/path"]),
        ("{{a}}", json!({"variables": {"a": "x", "b": "y", "c": "z"}}), vec!["/variables/b", "/variables/c"]),
        ("{{a}}", json!({"variables": {"a": 1}}), vec!["/variables/a"]),
        ("{{a}}", json!({"variables": {"a": {"b": "nested"}}}), vec!["/variables/a"]),
        ("{{a}}", json!({"variables": ["a"]}), vec!["/variables"]),
        ("{{a}}", json!({"variables": {"a": "x\0"}}), vec!["/variables/a"]),
        ("{{a}}", json!({"variables": {"A": "x"}}), vec!["/variables/A", "/variables/a"]),
        ("{{a}}", json!({"variables": {"a": "x", "{{a}}": "x"}}), vec!["/variables/{{a}}"]),
        ("{{a}}", json!({"prompt": "p", "variables": {"a": "x"}}), vec!["/prompt"]),
        ("{{prompt}}", json!({}), vec!["/prompt"]),
        ("{{prompt}}", json!({"prompt": " "}), vec!["/prompt"]),
        ("{{prompt}}", json!({"variables": {"prompt": "x"}}), vec!["/prompt", "/variables/prompt"]),
        ("{{a}}", json!({"variables": {"a": " \n"}}), vec!["/variables"]),
        ("{{a}}", json!({"variables": {"a": huge}}), vec!["/variables"]),
        ("{{a}}{{a}}", json!({"variables": {"a": "x".repeat(HUGE / 2 + 1)}}), vec!["/variables"]),
        ("{{prompt}}", json!({"prompt": huge}), vec!["/prompt"]),
    ];
    for (template, body, places) in bad {
        let expected = Err(places.into_iter().map(str::to_owned).collect());
        assert_eq!(with(template, body), expected, "{template}");
    }
}

#[test]
fn the_rendered_prompt_may_be_as_large_as_any() {
    let review = profile(Some("{{a}} "));
    let body = json!({"variables": {"a": format!("{} \n", "x".repeat(PROMPT_BYTES_MAX))}});
    assert_eq!(filled(Some(&review), &body).map(|prompt| prompt.len()), Ok(PROMPT_BYTES_MAX));
    let many = profile(Some(&"{{a}}".repeat(300)));
    let body = json!({"variables": {"a": "x".repeat(900_000)}});
    assert_eq!(filled(Some(&many), &body), Err(vec!["/variables".to_owned()]));
}

#[test]
fn without_a_template_the_prompt_is_the_callers_and_variables_have_no_place() {
    let plain = profile(None);
    assert_eq!(filled(Some(&plain), &json!({"prompt": "{{a}}"})).as_deref(), Ok("{{a}}"));
    assert_eq!(filled(Some(&plain), &json!({})), Err(vec!["/prompt".to_owned()]));
    let with = json!({"prompt": "p", "variables": {"a": "x"}});
    assert_eq!(filled(Some(&plain), &with), Err(vec!["/variables/a".to_owned()]));
    assert_eq!(filled(None, &with), Err(vec!["/variables".to_owned()]));
    assert_eq!(filled(None, &json!({"prompt": "{{a}}", "variables": {}})).as_deref(), Ok("{{a}}"));
    // of a profile that is not there only that is said
    assert_eq!(filled(None, &json!({"profile": "no", "variables": {"a": "x"}})).as_deref(), Ok(""));
}
