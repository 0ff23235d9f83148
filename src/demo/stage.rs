//! The temporary world of the demonstration: directory, configuration, remote, receiver, server.

use std::fs;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use secrecy::SecretString;
use tokio::net::TcpListener;

use super::receiver::Receiver;
use super::sample;
use crate::api_client::ApiClient;
use crate::cli::Output;
use crate::clock::Clock;
use crate::config::{Config, Environment, Flags};
use crate::daemon::{Override, Server};
use crate::forge::{LocalForge, RepositoryName};
use crate::git::{Author, seed_bare};

/// The demonstration's repository.
pub(super) const ORG: &str = "demo";
pub(super) const REPO: &str = "greeting";

/// An agent with a login of its own, so that one whose limit is reached holds nothing else.
pub(super) const LIMITED: &str = "second";

/// Below this, and with a short name: control sockets have at most 103 bytes of path.
const PARENT: &str = "/tmp";

pub(super) struct Stage {
    dir: Directory,
    pub(super) forge: LocalForge,
    pub(super) receiver: Receiver,
    pub(super) client: ApiClient,
    server: Server,
    secret: String,
    /// How to call this program from another terminal.
    pub(super) program: String,
}

/// Removed when dropped.
struct Directory(PathBuf);

impl Drop for Directory {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            tracing::warn!(%error, "the demonstration's directory stays");
        }
    }
}

impl Stage {
    pub(super) async fn set(env: &Environment, port: Option<u16>) -> anyhow::Result<Self> {
        let clock = Clock::system();
        let dir = Directory(Path::new(PARENT).join(format!("offshoot-demo-{}", clock.random_text(8))));
        fs::DirBuilder::new().mode(0o700).create(&dir.0).context("making a temporary directory")?;
        let (secret, webhook_secret) = (clock.random_text(40), clock.random_text(40));
        let remotes = dir.0.join("remotes");
        let forge = LocalForge::new(remotes.clone(), "http://localhost/pulls", true);
        let name = RepositoryName { org: ORG.to_owned(), repo: REPO.to_owned() };
        let author = Author { name: "Ada".to_owned(), email: "ada@example.org".to_owned() };
        seed_bare(&forge.bare_path(&name), sample::FILES, &author, clock.now_ms() / 1_000)?;
        let receiver = Receiver::start(SecretString::from(webhook_secret.clone()), clock).await?;
        let environment = environment(env, &dir.0, &secret, &webhook_secret);
        let file = write_config(&dir.0, &remotes)?;
        let flags = Flags { serving: true, port: Some(port.unwrap_or(0)), ..Flags::default() };
        let config = Config::load(&flags, &environment, Some(&file))?;
        let listener = TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, port.unwrap_or(0)))
            .await
            .with_context(|| {
                let port = port.unwrap_or(0);
                format!("port {port} cannot be used; try another one with --port, or leave it out for one that is free")
            })?;
        let brought = Override {
            forge: Some(Arc::new(forge.clone())),
            listener: Some(listener),
            ..Override::default()
        };
        let server = Server::start(config, &environment, brought).await?;
        let url = format!("http://{}", server.address());
        let client = ApiClient::new(&url, Some(SecretString::from(secret.clone())))?;
        Ok(Self { dir, forge, receiver, client, server, secret, program: called(env) })
    }

    pub(super) fn repository(&self) -> RepositoryName {
        RepositoryName { org: ORG.to_owned(), repo: REPO.to_owned() }
    }

    /// How to go on with the server that stays.
    pub(super) async fn invite(&self, out: &mut Output) {
        let url = self.client.base_url();
        out.say(&format!(
            "\nThe server goes on at {url} until Ctrl-C; then everything is removed. From another terminal:\n"
        ));
        if let Ok(pass) = self.client.create_pass().await {
            out.say(&format!("  {url}{}   the dashboard; the link works once, within a minute", pass.path));
        }
        out.say(&format!("  export OFFSHOOT_URL={url} OFFSHOOT_TOKEN={}", self.secret));
        out.say(&format!("  {} open", self.program));
        out.say(&format!("  {} ls", self.program));
        out.say(&format!(
            "  {} submit -r {ORG}/{REPO} -b try/again --follow \"Greet in two languages\"",
            self.program
        ));
        out.say(&format!(
            "  git -C {} log --oneline --all",
            self.forge.bare_path(&self.repository()).display()
        ));
    }

    pub(super) async fn serve_until_signalled(self) {
        let Self { dir, server, receiver, .. } = self;
        let _ = server.run_until_signalled(true).await;
        drop(receiver);
        drop(dir);
    }

    /// Ends the server and removes everything.
    pub(super) async fn strike(self) {
        let Self { dir, server, receiver, .. } = self;
        let _ = server.end().await;
        drop(receiver);
        drop(dir);
    }
}

/// The bare name when the shell finds one of that name, else the path: who tries it has not installed it yet.
fn called(env: &Environment) -> String {
    const NAME: &str = "offshoot";
    let is_installed =
        env.get("PATH").is_some_and(|path| std::env::split_paths(path).any(|dir| dir.join(NAME).is_file()));
    match std::env::current_exe() {
        Ok(own) if !is_installed => own.display().to_string(),
        _ => NAME.to_owned(),
    }
}

/// Nothing of the user's but where programs are.
fn environment(env: &Environment, dir: &Path, secret: &str, webhook_secret: &str) -> Environment {
    let path = env.get("PATH").map_or_else(|| "/usr/local/bin:/usr/bin:/bin".into(), ToOwned::to_owned);
    let pairs: [(&str, std::ffi::OsString); 4] = [
        ("HOME", dir.join("home").into()),
        ("PATH", path),
        ("AGENT_API_SECRET", secret.into()),
        ("WEBHOOK_SECRET", webhook_secret.into()),
    ];
    Environment::from_pairs(pairs)
}

fn write_config(dir: &Path, remotes: &Path) -> anyhow::Result<PathBuf> {
    let program = std::env::current_exe().context("finding the own program")?;
    let quoted = |path: &Path| toml::Value::String(path.to_string_lossy().into_owned()).to_string();
    let below = |name: &str| quoted(&dir.join(name));
    let pattern = remotes.join("{org}/{repo}.git");
    // it asks nothing of this machine
    let text = format!(
        "[server]\nkeep_awake = false\n[paths]\ndata_dir = {}\nrepos_dir = {}\nworktrees_dir = {}\nfiles_dir = {}\n\
         [github]\nclone_url = {}\n\
         [callbacks]\nallow = [\"127.0.0.1\"]\n\
         [log]\nlevel = \"error\"\n\
         [agents.claude]\ncommand = {program}\nargs = [\"scripted-agent\"]\n\
         [agents.{LIMITED}]\nkind = \"claude\"\ncommand = {program}\nargs = [\"scripted-agent\"]\n",
        below("data"),
        below("repos"),
        below("worktrees"),
        below("files"),
        quoted(&pattern),
        program = quoted(&program),
    );
    let file = dir.join("config.toml");
    fs::create_dir(dir.join("home"))?;
    let mut options = fs::OpenOptions::new();
    let mut open = options.write(true).create_new(true).mode(0o600).open(&file)?;
    std::io::Write::write_all(&mut open, text.as_bytes())?;
    Ok(file)
}
