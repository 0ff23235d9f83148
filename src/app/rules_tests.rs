//! Tables of what is refused, by the place that the caller is pointed to.

use std::path::PathBuf;

use serde_json::json;

use super::*;
use crate::domain::agent_kind::AgentKind;
use crate::webhook::Policy;

pub(in crate::app) fn settings() -> Settings {
    Settings {
        defaults: RunOptions::default(),
        agents: [
            ("claude".to_owned(), AgentKind::Claude),
            ("codex".to_owned(), AgentKind::Codex),
            ("mine".to_owned(), AgentKind::Command),
        ]
        .into(),
        profiles: std::collections::BTreeMap::new(),
        secrets: ["npm".to_owned(), "sentry".to_owned()].into(),
        allowed_orgs: Vec::new(),
        protected_branches: vec!["main".to_owned(), "release/*".to_owned()],
        opens_pull_requests: true,
        signing: None,
        callbacks: Policy {
            allow: vec!["127.0.0.1:9000".parse().unwrap(), "169.254.169.254".parse().unwrap()],
            tailnet: false,
            own_listeners: vec!["127.0.0.1:3456".parse().unwrap()],
        },
        data_dir: PathBuf::from("/nowhere"),
        repos_dir: PathBuf::from("/nowhere/repos"),
        run_dir: PathBuf::from("/nowhere/run"),
        disk_free_bytes_min: 0,
        max_concurrent_jobs: 2,
        sandbox: std::sync::Arc::default(),
        always_sandboxed: false,
        targets: crate::notify::Targets::default(),
    }
}

fn places(check: impl FnOnce(&mut Reading)) -> Vec<String> {
    let mut reading = Reading::default();
    check(&mut reading);
    reading.faults.into_iter().map(|fault| fault.pointer).collect()
}

#[test]
fn prompts() {
    let long = "x".repeat(PROMPT_BYTES_MAX);
    for good in ["--dangerously-skip-permissions", "-x", " padded ", &long, &format!("  {long}\n")] {
        assert_eq!(places(|r| drop(prompt(Some(good), r))), Vec::<String>::new());
    }
    for bad in ["", " \n\t ", "a\0b", &format!("{long}x")] {
        assert_eq!(places(|r| drop(prompt(Some(bad), r))), ["/prompt"]);
    }
    assert_eq!(places(|r| drop(prompt(None, r))), ["/prompt"]);
}

#[test]
fn titles_stay_on_one_line() {
    for good in ["-m", "Co-authored-by: x <y>", &"x".repeat(256)] {
        assert_eq!(places(|r| title(Some(good), r)), Vec::<String>::new(), "{good}");
    }
    for bad in ["", "a\nb", "a\rb", &"x".repeat(257), "\u{1b}[0m"] {
        assert_eq!(places(|r| title(Some(bad), r)), ["/title"], "{bad:?}");
    }
}

#[test]
fn branches_that_are_refused() {
    let all = settings();
    let invalid =
        ["-x", "--upload-pack=x", "a..b", ".a", "a.lock", "a//b", "a/", "@", "@{-1}", "HEAD", "a b"];
    let hostile = [
        "refs/heads/main",
        "a~1",
        "a\\b",
        "a\u{7}",
        "a.",
        "$(id)",
        "`id`",
        "a;b",
        "x'; rm -rf ~",
        "a\u{202e}b",
    ];
    for bad in invalid.iter().chain(&hostile).chain(&["main", "release/1.2", ""]) {
        assert_eq!(places(|r| drop(work_branch(Some(bad), &all, r))), ["/branchName"], "{bad:?}");
    }
    assert_eq!(places(|r| drop(work_branch(Some("feat/x"), &all, r))), Vec::<String>::new());
}

