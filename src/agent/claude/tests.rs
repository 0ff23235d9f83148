use super::*;
use crate::agent::tests as shared;

fn invocation() -> Invocation {
    Invocation {
        prompt: "--dangerously-skip-permissions and fix it".to_owned(),
        allowed_tools: Some(vec![]),
        ..shared::invocation("claude")
    }
}

/// What stands between the fixed beginning and the fixed end.
fn options_of(invocation: &Invocation) -> Vec<String> {
    let command = Claude.command(invocation).unwrap();
    let head = ["claude", "--print", "--output-format=stream-json", "--verbose"];
    assert_eq!(command.argv[..4], head);
    let tail = ALWAYS_DISALLOWED_TOOLS.len();
    let settings = format!("--settings={SETTINGS}");
    assert!(command.argv.contains(&settings));
    let mut options = command.argv[4..].to_vec();
    options.retain(|option| *option != settings);
    let always = options.iter().filter(|option| {
        ALWAYS_DISALLOWED_TOOLS.iter().any(|tool| **option == format!("--disallowedTools={tool}"))
    });
    assert_eq!(always.count(), tail);
    options.retain(|option| {
        !ALWAYS_DISALLOWED_TOOLS.iter().any(|tool| *option == format!("--disallowedTools={tool}"))
    });
    options
}

#[test]
fn the_argument_table() {
    type Change = fn(&mut Invocation);
    let rows: [(Change, &[&str]); 7] = [
        (|_| {}, &["--session-id=shared::SESSION", "--permission-mode=acceptEdits"]),
        (
            |i| i.session = Session::Resume { id: shared::SESSION.to_owned() },
            &["--resume=shared::SESSION", "--permission-mode=acceptEdits"],
        ),
        (|i| i.sandboxed = true, &["--session-id=shared::SESSION", "--permission-mode=bypassPermissions"]),
        (
            |i| {
                i.model = Some("--opus".to_owned());
                i.effort = Some("high".to_owned());
                i.permission_mode = Some("dontAsk".to_owned());
            },
            &["--session-id=shared::SESSION", "--permission-mode=dontAsk", "--model=--opus", "--effort=high"],
        ),
        (
            |i| {
                i.max_turns = Some(7);
                i.max_budget_usd_micros = Some(1_020_000);
            },
            &[
                "--session-id=shared::SESSION",
                "--permission-mode=acceptEdits",
                "--max-turns=7",
                "--max-budget-usd=1.020000",
            ],
        ),
        (
            |i| {
                i.allowed_tools = Some(vec!["Bash(git *)".to_owned(), "-x".to_owned()]);
                i.disallowed_tools = vec!["WebFetch".to_owned()];
            },
            &[
                "--session-id=shared::SESSION",
                "--permission-mode=acceptEdits",
                "--allowedTools=Bash(git *)",
                "--allowedTools=-x",
                "--disallowedTools=WebFetch",
            ],
        ),
        (
            |i| i.append_system_prompt = Some("- be brief\n- be kind".to_owned()),
            &[
                "--session-id=shared::SESSION",
                "--permission-mode=acceptEdits",
                "--append-system-prompt=- be brief\n- be kind",
            ],
        ),
    ];
    for (change, expected) in rows {
        let mut given = invocation();
        change(&mut given);
        let expected: Vec<String> =
            expected.iter().map(|option| option.replace("shared::SESSION", shared::SESSION)).collect();
        assert_eq!(options_of(&given), expected);
    }
}

#[test]
fn the_prompt_is_on_standard_input_and_nowhere_else() {
    let command = Claude.command(&invocation()).unwrap();
    assert_eq!(command.stdin, invocation().prompt);
    assert!(!command.argv.iter().any(|argument| argument.contains("fix it")));
}

#[test]
fn attachments_are_named_and_may_be_read() {
    let attachments = vec!["/d/7/attachments/a b.png".into(), "/d/7/attachments/x".into()];
    let command = Claude.command(&Invocation { attachments, ..invocation() }).unwrap();
    assert!(command.argv.contains(&"--add-dir=/d/7/attachments".to_owned()));
    let list = "\n\n- /d/7/attachments/a b.png\n- /d/7/attachments/x\n";
    assert!(
        command.stdin.starts_with(&invocation().prompt) && command.stdin.ends_with(list),
        "{}",
        command.stdin
    );
    assert!(command.env.contains(&("OFFSHOOT_ATTACHMENTS".to_owned(), "/d/7/attachments".to_owned())));
}

