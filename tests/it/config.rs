//! Layers, rules and messages of the configuration.

use std::path::Path;

use offshoot::config::{Config, ConfigError, Environment, Flags, Origin};
use offshoot::domain::options::Publish;
use secrecy::ExposeSecret as _;

const SECRET: &str = "0123456789abcdef0123456789abcdef";

fn load_with(flags: &Flags, pairs: &[(&str, &str)], text: &str) -> Result<Config, ConfigError> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("config.toml");
    std::fs::write(&file, text).unwrap();
    chmod(&file, 0o600);
    let mut all = vec![("HOME", "/home/ada")];
    all.extend_from_slice(pairs);
    Config::load(flags, &Environment::from_pairs(all), Some(&file))
}

fn chmod(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

fn load(pairs: &[(&str, &str)], text: &str) -> Result<Config, ConfigError> {
    load_with(&Flags::default(), pairs, text)
}

fn serving() -> Flags {
    Flags { serving: true, ..Flags::default() }
}

/// The faults, each as "key (source) rule", without remedies.
fn faults(result: Result<Config, ConfigError>) -> Vec<String> {
    let problems = result.expect_err("a fault").problems;
    problems.iter().map(|problem| problem.to_string().lines().next().unwrap().to_owned()).collect()
}

#[test]
fn nothing_said_gives_the_defaults() {
    let config = load(&[], "").unwrap();
    assert_eq!(config.server.address().to_string(), "127.0.0.1:3456");
    assert_eq!(
        (config.server.max_concurrent_jobs, config.server.queue_max, config.server.drain_seconds),
        (2, 1000, 30)
    );
    assert_eq!(config.paths.data_dir, Path::new("/home/ada/.local/share/offshoot"));
    assert_eq!(config.paths.repos_dir, config.paths.data_dir.join("repos"));
    assert_eq!(config.paths.run_dir(), config.paths.data_dir.join("run"));
    assert_eq!(config.github.clone_url, "git@github.com:{org}/{repo}.git");
    let names: Vec<&str> = config.agents.keys().map(String::as_str).collect();
    assert_eq!(names, ["acp", "claude", "codex", "command", "gemini", "opencode"]);
    assert!(config.rows().iter().all(|row| row.origin == Origin::Default));
    assert!(config.warnings().is_empty());
}

#[test]
fn a_flag_beats_a_variable_beats_its_twin_beats_the_file() {
    let file = "[server]\nport = 1";
    let twin = ("OFFSHOOT_SERVER_PORT", "2");
    let frozen = ("PORT", "3");
    let flags = Flags { port: Some(4), ..Flags::default() };
    let origin = |config: &Config| {
        config.rows().iter().find(|row| row.key == "server.port").map(|row| row.origin.to_string()).unwrap()
    };
    let table = [
        (load(&[], file), 1, "file, line 2"),
        (load(&[twin], file), 2, "OFFSHOOT_SERVER_PORT"),
        (load(&[twin, frozen], file), 3, "PORT"),
        (load(&[twin, ("PORT", "")], file), 2, "OFFSHOOT_SERVER_PORT"),
        (load_with(&flags, &[twin, frozen], file), 4, "--port"),
    ];
    for (config, port, from) in table {
        let config = config.unwrap();
        assert_eq!((config.server.port, origin(&config).as_str()), (port, from));
    }
}

#[test]
fn every_frozen_name_is_read() {
    let pairs = [
        ("AGENT_API_SECRET", SECRET),
        ("PORT", "4000"),
        ("MAX_CONCURRENT_JOBS", "5"),
        ("REPOS_DIR", "/srv/repos"),
        ("WORKTREES_DIR", "~/trees"),
        ("WEBHOOK_SECRET", "hook"),
        ("LOG_LEVEL", "debug"),
        ("GITHUB_TOKEN", "ghp_x"),
    ];
    let config = load(&pairs, "").unwrap();
    assert_eq!(config.admin_secret().unwrap().expose_secret(), SECRET);
    assert_eq!((config.server.port, config.server.max_concurrent_jobs), (4000, 5));
    assert_eq!(config.paths.repos_dir, Path::new("/srv/repos"));
    assert_eq!(config.paths.worktrees_dir, Path::new("/home/ada/trees"));
    assert_eq!(config.callbacks.secret.unwrap().expose_secret(), "hook");
    assert_eq!(config.github.token.unwrap().expose_secret(), "ghp_x");
    assert_eq!(config.log.level, "debug");
}

#[test]
fn every_fixed_key_has_a_variable() {
    // A bell fits no key at all and must be noticed at the right one.
    let config = load(&[], "").unwrap();
    for row in config.rows().iter().filter(|row| !row.key.starts_with("agents.")) {
        let name = format!("OFFSHOOT_{}", row.key.replace('.', "_").to_uppercase());
        let found = faults(load(&[(&name, "\u{7}")], ""));
        assert!(
            found.iter().any(|fault| fault.starts_with(&format!("{} ({name})", row.key))),
            "{name}: {found:?}"
        );
    }
}

#[test]
fn lists_and_named_sections_come_from_variables_too() {
    let pairs = [
        ("OFFSHOOT_GITHUB_ALLOWED_ORGS", "acme, initech"),
        ("OFFSHOOT_GIT_PROTECTED_BRANCHES", "[\"main\", \"release/a,b\"]"),
        ("OFFSHOOT_AGENTS_CLAUDE_COMMAND", "/opt/claude"),
        ("OFFSHOOT_AGENTS_CLAUDE_SET_ENV", "{\"A\": \"1\"}"),
        ("OFFSHOOT_DEFAULTS_MAX_BUDGET_USD", "1.5"),
    ];
    let config = load(&pairs, "").unwrap();
    assert_eq!(config.github.allowed_orgs, ["acme", "initech"]);
    assert_eq!(config.git.protected_branches, ["main", "release/a,b"]);
    assert_eq!(config.agents["claude"].command.as_deref(), Some("/opt/claude"));
    assert_eq!(config.agents["claude"].set_env["A"].expose_secret(), "1");
    assert_eq!(config.defaults.max_budget_usd_micros, Some(1_500_000));
}

#[test]
fn a_file_says_everything_in_its_own_words() {
    let text = r#"
        [agents.work]
        kind = "command"
        command = "/usr/bin/env"
        args = ["true"]
        env = ["EDITOR"]
        set_env = { TOKEN = { secret = "npm" }, MODE = "fast" }
        [secrets]
        npm = "s3cret"
        [defaults]
        agent = "work"
        publish = "branch"
        timeout_seconds = 60
        [profiles.deps]
        prompt = "Update {{package}}: {{ prompt }}"
        set_env = { NPM_TOKEN = "npm" }
        draft = true
        [profiles.quick]
        submit = true
        model = "haiku"
    "#;
    let config = load(&[], text).unwrap();
    let (deps, quick) = (&config.profiles["deps"], &config.profiles["quick"]);
    let variables = deps.template.as_ref().unwrap().variables().into_iter().collect::<Vec<_>>();
    assert_eq!((deps.name.as_str(), variables, deps.submit), ("deps", vec!["package", "prompt"], false));
    assert_eq!(
        (deps.options.draft, deps.options.set_env.as_ref().unwrap()["NPM_TOKEN"].as_str()),
        (Some(true), "npm")
    );
    assert_eq!((quick.template.as_ref(), quick.submit, quick.options.publish), (None, true, None));
    assert_eq!(config.warnings(), []);
    assert_eq!(config.agents["work"].set_env["TOKEN"].expose_secret(), "s3cret");
    assert_eq!(config.agents["work"].env, ["EDITOR"]);
    assert_eq!((config.defaults.publish, config.defaults.timeout_seconds), (Some(Publish::Branch), Some(60)));
    assert_eq!(config.defaults.max_turns, None);
}

#[test]
fn all_faults_are_told_at_once_with_the_place_of_each() {
    let text = "[server]\nprot = 1\nqueue_max = 0\n\n[sevrer]\nport = 1\n[log]\nlevel = \"inf\"\n";
    let found = faults(load(&[("PORT", "70000"), ("REPOS_DIR", "repos"), ("OFFSHOOT_LOG_LEVLE", "x")], text));
    let expected = [
        "server.prot (file, line 2) is not a known key; did you mean server.port?",
        "server.queue_max (file, line 3) must be a whole number between 1 and 100000",
        "sevrer (file, line 5) is not a known key; did you mean server?",
        "log.level (file, line 8) must be error, warn, info, debug or trace; did you mean info?",
        "server.port (PORT) must be a whole number between 0 and 65535",
        "paths.repos_dir (REPOS_DIR) must be an absolute path, or one that starts with ~/",
        "OFFSHOOT_LOG_LEVLE names no known key; did you mean log.level?",
    ];
    for fault in expected {
        assert!(found.contains(&fault.to_owned()), "{fault}\nis not among\n{}", found.join("\n"));
    }
    assert_eq!(found.len(), expected.len(), "{found:#?}");
}

/// A faulty file, and how the message about it begins.
const FAULTY: &[(&str, &str)] = &[
    ("[server]\nbind = \"example.org\"", "server.bind (file, line 2) must be an IP address"),
    ("[server]\nallowed_hosts = [\"a/b\"]", "server.allowed_hosts (file, line 2) must hold host names"),
    ("[server]\nport = \"3456\"", "server.port (file, line 2) must be a whole number"),
    ("[paths]\nrepos_dir = \"/a/../b\"", "paths.repos_dir (file, line 2) must be an absolute path"),
    (
        "[paths]\nrepos_dir = \"/x\"\nworktrees_dir = \"/x\"",
        "paths.repos_dir (file, line 2) must not be paths.worktrees_dir",
    ),
    ("[github]\napp_id = 1", "github.app_key_file must be set too: github.app_id is, and an App needs"),
    ("[github]\napp_key_file = \"/k\"", "github.app_installation_id must be set too: github.app_key_file is"),
    (
        "[github]\napp_id = 1\ntoken = \"x\"",
        "github.token (file, line 3) and github.app_id (file, line 2) are both set: keep one",
    ),
    (
        "[github]\napp_id = 1\napp_key_file = \"/nowhere/k\"\napp_installation_id = 2",
        "github.app_key_file names a file that cannot be read",
    ),
    ("[github]\napi_url = \"ftp://x\"", "github.api_url (file, line 2) must be an http or https URL"),
    ("[github]\napi_url = \"https://me:pw@x\"", "github.api_url (file, line 2) must be an http or https URL"),
    ("[github]\nclone_url = \"https://github.com/x\"", "github.clone_url (file, line 2) must contain {org}"),
    ("[github]\nclone_url = \"ext::sh -c {org}{repo}\"", "github.clone_url (file, line 2) must be an https"),
    ("[github]\nclone_url = \"-oProxy:{org}/{repo}\"", "github.clone_url (file, line 2) must be an https"),
    (
        "[github]\nclone_url = \"https://t0ken@h/{org}/{repo}\"",
        "github.clone_url (file, line 2) must not contain",
    ),
    ("[git]\nauthor_name = \"a <b>\"", "git.author_name (file, line 2) must be one line"),
    ("[agents.mine]\ncommand = \"x\"", "agents.mine.kind must be set"),
    ("[agents.mine]\nkind = \"command\"", "agents.mine.command must be set"),
    (
        "[agents.claude]\ncommand = \"./claude\"",
        "agents.claude.command (file, line 2) must be an absolute path",
    ),
    (
        "[agents.claude]\nenv = [\"WEBHOOK_SECRET\"]",
        "agents.claude.env (file, line 2) must not name WEBHOOK_SECRET",
    ),
    (
        "[agents.claude.set_env]\nA = { secret = \"no\" }",
        "agents.claude.set_env (file, line 1) names the secret no",
    ),
    ("[defaults]\nagent = \"nobody\"", "defaults.agent (file, line 2) names the agent nobody"),
    ("[defaults]\nmax_attempts = 11", "defaults.max_attempts (file, line 2) must be a whole number"),
    (
        "[defaults]\nset_env = { A = \"a\" }",
        "defaults.set_env (file, line 2) can be set for a client or a profile",
    ),
    (
        "[defaults]\ncopy_files = [\"ok\", \"../x\"]",
        "defaults.copy_files (file, line 2) is wrong: entry 2 must be",
    ),
    ("[profiles.p]\nset_env = { A = \"a\" }", "profiles.p.set_env names the secret a"),
    ("[profiles.p]\nprompt = \"Review {{path\"", "profiles.p.prompt (file, line 2) has a {{ in line 1"),
    ("[profiles.p]\nprompt = \"\"", "profiles.p.prompt (file, line 2) must not be empty"),
    ("[profiles.Big]\nsubmit = true", "profiles.Big must be named with"),
    (
        "[callbacks]\nprevious_secret = \"x\"",
        "callbacks.previous_secret (file, line 2) needs callbacks.secret",
    ),
    ("[notify.x]\nkind = \"ntfy\"", "notify.x.url must be set for kind ntfy, or notify.x.url_file"),
    ("[notify.x]\non = [\"failed\"]", "notify.x.kind must be set to one of ntfy, slack,"),
    ("[notify.x]\nkind = \"slak\"", "notify.x.kind (file, line 2) must be ntfy, slack, discord, desktop or"),
    ("[notify.x]\nkind = \"command\"", "notify.x.command must be set for kind command"),
    (
        "[notify.x]\nkind = \"command\"\ncommand = [\"bin/tell\"]",
        "notify.x.command (file, line 3) must be a program and its arguments",
    ),
    (
        "[notify.x]\nkind = \"desktop\"\non = [\"job.failed\"]",
        "notify.x.on (file, line 3) must name one or more of finished, failed, held, needs_input",
    ),
    ("[notify.x]\nkind = \"desktop\"\non = []", "notify.x.on (file, line 3) must name one or more of"),
    (
        "[notify.x]\nkind = \"desktop\"\nurl = \"https://h/\"",
        "notify.x.url (file, line 3) is nothing for kind desktop",
    ),
    (
        "[notify.x]\nkind = \"slack\"\nurl = \"https://h/\"\ntoken = \"t\"",
        "notify.x.token (file, line 4) is nothing for kind slack",
    ),
    (
        "[notify.x]\nkind = \"ntfy\"\nurl = \"https://me:pw@h/t\"",
        "notify.x.url (file, line 3) must be an http or https URL without a user name",
    ),
    ("[notify.x]\nkind = \"slack\"\nurl = \"ftp://h/t\"", "notify.x.url (file, line 3) must be an http"),
    (
        "[notify.x]\nkind = \"ntfy\"\nurl = \"https://h/t\"\ntoken = \"a b\"",
        "notify.x.token (file, line 4) must be printable ASCII",
    ),
    (
        "[notify.x]\nkind = \"ntfy\"\nurll = \"https://h/t\"",
        "notify.x.urll (file, line 3) is not a known key; did",
    ),
    (
        "[server]\npublic_url = \"offshoot.lan\"",
        "server.public_url (file, line 2) must be an http or https URL",
    ),
    ("[server]\npublic_url = \"https://:pw@h\"", "server.public_url (file, line 2) must be an http or https"),
    ("[server]\npublic_url = \"https://h/?a\"", "server.public_url (file, line 2) must be an http or https"),
    (
        "[callbacks]\nallow = [\"10.0.0.0/8\", \"10.0.0.0/33\"]",
        "callbacks.allow (file, line 2) must hold hosts, addresses or networks, each with a port or without, \
         such as 192.168.1.5:8080; entry 2 is none",
    ),
    (
        "[notify.x]\nkind = \"ntfy\"\nurl = \"https://h/t\"\nallow = [\"http://192.168.1.5:8080\"]",
        "notify.x.allow (file, line 4) must hold hosts, addresses or networks",
    ),
    ("[git]\nsigning_key = \"x\"", "git.signing_key (file, line 2) is not supported yet (not_supported)"),
    ("[sandbox]\nwrite = [\"~/go\", \"go\"]", "sandbox.write (file, line 2) must hold absolute paths"),
    ("[agents.Big]\nkind = \"claude\"", "agents.Big must be named with"),
    ("[secrets]\n\"a b\" = \"x\"", "secrets.a b must be named with"),
    ("[server\n", "the configuration file (file, line 1) is not TOML"),
];

#[test]
fn what_breaks_a_rule_is_refused() {
    for (text, expected) in FAULTY {
        let found = faults(load(&[], text));
        assert!(found.iter().any(|fault| fault.starts_with(expected)), "{text}\n{found:#?}");
    }
}

#[test]
fn good_clone_urls_pass() {
    for url in [
        "https://h/{org}/{repo}.git",
        "ssh://git@h:22/{org}/{repo}",
        "file:///srv/{org}/{repo}.git",
        "/srv/{org}/{repo}.git",
        "me@h:{org}/{repo}",
    ] {
        assert!(load(&[("OFFSHOOT_GITHUB_CLONE_URL", url)], "").is_ok(), "{url}");
    }
}

#[test]
fn a_data_directory_too_deep_for_sockets_is_refused() {
    let deepest = format!("/{}", "d".repeat(57));
    let flags = |dir: &str| Flags { data_dir: Some(dir.into()), ..Flags::default() };
    assert!(load_with(&flags(&deepest), &[], "").is_ok());
    let found = faults(load_with(&flags(&format!("{deepest}d")), &[], ""));
    assert_eq!(found, ["paths.data_dir (--data-dir) must be at most 58 bytes long: sockets lie in it"]);
}

#[test]
fn what_is_not_built_is_said_at_start() {
    let text = "[retention]\nlog_days = 5\n[policy]\nsecrets = \"allow\"";
    let config = load(&[("OFFSHOOT_RIG", "/rig"), ("OFFSHOOT_SECRET", "x")], text).unwrap();
    let told: Vec<_> =
        config.warnings().iter().map(|warning| (warning.code, warning.text.as_str())).collect();
    let expected =
        [("unknown_variable", "the variable OFFSHOOT_SECRET means nothing to offshoot and is ignored")];
    assert_eq!(told, expected);
    // nobody who asks for it wants to go on without it
    let found = faults(load(&[("OFFSHOOT_GIT_SIGNING_KEY", "key")], ""));
    assert!(found.len() == 1 && found[0].contains("not_supported"), "{found:?}");
}

#[test]
fn whoever_is_to_be_told_is_read_from_every_layer() {
    let text = "[server]\npublic_url = \"https://box.example.ts.net/\"\n[notify.phone]\nkind = \"ntfy\"\n\
        url = \"https://ntfy.sh/t\"\non = [\"failed\"]\n[notify.mine]\nkind = \"command\"\ncommand = [\"tell\", \"-x\"]";
    let config = load(&[("OFFSHOOT_NOTIFY_PHONE_ON", "held,finished")], text).unwrap();
    assert_eq!(config.server.public_url.as_deref(), Some("https://box.example.ts.net"));
    let words = |name: &str| config.notify[name].on.iter().map(|one| one.as_str()).collect::<Vec<_>>();
    assert_eq!(words("phone"), ["held", "finished"]);
    assert_eq!(words("mine"), ["finished", "failed", "held", "needs_input"], "all, where nothing is said");
    assert_eq!(config.notify["mine"].command, ["tell", "-x"]);
    assert!(config.warnings().is_empty(), "{:?}", config.warnings());
}

#[test]
fn the_address_of_links_is_kept_as_it_was_read_and_has_to_be_answered() {
    let allowed = "[server]\nallowed_hosts = [\"Box.lan\", \"xn--bcher-kva.example:8443\"]";
    for (said, kept, is_answered) in [
        (" https://Box.LAN/off\nshoot// ", "https://box.lan/offshoot", true),
        ("https://bücher.example:8443", "https://xn--bcher-kva.example:8443", true),
        ("https://bücher.example", "https://xn--bcher-kva.example", false),
        ("http://other.lan:3456", "http://other.lan:3456", false),
        ("http://localhost:3456/", "http://localhost:3456", true),
        ("http://10.0.0.7:3456/", "http://10.0.0.7:3456", true),
    ] {
        let pairs =
            [("AGENT_API_SECRET", SECRET), ("WEBHOOK_SECRET", "x"), ("OFFSHOOT_SERVER_PUBLIC_URL", said)];
        let config = load_with(&serving(), &pairs, allowed).unwrap();
        assert_eq!(config.server.public_url.as_deref(), Some(kept), "{said}");
        let codes: Vec<_> = config.warnings().iter().map(|warning| warning.code).collect();
        let expected: &[&str] = if is_answered { &[] } else { &["unknown_host"] };
        assert_eq!(codes, expected, "{said}");
    }
}

#[test]
fn serving_needs_a_secret_that_fits_the_address() {
    let code = |result: Result<Config, ConfigError>| result.map(drop).map_err(|error| error.exit_code());
    let bind = |address| [("AGENT_API_SECRET", "short-7"), ("OFFSHOOT_SERVER_BIND", address)];
    assert!(load(&[], "").is_ok(), "looking at the configuration needs no secret");
    let error = load_with(&serving(), &[], "").unwrap_err();
    assert_eq!(error.exit_code(), 78);
    assert!(error.to_string().contains("export AGENT_API_SECRET=$(openssl rand -hex 32)"), "{error}");
    let also = load_with(&serving(), &[("REPOS_DIR", "x")], "").unwrap_err();
    assert_eq!(also.problems.len(), 2, "a missing secret is told together with other faults: {also}");
    for address in ["0.0.0.0", "::", "192.168.1.2", "::ffff:10.0.0.1"] {
        assert_eq!(code(load_with(&serving(), &bind(address), "")), Err(78), "{address}");
    }
    for address in ["127.0.0.1", "::1", "localhost", "::ffff:127.0.0.1"] {
        let config = load_with(&serving(), &bind(address), "").unwrap();
        assert_eq!(config.warnings()[0].code, "weak_secret", "{address}");
    }
    let open = [("AGENT_API_SECRET", SECRET), ("OFFSHOOT_SERVER_BIND", "0.0.0.0"), ("WEBHOOK_SECRET", "x")];
    let config = load_with(&serving(), &open, "").unwrap();
    let codes: Vec<_> = config.warnings().iter().map(|warning| warning.code).collect();
    assert_eq!(codes, ["exposed", "exposed"]);
    let bare = load_with(&serving(), &[("AGENT_API_SECRET", SECRET)], "").unwrap();
    assert_eq!(bare.warnings()[0].code, "unsigned_callbacks");
}

#[test]
fn callbacks_are_tried_as_promised_when_nobody_says_otherwise() {
    let callbacks = load(&[], "").unwrap().callbacks;
    assert_eq!(callbacks.retry_seconds, offshoot::webhook::schedule::DELAYS_SECONDS[1..]);
    assert_eq!(callbacks.timeout_seconds, 30);
}

#[test]
fn a_program_on_this_machine_finds_the_server() {
    for (bind, url) in [
        ("127.0.0.1", "http://127.0.0.1:3456"),
        ("0.0.0.0", "http://127.0.0.1:3456"),
        ("::", "http://[::1]:3456"),
        ("::1", "http://[::1]:3456"),
        ("::ffff:0.0.0.0", "http://127.0.0.1:3456"),
        ("10.0.0.7", "http://10.0.0.7:3456"),
    ] {
        let server = load(&[("OFFSHOOT_SERVER_BIND", bind)], "").unwrap().server;
        assert_eq!(server.local_url(), url);
        assert!(server.is_reached_at(&url.parse().unwrap()), "{url}");
        for other in
            ["http://127.0.0.1:3457", "https://127.0.0.1", "http://192.0.2.1:3456", "http://example.org:3456"]
        {
            assert!(!server.is_reached_at(&other.parse().unwrap()), "{bind}, {other}");
        }
        let is_here = !bind.starts_with("10.");
        assert_eq!(server.is_reached_at(&"http://localhost:3456".parse().unwrap()), is_here, "{bind}");
    }
}

#[test]
fn without_a_home_the_data_directory_must_be_said() {
    let none: [(&str, &str); 0] = [];
    let found = faults(Config::load(&Flags::default(), &Environment::from_pairs(none), None));
    assert_eq!(found, ["paths.data_dir must be set: there is no home directory"]);
    let env = Environment::from_pairs([("OFFSHOOT_PATHS_DATA_DIR", "/srv/offshoot")]);
    assert!(Config::load(&Flags::default(), &env, None).is_ok());
}

#[test]
fn children_see_what_they_need_and_no_more() {
    let env = Environment::from_pairs([
        ("HOME", "/h"),
        ("LC_ALL", "C"),
        ("PATH", "/bin"),
        ("SSH_AUTH_SOCK", "/s"),
        ("XDG_RUNTIME_DIR", "/run/user/1"),
        ("ANTHROPIC_API_KEY", "k"),
        ("AGENT_API_SECRET", SECRET),
        ("GITHUB_TOKEN", "t"),
        ("OFFSHOOT_TOKEN", "o"),
        ("RANDOM", "r"),
    ]);
    let names = |map: std::collections::BTreeMap<std::ffi::OsString, std::ffi::OsString>| -> Vec<String> {
        map.into_keys().map(|name| name.into_string().unwrap()).collect()
    };
    assert_eq!(names(env.for_git()), ["HOME", "LC_ALL", "PATH", "SSH_AUTH_SOCK", "XDG_RUNTIME_DIR"]);
    let wanted =
        ["ANTHROPIC_API_KEY", "AGENT_API_SECRET", "GITHUB_TOKEN", "OFFSHOOT_TOKEN", "XDG_RUNTIME_DIR"];
    let wanted: Vec<String> = wanted.iter().map(|&name| name.to_owned()).collect();
    assert_eq!(names(env.for_agent(&wanted)), ["ANTHROPIC_API_KEY", "HOME", "LC_ALL", "PATH"]);
    assert!(!format!("{env:?}").contains(SECRET));
}

#[test]
fn the_try_out_of_the_readme_serves() {
    let text = crate::readme::blocks("try-out").concat();
    let config = load_with(&serving(), &[("AGENT_API_SECRET", SECRET)], &text).unwrap();
    assert_eq!(
        (config.defaults.agent.as_deref(), config.defaults.publish),
        (Some("script"), Some(Publish::Branch))
    );
    // one fault of an agent is one problem, with what to write
    let faulty = load(&[], &text.replace("kind = \"command\"\n", "")).expect_err("no kind");
    let [problem] = &faulty.problems[..] else { panic!("{faulty}") };
    let told = problem.to_string();
    assert!(told.starts_with("agents.script.kind") && told.contains("kind = \"command\""), "{told}");
}