#[test]
fn repositories_that_are_refused() {
    let long = "a".repeat(40);
    for org in ["../..", "a/b", "-o", &long, ".", "", "a b", "a\0"] {
        assert_eq!(
            places(|r| drop(repository(Some(org), Some("w"), &settings(), r))),
            ["/githubOrg"],
            "{org:?}"
        );
    }
    let long = "a".repeat(101);
    for repo in ["..", "x.git", "x.wiki", "-x", &long, "a b", "", "a/b"] {
        assert_eq!(
            places(|r| drop(repository(Some("o"), Some(repo), &settings(), r))),
            ["/githubRepo"],
            "{repo:?}"
        );
    }
    assert_eq!(places(|r| drop(repository(Some("o"), None, &settings(), r))), ["/githubRepo"]);
    let fenced = Settings { allowed_orgs: vec!["Acme".to_owned()], ..settings() };
    assert_eq!(places(|r| drop(repository(Some("acme"), Some("w"), &fenced, r))), Vec::<String>::new());
    assert_eq!(places(|r| drop(repository(Some("evil"), Some("w"), &fenced, r))), ["/githubOrg"]);
}

#[test]
fn callbacks_that_are_refused() {
    let long = format!("http://example.org/{}", "x".repeat(9_000));
    let table = [
        "file:///etc/passwd",
        "gopher://x",
        "http://user:pw@example.org",
        "//example.org",
        &long,
        "http://127.0.0.1",
        "http://localhost",
        "http://0",
        "http://2130706433",
        "http://0x7f.1",
        "http://0177.0.0.1",
        "http://[::1]",
        "http://[::ffff:7f00:1]",
        "http://[64:ff9b::7f00:1]",
        "http://[2002:7f00:1::]",
        "http://169.254.169.254/x",
        "http://100.100.100.200",
        "http://[fd00:ec2::254]",
        "http://127.0.0.1:3456/jobs",
        "http://localhost:3456",
        "http://10.0.0.1",
        "http://100.64.0.1",
    ];
    for url in table {
        assert_eq!(places(|r| drop(callback_url(Some(url), &settings(), r))), ["/osCallbackUrl"], "{url}");
    }
    for url in ["https://example.org/hook", "http://127.0.0.1:9000/hook"] {
        assert_eq!(places(|r| drop(callback_url(Some(url), &settings(), r))), Vec::<String>::new(), "{url}");
    }
}

#[test]
fn clone_addresses() {
    let good = [
        "https://github.com/a/b.git",
        "ssh://git@host:22/a/b",
        "git@github.com:a/b.git",
        "/srv/a.git",
        "file:///srv/a",
        "http://127.0.0.1:8080/a/b.git",
        "host:a/b",
    ];
    for url in good {
        assert_eq!(places(|r| clone_url(Some(url), r)), Vec::<String>::new(), "{url}");
    }
    let bad = [
        "",
        "-x",
        "--upload-pack=x",
        "ext::sh -c id",
        "ext::id",
        "https://u:p@h/x",
        "https://token@h/x",
        "relative/x",
        "ssh://-oProxyCommand=x/y",
        "-oProxyCommand=x:y",
        "git@-oProxyCommand=x:y",
        "a b:c",
        "ftp://h/x",
        "h:",
        "ssh://u:p@h/x",
    ];
    for url in bad {
        assert_eq!(places(|r| clone_url(Some(url), r)), ["/cloneUrl"], "{url}");
    }
}

#[test]
fn small_members() {
    assert_eq!(places(|r| drop(metadata(Some(&json!([1])), r))), ["/metadata"]);
    assert_eq!(places(|r| drop(metadata(Some(&json!({"a": "x".repeat(16_384)})), r))), ["/metadata"]);
    assert_eq!(places(|r| labels(&["ok".to_owned(), String::new()], r)), ["/labels/1"]);
    assert_eq!(places(|r| labels(&vec!["x".to_owned(); 21], r)), ["/labels"]);
    for bad in [11, -11, 300, i64::MAX] {
        assert_eq!(places(|r| assert_eq!(priority(Some(bad), r), 0)), ["/priority"]);
    }
    assert_eq!(places(|r| foreign_id("/osFeatureId", Some("a\nb"), r)), ["/osFeatureId"]);
    assert_eq!(places(|r| client_name(" ", r)), ["/name"]);
    assert_eq!(places(|r| body(Some(&"x".repeat(32_769)), r)), ["/body"]);
}

