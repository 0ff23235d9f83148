use super::*;
use crate::agent::tests as shared;

fn invocation() -> Invocation {
    Invocation { permission_mode: Some("acceptEdits".to_owned()), ..shared::invocation("opencode") }
}

#[test]
fn the_argument_table() {
    type Change = fn(&mut Invocation);
    let rows: [(Change, &[&str]); 4] = [
        (|_| {}, &[]),
        (
            |i| i.session = Session::Resume { id: "ses_e05ddd353ffe".to_owned() },
            &["--session=ses_e05ddd353ffe"],
        ),
        (|i| i.model = Some("--share".to_owned()), &["--model=--share"]),
        (|i| i.permission_mode = Some("plan".to_owned()), &["--agent=plan"]),
    ];
    for (change, expected) in rows {
        let mut given = invocation();
        change(&mut given);
        let argv = Opencode.command(&given).unwrap().argv;
        assert_eq!(argv[..4], ["opencode", "run", "--format=json", "--dir=/w/tree"]);
        assert_eq!(argv[4..], *expected);
    }
}

#[test]
fn the_prompt_is_on_standard_input_behind_the_instructions() {
    let given = Invocation { append_system_prompt: Some("Do not push.\n".to_owned()), ..invocation() };
    let command = Opencode.command(&given).unwrap();
    assert_eq!(command.stdin, "Do not push.\n\n--help and fix it");
    assert!(!command.argv.iter().any(|argument| argument.contains("fix it") || argument.contains("push")));
    assert_eq!(Opencode.command(&invocation()).unwrap().stdin, "--help and fix it");
}

#[test]
fn each_mode_is_a_set_of_rules_that_asks_nobody() {
    let rules = |mode: Option<&str>, sandboxed| {
        let given = Invocation { permission_mode: mode.map(str::to_owned), sandboxed, ..invocation() };
        let env = Opencode.command(&given).unwrap().env;
        env.into_iter().find(|(name, _)| name == "OPENCODE_PERMISSION").map(|(_, value)| value)
    };
    let rows = [
        (Some("plan"), false, Some("deny"), Some("deny")),
        (Some("acceptEdits"), false, Some("allow"), None),
        (Some("bypassPermissions"), false, Some("allow"), Some("allow")),
        (None, true, Some("allow"), Some("allow")),
        (None, false, Some("allow"), None),
    ];
    for (mode, sandboxed, edit, bash) in rows {
        let text = rules(mode, sandboxed).unwrap();
        let read: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert!(!text.contains("ask"), "{text}");
        assert_eq!((read["edit"].as_str(), read["bash"].as_str()), (edit, bash), "{mode:?}");
        if mode == Some("acceptEdits") {
            assert_eq!(
                (&read["bash"]["*"], &read["bash"]["git commit *"]),
                (&"deny".into(), &"allow".into())
            );
        }
        assert_eq!(read["question"], "deny", "nobody is there");
    }
    assert_eq!(rules(Some("default"), false), None);
}

#[test]
fn what_came_with_the_task_may_be_read_and_nothing_else_outside() {
    let attachments = vec!["/d/7/attachments/x.png".into()];
    let command = Opencode.command(&Invocation { attachments, ..invocation() }).unwrap();
    let rules = command.env.iter().find(|(name, _)| name == "OPENCODE_PERMISSION").unwrap();
    let outside = r#""external_directory":{"*":"deny","/d/7/attachments/*":"allow"}"#;
    assert!(rules.1.contains(outside) && rules.1.contains(r#""edit":"allow""#), "{}", rules.1);
    assert!(command.stdin.contains("- /d/7/attachments/x.png"), "{}", command.stdin);
}

#[test]
fn what_is_no_session_of_its_own_is_refused_before_the_start() {
    for id in ["", "ses_", "--continue", "ses_../x", "0bd3fb1e-6a5c-4b8f-9f4e-0d6c9c8f2a11"] {
        let given = Invocation { session: Session::Resume { id: id.to_owned() }, ..invocation() };
        assert_eq!(Opencode.command(&given), Err(AgentError::SessionId(id.to_owned())));
    }
    let given = Invocation { model: Some("a\0b".to_owned()), ..invocation() };
    assert_eq!(Opencode.command(&given), Err(AgentError::Nul("run options")));
}

#[test]
fn a_stored_login_is_known_and_its_absence_is_not() {
    let probe = Opencode.probe(&["opencode".to_owned()]).unwrap();
    assert_eq!((probe.parse_version)("1.18.33\n"), Some(Version::new(1, 18, 33)));
    let auth = probe.auth.unwrap();
    let rows = [
        (Some(0), "┌  Credentials\n│\n└  2 credentials\n", AuthState::LoggedIn { method: None }),
        (Some(0), "└  1 credential\n", AuthState::LoggedIn { method: None }),
        (Some(0), "└  0 credentials\n\n└  1 environment variable\n", AuthState::Unknown),
        (Some(1), "└  2 credentials\n", AuthState::Unknown),
        (None, "credentials", AuthState::Unknown),
    ];
    for (exit, printed, state) in rows {
        assert_eq!((auth.parse)(exit, printed), state, "{printed}");
    }
    for name in Opencode.environment_names() {
        assert!(!name.contains("KEY") && !name.contains("TOKEN"), "{name}");
    }
}
