use super::*;
use crate::agent::tests as shared;
use std::collections::BTreeMap;

const ID: &str = "01a1fa1a-5fc6-7710-8ba2-75c9997ba702";

fn invocation() -> Invocation {
    Invocation {
        prompt: "--dangerously-bypass-approvals-and-sandbox and fix it".to_owned(),
        permission_mode: Some("acceptEdits".to_owned()),
        session: Session::New { id: ID.to_owned() },
        ..shared::invocation("codex")
    }
}

/// The settings as codex reads them, and what stands behind them.
fn read_back(given: &Invocation) -> (BTreeMap<String, String>, Vec<String>) {
    let argv = Codex.command(given).unwrap().argv;
    assert_eq!(argv[..3], ["codex", "exec", "--json"]);
    let mut settings = BTreeMap::new();
    let mut rest = argv[3..].iter();
    let mut behind = Vec::new();
    while let Some(argument) = rest.next() {
        if argument != "-c" {
            behind.push(argument.clone());
            behind.extend(rest.by_ref().cloned());
            break;
        }
        let (key, value) = rest.next().unwrap().split_once('=').unwrap();
        let table: toml::Table = toml::from_str(&format!("value = {value}")).unwrap();
        settings.insert(key.to_owned(), table["value"].as_str().unwrap().to_owned());
    }
    (settings, behind)
}

#[test]
fn nobody_is_asked_and_the_prompt_is_on_standard_input_and_nowhere_else() {
    let (settings, behind) = read_back(&invocation());
    assert_eq!(settings["approval_policy"], "never");
    assert_eq!(behind, ["-"]);
    let command = Codex.command(&invocation()).unwrap();
    assert_eq!(command.stdin, invocation().prompt);
    assert!(!command.argv.iter().any(|argument| argument.contains("fix it")));
    assert_eq!(command.env, [("PWD".to_owned(), "/w/tree".to_owned())]);
}

#[test]
fn the_permission_mode_is_a_sandbox_of_its_own() {
    let sandbox = |mode: Option<&str>, sandboxed| {
        let given =
            Invocation { permission_mode: mode.map(str::to_owned), sandboxed, as_root: true, ..invocation() };
        read_back(&given).0.remove("sandbox_mode")
    };
    let rows = [
        (Some("plan"), false, Some("read-only")),
        (Some("acceptEdits"), false, Some("workspace-write")),
        (Some("bypassPermissions"), false, Some("danger-full-access")),
        (Some("default"), false, None),
        (None, false, Some("workspace-write")),
        (None, true, Some("danger-full-access")),
        (Some("unheard-of"), false, Some("workspace-write")),
    ];
    for (mode, sandboxed, expected) in rows {
        assert_eq!(sandbox(mode, sandboxed).as_deref(), expected, "{mode:?}");
    }
    for mode in Codex.capabilities().permission_modes {
        assert!(rows.iter().any(|(row, ..)| *row == Some(mode.as_str())), "{mode} has no row");
    }
}

#[test]
fn no_value_becomes_a_flag_or_another_setting() {
    let text = "- be \"brief\"\n''' \\ \u{7f} sandbox_mode=\"danger-full-access\"\n";
    let given = Invocation {
        model: Some("--oss".to_owned()),
        effort: Some("high".to_owned()),
        append_system_prompt: Some(text.to_owned()),
        session: Session::Resume { id: ID.to_owned() },
        ..invocation()
    };
    let (settings, behind) = read_back(&given);
    assert_eq!(behind, ["resume", ID, "-"]);
    assert_eq!(settings["model"], "--oss");
    assert_eq!(settings["model_reasoning_effort"], "high");
    assert_eq!(settings["developer_instructions"], text);
    assert_eq!(settings["sandbox_mode"], "workspace-write");
    assert_eq!(settings.len(), 5);
}

#[test]
fn what_codex_cannot_take_is_refused_before_the_start() {
    for id in ["--last", "job-1", ""] {
        let given = Invocation { session: Session::Resume { id: id.to_owned() }, ..invocation() };
        assert_eq!(Codex.command(&given), Err(AgentError::SessionId(id.to_owned())));
    }
    // no argument may hold it, and none does: it is written out
    let given = Invocation { append_system_prompt: Some("a\0b".to_owned()), ..invocation() };
    assert!(Codex.command(&given).is_ok_and(|command| !command.argv.iter().any(|a| a.contains('\0'))));
    assert_eq!(read_back(&given).0["developer_instructions"], "a\0b");
    let given = Invocation { prompt: " \n".to_owned(), ..invocation() };
    assert_eq!(Codex.command(&given), Err(AgentError::EmptyPrompt));
}

#[test]
fn the_program_is_looked_for_around_the_script_that_starts_it() {
    let found = Codex.native_programs(Path::new("/n/node_modules/@openai/codex/bin/codex.js"));
    let there = |path: &str| found.iter().any(|found| found == Path::new(path));
    for platform in
        ["codex-linux-x64/vendor/x86_64-unknown-linux-musl", "codex-darwin-arm64/vendor/aarch64-apple-darwin"]
    {
        assert!(there(&format!("/n/node_modules/@openai/{platform}/bin/codex")), "beside it");
        assert!(there(&format!("/n/node_modules/@openai/codex/node_modules/@openai/{platform}/bin/codex")));
    }
    assert!(there("/n/node_modules/@openai/codex/vendor/x86_64-unknown-linux-musl/bin/codex"));
    for other in ["/usr/bin/codex", "/opt/bin/codex.js", "codex"] {
        assert_eq!(Codex.native_programs(Path::new(other)), Vec::<PathBuf>::new(), "{other}");
    }
}

#[test]
fn a_login_is_known_and_its_absence_is_not() {
    let probe = Codex.probe(&["/opt/codex".to_owned()]).unwrap();
    assert_eq!(probe.version_argv, ["/opt/codex", "--version"]);
    assert_eq!((probe.parse_version)("codex-cli 0.169.0\n"), Some(Version::new(0, 169, 0)));
    let auth = probe.auth.unwrap();
    assert_eq!(auth.argv, ["/opt/codex", "login", "status"]);
    assert_eq!((auth.parse)(Some(0), ""), AuthState::LoggedIn { method: None });
    // it says so with the key of an own provider at hand, too
    assert_eq!((auth.parse)(Some(1), ""), AuthState::Unknown);
    for name in Codex.environment_names() {
        assert!(!name.contains("KEY") && !name.contains("TOKEN"), "{name}");
    }
}