#[test]
fn an_unknown_agent_is_a_fault() {
    let wish = RunOptions { agent: Some("nobody".to_owned()), ..RunOptions::default() };
    assert_eq!(places(|r| options(&wish, Layer::Job, &settings(), r)), ["/options/agent"]);
}

#[test]
fn secrets_are_named_by_clients_and_profiles_only_and_have_to_be_there() {
    let wish = |secret: &str| RunOptions {
        set_env: Some([("TOKEN".to_owned(), secret.to_owned())].into()),
        ..RunOptions::default()
    };
    for layer in [Layer::Client, Layer::Profile] {
        assert_eq!(places(|r| options(&wish("npm"), layer, &settings(), r)), Vec::<String>::new());
        let mut reading = Reading::default();
        options(&wish("sentri"), layer, &settings(), &mut reading);
        assert_eq!(reading.faults.len(), 1);
        assert_eq!(reading.faults[0].pointer, "/options/setEnv/TOKEN");
        assert!(reading.faults[0].detail.ends_with("; did you mean sentry?"), "{:?}", reading.faults);
    }
    // nor is whoever uses such a profile
    let mut reading = Reading::default();
    options_still_fit(&wish("sentri"), &settings(), &mut reading);
    let told = "names the secret \"sentri\", which is not in [secrets] of the configuration";
    assert_eq!((reading.faults.len(), reading.faults[0].detail.as_str()), (1, told));
    // a job is not told which there are
    for secret in ["npm", "nmp"] {
        let mut reading = Reading::default();
        options(&wish(secret), Layer::Job, &settings(), &mut reading);
        assert_eq!(reading.faults.len(), 1, "{:?}", reading.faults);
        let fault = &reading.faults[0];
        let told = (fault.pointer.as_str(), fault.detail.as_str());
        assert_eq!(told, ("/options/setEnv", "can be set for a client or a profile only"));
    }
}

#[test]
fn what_the_agent_cannot_carry_out_is_refused_by_its_name_wherever_it_is_set() {
    let refused = |login: &str, options: &RunOptions, below: &RunOptions| {
        let mut reading = Reading::default();
        let merged = RunOptions::merge(&[options, below]);
        carried_out(login, options, &merged, &settings(), &mut reading);
        reading.not_supported
    };
    let none = RunOptions::default();
    let turns = RunOptions { max_turns: Some(3), model: Some("m".to_owned()), ..RunOptions::default() };
    assert_eq!(refused("claude", &turns, &none), []);
    assert_eq!(refused("unheard-of", &turns, &none), [], "that is told elsewhere");
    let faults = refused("codex", &turns, &none);
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert_eq!(faults[0].pointer, "/options/maxTurns");
    assert_eq!(faults[0].detail, "cannot be carried out: the agent \"codex\" is of the kind codex");
    // nothing tells what it costs, so a client's money for the day cannot be held either
    let day = RunOptions { max_budget_usd_per_day_micros: Some(1), ..RunOptions::default() };
    assert_eq!(refused("claude", &none, &day), []);
    let faults = refused("codex", &none, &day);
    assert_eq!(faults[0].pointer, "/options/maxBudgetUsdPerDay");
    assert!(faults[0].detail.starts_with("cannot be held, because nothing tells what a run costs"));
    let faults = refused("codex", &none, &turns);
    assert!(
        faults[0].detail.ends_with("; the option is set by the profile, for the client or in [defaults]"),
        "{faults:?}"
    );
    let pointers: Vec<_> = refused("mine", &turns, &none).into_iter().map(|fault| fault.pointer).collect();
    assert_eq!(pointers, ["/options/model", "/options/maxTurns"]);
}
