//! Secrets: where they come from, who may read their files, and that nothing shows them.

use std::fs::Permissions;
use std::io::Write;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex};

use offshoot::config::{Config, ConfigError, Environment, Flags, LogSettings, Origin};
use offshoot::telemetry;
use secrecy::{ExposeSecret as _, SecretString};

const SECRET: &str = "f00dfacef00dfacef00dfacef00dface";

fn write(path: &Path, text: &str, mode: u32) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn load(home: &Path, pairs: &[(&str, &str)], file: Option<&Path>) -> Result<Config, ConfigError> {
    let mut all = vec![("HOME".to_owned(), home.to_str().unwrap().to_owned())];
    all.extend(pairs.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())));
    Config::load(
        &Flags { serving: true, data_dir: Some("/d".into()), ..Flags::default() },
        &Environment::from_pairs(all),
        file,
    )
}

#[test]
fn a_secret_file_must_be_for_its_owner_alone() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("token");
    for (mode, code) in
        [(0o600, None), (0o400, None), (0o640, Some(77)), (0o644, Some(77)), (0o700, Some(77))]
    {
        write(&file, &format!("{SECRET}\n"), mode);
        let loaded = load(home.path(), &[("OFFSHOOT_SERVER_SECRET_FILE", "~/token")], None);
        match code {
            None => assert_eq!(loaded.unwrap().admin_secret().unwrap().expose_secret(), SECRET),
            Some(code) => {
                let error = loaded.unwrap_err();
                assert_eq!(error.exit_code(), code, "{mode:o}: {error}");
                assert!(error.to_string().contains("server.secret_file names a file of mode"), "{error}");
                assert!(error.to_string().contains("chmod 600"), "{error}");
            }
        }
        std::fs::remove_file(&file).unwrap();
    }
}

#[test]
fn a_secret_file_that_is_none_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let load_file = || load(home.path(), &[("OFFSHOOT_SERVER_SECRET_FILE", "~/token")], None).unwrap_err();
    let error = load_file();
    assert_eq!(error.exit_code(), 78);
    assert!(error.to_string().contains("names a file that cannot be read"), "{error}");
    let file = home.path().join("token");
    write(&file, "\n", 0o600);
    assert!(load_file().to_string().contains("names a file that is empty"));
    for wrong in ["x".repeat(70_000), "a\0b".to_owned()] {
        write(&file, &wrong, 0o600);
        assert!(load_file().to_string().contains("without a NUL character of at most 65536 bytes"));
    }
    std::fs::remove_file(&file).unwrap();
    nix::unistd::mkfifo(&file, nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
    assert!(load_file().to_string().contains("is not an ordinary file"));
}

/// What others have given out cannot be made anew; it is put into its file by hand.
#[test]
fn where_people_are_told_may_stand_in_files_and_what_is_wrong_with_one_is_said_of_it() {
    let home = tempfile::tempdir().unwrap();
    let config = home.path().join("config.toml");
    let (url, token) = (home.path().join("the url"), home.path().join("token"));
    let text = format!(
        "[notify.x]\nkind = \"ntfy\"\nurl_file = \"{}\"\ntoken_file = \"{}\"\n",
        url.display(),
        token.display()
    );
    write(&config, &text, 0o600);
    let load = || load(home.path(), &[("AGENT_API_SECRET", SECRET)], Some(&config));
    let told = || {
        let error = load().unwrap_err();
        (error.exit_code(), error.to_string())
    };
    let (code, error) = told();
    assert_eq!(code, 78);
    for (key, path) in [("url", format!("'{}'", url.display())), ("token", token.display().to_string())] {
        assert!(error.contains(&format!("notify.x.{key}_file names a file that cannot be read")), "{error}");
        assert!(error.contains(&format!("(umask 077 && ${{EDITOR:-vi}} {path})")), "{error}");
    }
    assert!(!error.contains("openssl"), "{error}");
    write(&url, "https://ntfy.example/hush\n", 0o600);
    write(&token, "hush-token\n", 0o600);
    let entry = load().unwrap().notify.remove("x").unwrap();
    assert_eq!(entry.url.unwrap().expose_secret(), "https://ntfy.example/hush");
    assert_eq!(entry.token.unwrap().expose_secret(), "hush-token");
    for (path, key) in [(&url, "url"), (&token, "token")] {
        std::fs::set_permissions(path, Permissions::from_mode(0o644)).unwrap();
        let (code, error) = told();
        assert_eq!(code, 77, "{error}");
        assert!(error.contains(&format!("notify.x.{key}_file names a file of mode 0644")), "{error}");
        assert!(error.contains("chmod 600"), "{error}");
        std::fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
    }
    write(&url, "ntfy.example/hush", 0o600);
    write(&token, "hush token", 0o600);
    let (_, error) = told();
    assert!(error.contains("notify.x.url_file (file, line 3) must name a file with an http"), "{error}");
    assert!(error.contains("notify.x.token_file (file, line 4) must"), "{error}");
    assert!(!error.contains("hush"), "{error}");
}