#[test]
fn without_a_list_the_documented_tools_are_allowed_unless_everything_is() {
    let mut given = Invocation { allowed_tools: None, ..invocation() };
    let allowed = |given: &Invocation| {
        options_of(given).iter().filter(|option| option.starts_with("--allowedTools=")).count()
    };
    assert_eq!(allowed(&given), DEFAULT_ALLOWED_TOOLS.len());
    given.sandboxed = true;
    assert_eq!(allowed(&given), 0);
}

#[test]
fn the_environment_says_sandbox_only_inside_one_and_holds_no_key() {
    let plain = Claude.command(&invocation()).unwrap().env;
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(plain, [pair("PWD", "/w/tree"), pair("DISABLE_AUTOUPDATER", "1")]);
    let sandboxed = Claude.command(&Invocation { sandboxed: true, ..invocation() }).unwrap().env;
    assert!(sandboxed.contains(&pair("IS_SANDBOX", "1")));
    let names = Claude.environment_names();
    assert!(names.contains(&"HOME") && names.contains(&"CLAUDE_CONFIG_DIR"));
    for name in names {
        assert!(!name.contains("KEY") && !name.contains("TOKEN") && !name.contains("ANTHROPIC"), "{name}");
    }
}

#[test]
fn what_claude_refuses_is_refused_before_the_start() {
    let refused = |change: fn(&mut Invocation)| {
        let mut given = invocation();
        change(&mut given);
        Claude.command(&given).err()
    };
    let bypass: fn(&mut Invocation) = |i| {
        i.permission_mode = Some("bypassPermissions".to_owned());
        i.as_root = true;
    };
    assert_eq!(refused(bypass), Some(AgentError::BypassAsRoot));
    let bypass_in_sandbox: fn(&mut Invocation) = |i| {
        i.as_root = true;
        i.sandboxed = true;
    };
    assert_eq!(refused(bypass_in_sandbox), None);
    assert_eq!(refused(|i| i.program.clear()), Some(AgentError::EmptyProgram));
    assert_eq!(refused(|i| i.prompt = " \n".to_owned()), Some(AgentError::EmptyPrompt));
    assert_eq!(refused(|i| i.model = Some("a\0b".to_owned())), Some(AgentError::Nul("run options")));
    for id in ["job-1", "", "0bd3fb1e-6a5c-4b8f-9f4e-0d6c9c8f2a1g", "0bd3fb1e-6a5c-4b8f-9f4e-0d6c9c8f2a1"] {
        let given = Invocation { session: Session::New { id: id.to_owned() }, ..invocation() };
        assert_eq!(Claude.command(&given), Err(AgentError::SessionId(id.to_owned())));
    }
}

#[test]
fn the_login_is_read_from_the_status_and_the_exit_together() {
    let rows = [
        (
            Some(0),
            r#"{"loggedIn":true,"authMethod":"oauth_token","x":[1]}"#,
            AuthState::LoggedIn { method: Some("oauth_token".to_owned()) },
        ),
        (Some(1), r#"{"loggedIn":false}"#, AuthState::NotLoggedIn),
        (Some(1), r#"{"loggedIn":true}"#, AuthState::Unknown),
        (Some(0), "{}", AuthState::Unknown),
        (Some(1), "error: unknown command 'auth'", AuthState::Unknown),
        (None, "", AuthState::Unknown),
    ];
    let probe = Claude.probe(&["/opt/claude".to_owned(), "-x".to_owned()]).unwrap();
    assert_eq!(probe.version_argv, ["/opt/claude", "-x", "--version"]);
    assert_eq!(probe.auth.as_ref().unwrap().argv, ["/opt/claude", "-x", "auth", "status"]);
    for (exit, printed, state) in rows {
        assert_eq!((probe.auth.as_ref().unwrap().parse)(exit, printed), state, "{printed}");
    }
}
