use super::*;
use crate::agent::tests as shared;

fn invocation() -> Invocation {
    Invocation {
        program: ["/o/offshoot", "acp", "--", "gemini", "--acp"].map(str::to_owned).to_vec(),
        permission_mode: Some("acceptEdits".to_owned()),
        ..shared::invocation("")
    }
}

#[test]
fn the_argument_table() {
    type Change = fn(&mut Invocation);
    let rows: [(Change, &[&str]); 6] = [
        (|_| {}, &["--mode=acceptEdits"]),
        (|i| i.permission_mode = Some("plan".to_owned()), &["--mode=plan"]),
        (
            |i| {
                i.permission_mode = None;
                i.sandboxed = true;
            },
            &["--mode=bypassPermissions"],
        ),
        (|i| i.session = Session::Resume { id: "-- x".to_owned() }, &["--mode=acceptEdits", "--resume=-- x"]),
        (|i| i.model = Some("--probe".to_owned()), &["--mode=acceptEdits", "--model=--probe"]),
        (
            |i| i.attachments = vec!["/d/7/attachments/x".into()],
            &["--mode=acceptEdits", "--directory=/d/7/attachments"],
        ),
    ];
    for (change, expected) in rows {
        let mut given = invocation();
        change(&mut given);
        let argv = Acp.command(&given).unwrap().argv;
        assert_eq!(argv[..2], ["/o/offshoot", "acp"]);
        assert_eq!(argv[2..argv.len() - 3], *expected);
        assert_eq!(argv[argv.len() - 3..], ["--", "gemini", "--acp"]);
    }
}

#[test]
fn the_prompt_is_on_standard_input_behind_the_instructions() {
    let given = Invocation { append_system_prompt: Some("Do not push.".to_owned()), ..invocation() };
    let command = Acp.command(&given).unwrap();
    assert_eq!(command.stdin, "Do not push.\n\n--help and fix it");
    assert!(!command.argv.iter().any(|argument| argument.contains("fix it")));
}

#[test]
fn what_cannot_be_an_argument_is_refused_before_the_start() {
    let given = Invocation { session: Session::Resume { id: String::new() }, ..invocation() };
    assert_eq!(Acp.command(&given), Err(AgentError::SessionId(String::new())));
    let given = Invocation { model: Some("a\0b".to_owned()), ..invocation() };
    assert_eq!(Acp.command(&given), Err(AgentError::Nul("run options")));
}

#[test]
fn an_agent_that_answers_is_there_whether_it_tells_its_version_or_not() {
    let probe = Acp.probe(&invocation().program).unwrap();
    assert_eq!(probe.version_argv[1..], ["acp", "--probe", "--", "gemini", "--acp"]);
    let rows = [
        ("ACP gemini-cli 0.61.0\n", Some(Version::new(0, 61, 0))),
        ("a word of the launcher\nACP OpenCode 1.18.33\n", Some(Version::new(1, 18, 33))),
        ("ACP  \n", Some(Version::new(0, 0, 0))),
        ("{\"acp\":\"failed\",\"message\":\"version 9.9.9\"}\n", None),
        ("", None),
    ];
    for (printed, version) in rows {
        assert_eq!((probe.parse_version)(printed), version, "{printed}");
    }
}

#[test]
fn the_places_are_those_of_the_program_behind_the_protocol() {
    let env: BTreeMap<String, String> = [("HOME".to_owned(), "/h".to_owned())].into();
    let rows = [
        (&["/b/gemini", "--acp"][..], AgentKind::Gemini),
        (&["node", "/n/claude-agent-acp.js"], AgentKind::Claude),
        (&["codex-acp"], AgentKind::Codex),
        (&["opencode", "acp"], AgentKind::Opencode),
    ];
    for (program, kind) in rows {
        let program: Vec<String> = program.iter().map(|word| (*word).to_owned()).collect();
        let expected = crate::agent::registry::find_agent(kind).own_places(&env);
        assert!(!expected.dirs.is_empty());
        assert_eq!(Acp.own_places_of(&program, &env), expected, "{program:?}");
    }
    assert_eq!(Acp.own_places_of(&["geminiature".to_owned()], &env), OwnPlaces::default());
}