#[test]
fn a_key_of_our_own_can_be_any() {
    let home = tempfile::tempdir().unwrap();
    for (variable, is_own) in [
        ("OFFSHOOT_SERVER_SECRET_FILE", true),
        ("OFFSHOOT_CALLBACKS_SECRET_FILE", true),
        ("OFFSHOOT_GITHUB_TOKEN_FILE", false),
    ] {
        let pairs = [("AGENT_API_SECRET", SECRET), (variable, "~/none")];
        let pairs = if variable.contains("SERVER") { &pairs[1..] } else { &pairs[..] };
        let error = load(home.path(), pairs, None).unwrap_err().to_string();
        assert_eq!(error.contains("openssl rand -hex 32 > "), is_own, "{error}");
        assert_eq!(error.contains("(umask 077 && ${EDITOR:-vi} "), !is_own, "{error}");
    }
}

#[test]
fn the_secret_that_nobody_names_lies_beside_the_configuration_that_was_read() {
    let home = tempfile::tempdir().unwrap();
    let usual = home.path().join(".config/offshoot");
    let elsewhere = home.path().join("elsewhere");
    for dir in [&usual, &elsewhere] {
        std::fs::create_dir_all(dir).unwrap();
    }
    let other = "another-secret-of-32-characters-x";
    write(&usual.join("secret"), SECRET, 0o600);
    let config = elsewhere.join("config.toml");
    write(&config, "", 0o600);
    let secret = |file: Option<&Path>| {
        load(home.path(), &[], file).map(|config| config.admin_secret().unwrap().expose_secret().to_owned())
    };
    assert_eq!(secret(None).unwrap(), SECRET, "in the usual place, where no configuration need be");
    let error = secret(Some(&config)).unwrap_err().to_string();
    assert!(error.contains("server.secret") && error.contains("must be set"), "{error}");
    write(&elsewhere.join("secret"), other, 0o600);
    assert_eq!(secret(Some(&config)).unwrap(), other);
    assert_eq!(secret(None).unwrap(), SECRET);
}

#[test]
fn the_stronger_layer_wins_and_one_layer_cannot_say_both() {
    let home = tempfile::tempdir().unwrap();
    let config = home.path().join("config.toml");
    write(&home.path().join("token"), SECRET, 0o600);
    let other = "another-secret-of-32-characters-x";
    write(&config, &format!("[server]\nsecret = \"{other}\""), 0o600);
    let from_file = load(home.path(), &[("OFFSHOOT_SERVER_SECRET_FILE", "~/token")], Some(&config)).unwrap();
    assert_eq!(from_file.admin_secret().unwrap().expose_secret(), SECRET);
    write(&config, "[server]\nsecret_file = \"~/token\"", 0o644);
    let from_env = load(home.path(), &[("AGENT_API_SECRET", other)], Some(&config)).unwrap();
    assert_eq!(from_env.admin_secret().unwrap().expose_secret(), other);
    let both = [("AGENT_API_SECRET", other), ("OFFSHOOT_SERVER_SECRET_FILE", "~/token")];
    let error = load(home.path(), &both, None).unwrap_err();
    assert_eq!(error.problems.len(), 1, "{error}");
    assert!(error.to_string().contains("server.secret_file are both set"), "{error}");
}

#[test]
fn a_configuration_file_with_a_secret_must_be_private_too() {
    let home = tempfile::tempdir().unwrap();
    let config = home.path().join("config.toml");
    write(&config, &format!("[server]\nsecret = \"{SECRET}\""), 0o644);
    let error = load(home.path(), &[], Some(&config)).unwrap_err();
    assert_eq!(error.exit_code(), 77);
    assert!(error.to_string().contains("holds server.secret and can be read by others"), "{error}");
    // the texts of variables may be anything; names of secrets are none
    let text = "[agents.claude]\nset_env = { ANTHROPIC_API_KEY = \"sk-ant-canary\" }";
    write(&config, text, 0o640);
    let pairs = [("AGENT_API_SECRET", SECRET)];
    let error = load(home.path(), &pairs, Some(&config)).unwrap_err();
    assert_eq!(error.exit_code(), 77);
    assert!(error.to_string().contains("holds agents.claude.set_env and can be read by others"), "{error}");
    assert!(error.to_string().contains("chmod 600") && !error.to_string().contains("canary"), "{error}");
    write(&config, text, 0o600);
    load(home.path(), &pairs, Some(&config)).unwrap();
    let secret = home.path().join("key");
    write(&secret, "sk-ant-canary", 0o600);
    let named = "[agents.claude]\nset_env = { ANTHROPIC_API_KEY = { secret = \"key\" } }\n[secrets]\nkey";
    write(&config, &format!("{named} = {{ file = \"{}\" }}", secret.display()), 0o644);
    load(home.path(), &pairs, Some(&config)).unwrap();
}

#[test]
fn systemd_credentials_are_read() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("credentials");
    std::fs::create_dir(&dir).unwrap();
    write(&dir.join("server.secret"), SECRET, 0o440);
    write(&dir.join("github.token"), "ghp_c", 0o440);
    let pairs = [("CREDENTIALS_DIRECTORY", dir.to_str().unwrap()), ("GITHUB_TOKEN", "ghp_env")];
    let config = load(home.path(), &pairs, None).unwrap();
    assert_eq!(config.admin_secret().unwrap().expose_secret(), SECRET);
    assert_eq!(config.github.token.as_ref().unwrap().expose_secret(), "ghp_env");
    let row = config.rows().iter().find(|row| row.key == "server.secret").unwrap();
    assert_eq!(row.origin, Origin::Credential("server.secret".to_owned()));
}

#[test]
fn directories_are_made_private_and_a_foreign_or_closed_one_is_named() {
    let home = tempfile::tempdir_in("/tmp").unwrap();
    let data_dir = home.path().join("d");
    let flags = Flags { data_dir: Some(data_dir.clone()), ..Flags::default() };
    let env = Environment::from_pairs([("HOME", home.path())]);
    let config = Config::load(&flags, &env, None).unwrap();
    assert_eq!(config.paths.ensure().unwrap(), []);
    assert_eq!(config.paths.ensure().unwrap(), []);
    let mode = |dir: &Path| std::fs::metadata(dir).unwrap().permissions().mode() & 0o7777;
    let chmod = |dir: &Path, mode| std::fs::set_permissions(dir, Permissions::from_mode(mode)).unwrap();
    assert_eq!(mode(&config.paths.run_dir()), 0o700);
    // who could look in can no more, and it is told
    let paths = config.paths.clone();
    for (dir, open) in [(&paths.data_dir, 0o755), (&paths.worktrees_dir, 0o775), (&paths.repos_dir, 0o711)] {
        chmod(dir, open);
        assert_eq!(paths.ensure().unwrap(), [(dir.clone(), open)]);
        assert_eq!(mode(dir), 0o700, "{dir:?}");
    }
    // who could put something there may have
    for dir in [&paths.data_dir, &paths.repos_dir, &paths.worktrees_dir, &paths.files_dir] {
        chmod(dir, 0o777);
        let error = paths.ensure().unwrap_err();
        let told = error.to_string();
        assert_eq!((error.exit_code(), mode(dir)), (77, 0o777));
        assert!(
            told.contains("mode 0777") && told.contains(&format!("chmod 700 {}", dir.display())),
            "{told}"
        );
        chmod(dir, 0o700);
    }
    let mut blocked = config.paths;
    blocked.files_dir = home.path().join("d/file/below");
    write(&home.path().join("d/file"), "", 0o600);
    let error = blocked.ensure().unwrap_err();
    assert_eq!(error.exit_code(), 77);
    assert!(error.to_string().contains("paths.files_dir cannot be created"), "{error}");
}

#[test]
fn no_listing_no_debug_and_no_message_shows_a_secret() {
    let home = tempfile::tempdir().unwrap();
    let config_file = home.path().join("config.toml");
    let text = r#"
        [github]
        token = "hush-token"
        [callbacks]
        secret = "hush-hook"
        previous_secret = "hush-old"
        [secrets]
        npm = "hush-npm"
        [agents.claude]
        set_env = { A = "hush-a", B = { secret = "npm" } }
        [notify.me]
        kind = "ntfy"
        url = "https://ntfy.example/hush-topic"
        token = "hush-access"
    "#;
    write(&config_file, text, 0o600);
    let secret = "hush-hush-hush-hush-hush-hush-hush";
    let config = load(home.path(), &[("AGENT_API_SECRET", secret)], Some(&config_file)).unwrap();
    assert!(!format!("{config:?}").contains("hush"));
    assert!(!format!("{:?}", config.rows()).contains("hush"));
    let masked = config.rows().iter().filter(|row| row.value == "********").count();
    assert_eq!(masked, 8);
    // Also when the values are faulty: of the wrong kind, out of range, in an unknown key.
    let faulty = "[callbacks]\nsecret = [\"hush\"]\n[github]\ntoken = \"hush hush\"\nprevious = \"hush\"\n\
        [notify.me]\nkind = \"ntfy\"\nurl = \"https://hush:hush@hush/hush\"\ntoken = \"hush hush\"\n";
    write(&config_file, faulty, 0o600);
    let error = load(home.path(), &[("AGENT_API_SECRET", "hush\u{1}")], Some(&config_file)).unwrap_err();
    assert!(error.problems.len() >= 6, "{error}");
    assert!(!format!("{error} {error:?}").contains("hush"), "{error}");
}

/// Each would end every job that is given it, and none says why.
#[test]
fn a_secret_that_cannot_be_the_value_of_a_variable_is_refused_at_the_start_in_either_form() {
    let home = tempfile::tempdir().unwrap();
    let (config_file, file) = (home.path().join("config.toml"), home.path().join("key"));
    let secret = "hush-hush-hush-hush-hush-hush-hush";
    let long = "x".repeat(64 * 1024);
    for (inline, text, problem) in [
        ("a\\u0000b".to_owned(), "a\0b".to_owned(), Some("without a NUL")),
        (format!("{long}y"), format!("{long}y"), Some("of at most 65536 bytes")),
        (String::new(), String::new(), Some("is empty")),
        (long.clone(), long, None),
    ] {
        write(&file, &text, 0o600);
        for entry in [format!("\"{inline}\""), format!("{{ file = \"{}\" }}", file.display())] {
            write(&config_file, &format!("[secrets]\nnpm = {entry}\n"), 0o600);
            let loaded = load(home.path(), &[("AGENT_API_SECRET", secret)], Some(&config_file));
            match (problem, loaded) {
                (None, loaded) => drop(loaded.unwrap()),
                (Some(said), loaded) => {
                    let error = loaded.unwrap_err().to_string();
                    assert!(error.contains("secrets.npm") && error.contains(said), "{error}");
                }
            }
        }
    }
}

#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn logged(json: bool, level: &str, speak: impl FnOnce()) -> String {
    let sink = Sink::default();
    let settings = LogSettings { json, level: level.to_owned(), file: None };
    let writer = sink.clone();
    tracing::subscriber::with_default(telemetry::subscriber(&settings, move || writer.clone()), speak);
    let bytes = sink.0.lock().unwrap().clone();
    String::from_utf8(bytes).unwrap()
}

#[test]
fn a_logged_secret_shows_nothing() {
    let secret = SecretString::from("hush");
    for json in [false, true] {
        let text = logged(json, "info", || tracing::info!(job.id = "job-1", ?secret, "token loaded"));
        assert!(
            text.contains("token loaded") && text.contains("REDACTED") && !text.contains("hush"),
            "{text}"
        );
    }
}

#[test]
fn json_lines_carry_the_job() {
    let text = logged(true, "info", || {
        let span = tracing::info_span!("attempt", job.id = "job-1", attempt = 2);
        span.in_scope(|| tracing::info!(phase = "agent", "phase"));
        tracing::info!(job.id = "job-2", "done");
        tracing::debug!("not at this level");
    });
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2, "{text}");
    assert_eq!(lines[0]["span"]["job.id"], "job-1");
    assert_eq!(lines[1]["job.id"], "job-2");
}

#[test]
fn libraries_are_quiet_until_everything_is_asked_for() {
    let speak = || {
        tracing::debug!(target: "hyper::client", "connection");
        tracing::debug!(target: "offshoot::worker", "prepared");
    };
    assert!(!logged(false, "debug", speak).contains("connection"));
    assert!(logged(false, "debug", speak).contains("prepared"));
    assert!(logged(false, "trace", speak).contains("connection"));
    // whoever was refused a connection says so itself
    let refused = || tracing::error!(target: "rustls_platform_verifier::verification", "certificate");
    assert_eq!(logged(false, "debug", refused), "");
    assert!(logged(false, "trace", refused).contains("certificate"));
}
