//! A whole installation to try out: the real server process in a directory of its own, bare repositories as remotes,
//! the fake forge, agents, and a receiver of callbacks.
//!
//! Everything is asked from outside: over HTTP, from the remotes, the process table, the disk, the server's log.
//! Every test ends with [`Stand::finish`], which is strict: nothing may be left behind. What the server is expected
//! to complain about is named before ([`Stand::expect_error`]).

#![allow(dead_code, reason = "a stand offers more than one test file uses")]

pub(crate) mod agents;
pub(crate) mod audit;
mod process;
mod receiver;
mod remotes;

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::{Instant, interval};

use crate::fake_github::{FakeGithub, TOKEN};

pub(crate) use process::{Running, SETPRIV};
pub(crate) use receiver::{Answer, Callback, Receiver};

/// The repository that every stand has.
pub(crate) const REPO: &str = "acme/widgets";
pub(crate) const SECRET: &str = "stand-secret-0123456789abcdef-0123456789";
pub(crate) const WEBHOOK_SECRET: &str = "stand-webhook-secret-0123456789abcdef";

/// Nothing here takes longer, on two busy cores too.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// How a stand differs from the usual one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plan {
    /// Sections of the configuration file, besides `[server]`, `[paths]`, `[github]`, `[callbacks]`, `[log]`,
    /// `[agents.claude]` and `[agents.sh]`.
    pub(crate) config: String,
    /// Lines of `[server]`.
    pub(crate) server: String,
    /// Lines of `[limits]`.
    pub(crate) limits: String,
    /// Lines of `[callbacks]`.
    pub(crate) callbacks: String,
    /// `max_concurrent_jobs`; 2 when 0.
    pub(crate) workers: u32,
    /// Variables of the server.
    pub(crate) env: Vec<(String, String)>,
    /// Clones and pushes go through a program in place of ssh, which says so and waits for the gate `ssh`.
    pub(crate) over_ssh: bool,
    /// The directory is left for somebody to look at.
    pub(crate) keep: bool,
    /// The program `claude` is not there yet; [`Stand::install_claude`] brings it.
    pub(crate) no_claude: bool,
}

/// An installation. Dropped, it takes all its processes along.
pub(crate) struct Stand {
    pub(crate) github: FakeGithub,
    pub(crate) receiver: Receiver,
    pub(crate) server: Option<Running>,
    dir: TempDir,
    plan: Plan,
    http: reqwest::Client,
    expected_errors: Vec<String>,
    undelivered: bool,
}

impl Stand {
    pub(crate) async fn new() -> Self {
        Self::with(Plan::default()).await
    }

    /// Makes everything and starts the server.
    pub(crate) async fn with(plan: Plan) -> Self {
        let mut stand = Self::built(plan).await;
        stand.start().await;
        stand
    }

    /// Makes everything but does not start the server.
    pub(crate) async fn built(plan: Plan) -> Self {
        // short: the paths of control sockets have at most 103 bytes
        let mut dir = tempfile::Builder::new().prefix("os-").tempdir_in("/tmp").unwrap();
        dir.disable_cleanup(plan.keep);
        for name in ["home", "agents", "remotes", "gates"] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
        }
        let stand = Self {
            github: FakeGithub::start().await,
            receiver: Receiver::start().await,
            server: None,
            dir,
            plan,
            http: reqwest::Client::builder().no_proxy().build().unwrap(),
            expected_errors: Vec::new(),
            undelivered: false,
        };
        stand.make_remote(REPO);
        if !stand.plan.no_claude {
            stand.install_claude();
        }
        if stand.plan.over_ssh {
            stand.install_ssh();
        }
        stand.write_config();
        stand
    }

    /// As ssh for git: runs what it is asked to on this machine, after a touch of `ssh-began` and the gate.
    fn install_ssh(&self) {
        let script = format!(
            "#!/bin/sh\ntouch {}\nwhile [ ! -e {} ]; do sleep 0.02; done\nfor last; do :; done\neval \"exec $last\"\n",
            self.path("ssh-began").display(),
            self.gate("ssh").display()
        );
        self.install("ssh", &script);
        let config = format!("[core]\nsshCommand = {}\n", self.path("agents/ssh").display());
        std::fs::write(self.path("home/.gitconfig"), config).unwrap();
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn path(&self, below: &str) -> PathBuf {
        self.dir.path().join(below)
    }

    /// A file for a `gate` mark: the agent waits until it is there.
    pub(crate) fn gate(&self, name: &str) -> PathBuf {
        self.path("gates").join(name)
    }

    pub(crate) fn open_gate(&self, name: &str) {
        std::fs::write(self.gate(name), "").unwrap();
    }

    /// The mark that makes the scripted agent wait at this gate.
    pub(crate) fn gate_mark(&self, name: &str) -> String {
        format!("[[scenario:gate file={}]]", self.gate(name).display())
    }

    /// The scripted agent, behind a script that writes a line `<pid> <directory>` to `runs` for each prompt it gets.
    pub(crate) fn install_claude(&self) {
        let (own, runs) = (env!("CARGO_BIN_EXE_offshoot"), self.path("runs"));
        let script = format!(
            "#!/bin/sh\ncase \"$1\" in --version|auth) exec {own} scripted-agent \"$@\";; esac\n\
             echo \"$$ $PWD\" >> {runs}\nexec {own} scripted-agent \"$@\"\n",
            runs = runs.display(),
        );
        self.install("claude", &script);
    }

    /// Puts a program into the agents' directory, under its name at once.
    pub(crate) fn install(&self, name: &str, script: &str) {
        install_program(&self.path("agents").join(name), script);
    }

    /// How often an agent was started with a prompt.
    pub(crate) fn runs(&self) -> usize {
        std::fs::read_to_string(self.path("runs")).map_or(0, |text| text.lines().count())
    }

    fn write_config(&self) {
        let plan = &self.plan;
        let workers = if plan.workers == 0 { 2 } else { plan.workers };
        let dir = self.dir().display();
        let text = format!(
            "[server]\nport = 0\nmax_concurrent_jobs = {workers}\n{server}\n\
             [paths]\ndata_dir = \"{dir}/data\"\nrepos_dir = \"{dir}/repos\"\nworktrees_dir = \"{dir}/worktrees\"\n\
             [github]\napi_url = \"{api}\"\nclone_url = \"{host}{dir}/remotes/{{org}}/{{repo}}.git\"\n\
             [callbacks]\nallow = [\"127.0.0.1\"]\n{callbacks}\n\
             [limits]\ndisk_free_bytes_min = 1048576\n{limits}\n\
             [log]\nformat = \"json\"\nlevel = \"debug\"\n\
             [agents.claude]\ncommand = \"{dir}/agents/claude\"\n\
             [agents.sh]\nkind = \"command\"\ncommand = \"/bin/sh\"\n{config}\n",
            server = plan.server,
            limits = plan.limits,
            callbacks = plan.callbacks,
            host = if plan.over_ssh { "ssh://forge.invalid" } else { "" },
            api = self.github.api_url,
            config = plan.config,
        );
        let file = self.path("config.toml");
        std::fs::write(&file, text).unwrap();
        std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    }

    /// Adds sections that need the directory's name; for servers that are started from now on.
    pub(crate) fn add_config(&mut self, sections: &str) {
        self.plan.config.push_str(sections);
        self.write_config();
    }

    /// The environment of the server.
    pub(crate) fn environment(&self) -> Vec<(String, String)> {
        let text = |path: PathBuf| path.display().to_string();
        let mut env = vec![
            ("HOME".into(), text(self.path("home"))),
            ("PATH".into(), "/usr/local/bin:/usr/bin:/bin".into()),
            ("OFFSHOOT_CONFIG".into(), text(self.path("config.toml"))),
            ("AGENT_API_SECRET".into(), SECRET.into()),
            ("WEBHOOK_SECRET".into(), WEBHOOK_SECRET.into()),
            ("GITHUB_TOKEN".into(), TOKEN.into()),
            // the walls have tests of their own (life_sandbox.rs); around every agent they would cost each test time
            ("OFFSHOOT_DEFAULTS_ISOLATION".into(), "none".into()),
            // what systems say to that has a test of its own (keep_awake.rs)
            ("OFFSHOOT_SERVER_KEEP_AWAKE".into(), "false".into()),
        ];
        env.extend(self.plan.env.iter().cloned());
        env
    }

    /// A variable of the servers that are started from now on.
    pub(crate) fn set_env(&mut self, name: &str, value: impl std::fmt::Display) {
        self.plan.env.push((name.to_owned(), value.to_string()));
    }

    /// Starts the server and waits until it is ready.
    pub(crate) async fn start(&mut self) {
        self.start_with(&[]).await;
    }

    pub(crate) async fn start_with(&mut self, flags: &[&str]) {
        assert!(self.server.is_none(), "the server runs already");
        let mut running = Running::spawn(self.dir(), self.environment(), flags);
        running.wait_until_ready().await;
        self.server = Some(running);
    }

    /// Starts a server that is not expected to become ready.
    pub(crate) fn spawn_another(&self, flags: &[&str]) -> Running {
        Running::spawn(self.dir(), self.environment(), flags)
    }

    /// Starts a server with further variables and waits for nothing.
    pub(crate) fn spawn_with(&self, variables: &[(String, String)], flags: &[&str]) -> Running {
        let mut env = self.environment();
        env.extend_from_slice(variables);
        Running::spawn(self.dir(), env, flags)
    }

    /// Kills the server as a crash does.
    pub(crate) async fn kill9(&mut self) {
        self.server.take().expect("a server runs").kill().await;
    }

    pub(crate) async fn start_again(&mut self) {
        self.start().await;
    }

    /// SIGTERM; gives the exit code.
    ///
    /// # Panics
    /// When it has not ended within `limit`.
    pub(crate) async fn terminate(&mut self, limit: Duration) -> Option<i32> {
        let mut server = self.server.take().expect("a server runs");
        server.signal(nix::sys::signal::Signal::SIGTERM);
        server.wait_for_exit(limit).await
    }

    pub(crate) fn base_url(&self) -> String {
        self.server.as_ref().expect("a server runs").url.clone()
    }

    /// One request; status and body (null when it is not JSON).
    pub(crate) async fn call(&self, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
        self.call_with(method, path, body, &[]).await
    }

    /// As [`Self::call`], with further headers.
    pub(crate) async fn call_with(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
        headers: &[(&str, &str)],
    ) -> (u16, Value) {
        let url = format!("{}{path}", self.base_url());
        let mut request =
            self.http.request(method.parse().unwrap(), url).bearer_auth(SECRET).timeout(PATIENCE);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await.unwrap_or_else(|error| panic!("{method} {path}: {error}"));
        let status = response.status().as_u16();
        let bytes = response.bytes().await.unwrap_or_default();
        (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
    }

    /// A GET that must succeed.
    pub(crate) async fn get(&self, path: &str) -> Value {
        let (status, body) = self.call("GET", path, None).await;
        assert_eq!(status, 200, "GET {path}: {body}");
        body
    }

    /// The body of a GET that must succeed, as text.
    pub(crate) async fn get_text(&self, path: &str) -> String {
        let url = format!("{}{path}", self.base_url());
        let response = self.http.get(url).bearer_auth(SECRET).timeout(PATIENCE).send().await.unwrap();
        assert_eq!(response.status(), 200, "GET {path}");
        response.text().await.unwrap()
    }

    /// A POST that must succeed.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Value {
        let (status, answer) = self.call("POST", path, Some(body)).await;
        assert!((200..300).contains(&status), "POST {path}: {status} {answer}");
        answer
    }

    /// Submits a job for [`REPO`] unless the body names another; gives its id.
    pub(crate) async fn submit(&self, body: Value) -> String {
        let (status, answer) = self.try_submit(body).await;
        assert_eq!(status, 201, "{answer}");
        answer["id"].as_str().unwrap().to_owned()
    }

    /// The usual job: this prompt for this branch, with a callback to the receiver.
    pub(crate) async fn submit_prompt(&self, branch: &str, prompt: &str) -> String {
        self.submit(json!({"prompt": prompt, "branchName": branch})).await
    }

    pub(crate) async fn try_submit(&self, mut body: Value) -> (u16, Value) {
        let members = body.as_object_mut().unwrap();
        if !members.contains_key("clientId") && !members.contains_key("githubOrg") {
            let (org, repo) = REPO.split_once('/').unwrap();
            members.insert("githubOrg".into(), org.into());
            members.insert("githubRepo".into(), repo.into());
        }
        members.entry("osCallbackUrl").or_insert_with(|| self.receiver.url().into());
        self.call("POST", "/jobs", Some(&body)).await
    }

    pub(crate) async fn job(&self, id: &str) -> Value {
        self.get(&format!("/jobs/{id}")).await
    }

    pub(crate) async fn cancel(&self, id: &str) -> (u16, Value) {
        self.call("POST", &format!("/jobs/{id}/cancel"), Some(&json!({}))).await
    }

    /// Retries; gives the id of the new job.
    pub(crate) async fn retry(&self, id: &str, body: Value) -> String {
        let answer = self.post(&format!("/jobs/{id}/retry"), &body).await;
        assert_eq!(answer["originalJobId"], id);
        answer["id"].as_str().unwrap().to_owned()
    }

    /// All messages of a job, oldest first.
    pub(crate) async fn messages(&self, id: &str) -> Vec<Value> {
        let mut all = Vec::new();
        let mut after = String::from("0");
        loop {
            let page = self.get(&format!("/jobs/{id}/messages?after={after}&limit=200")).await;
            all.extend(page["messages"].as_array().unwrap().iter().cloned());
            match page["nextCursor"].as_str() {
                Some(next) => after = next.to_owned(),
                None => return all,
            }
        }
    }

    /// Waits until the job is as wanted.
    pub(crate) async fn wait_for(&self, id: &str, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        let path = format!("/jobs/{id}");
        let found = poll(PATIENCE, async || {
            last = self.get(&path).await;
            wanted(&last).then(|| last.clone())
        })
        .await;
        found.unwrap_or_else(|| panic!("job {id} was never {what}: {last:#}"))
    }

    pub(crate) async fn wait_for_status(&self, id: &str, status: &str) -> Value {
        self.wait_for(id, status, |job| {
            let now = job["status"].as_str().unwrap();
            let over = !matches!(now, "queued" | "running");
            assert!(!over || now == status, "job {id} is {now} and not {status}: {job:#}");
            now == status
        })
        .await
    }

    pub(crate) async fn wait_for_phase(&self, id: &str, phase: &str) -> Value {
        self.wait_for(id, phase, |job| job["phase"] == phase).await
    }

    /// Waits until the agent of the job waits at a gate.
    pub(crate) async fn wait_for_tool(&self, id: &str) {
        self.wait_until("the agent uses a tool", async || {
            let path = format!("/jobs/{id}?includeMessages=true");
            self.get(&path).await["messages"].to_string().contains("wait-for-gate").then_some(())
        })
        .await;
    }

    pub(crate) async fn completed(&self, id: &str) -> Value {
        self.wait_for_status(id, "completed").await
    }

    /// Waits for the failure and checks its code, and whether the attempt that had it was counted.
    pub(crate) async fn failed(&self, id: &str, code: &str) -> Value {
        let job = self.wait_for_status(id, "failed").await;
        assert_eq!(job["reason"]["code"], code, "{job:#}");
        // what would have been tried again; everything else is a failure whatever is left of maxAttempts
        let counts = ["crashed", "interrupted", "out_of_memory", "poisoned", "client_budget", "stopped"];
        if let Some(last) = job["attempts"].as_array().and_then(|attempts| attempts.last()) {
            assert_eq!(last["counted"], counts.contains(&code), "{job:#}");
        }
        job
    }

    pub(crate) async fn wait_until<T>(&self, what: &str, look: impl AsyncFnMut() -> Option<T>) -> T {
        poll(PATIENCE, look).await.unwrap_or_else(|| panic!("never: {what}\n{}", self.log_tail(40)))
    }

    /// The callbacks of a job, in the order they came.
    pub(crate) fn callbacks(&self, id: &str) -> Vec<Callback> {
        let all = self.receiver.all();
        all.into_iter().filter(|callback| callback.body["jobId"] == id).collect()
    }

    /// Waits for the first accepted callback of a job.
    pub(crate) async fn callback(&self, id: &str) -> Callback {
        let accepted = async || self.callbacks(id).into_iter().find(|callback| callback.status < 300);
        self.wait_until("a callback", accepted).await
    }

    pub(crate) fn log_text(&self) -> String {
        std::fs::read_to_string(self.path("server.log")).unwrap_or_default()
    }

    pub(crate) fn log_tail(&self, lines: usize) -> String {
        let text = self.log_text();
        let all: Vec<_> = text.lines().filter(|line| !line.contains("\"DEBUG\"")).collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }

    /// An error line with this text is no fault.
    pub(crate) fn expect_error(&mut self, text: &str) {
        self.expected_errors.push(text.to_owned());
    }

    /// Callbacks may be left undelivered.
    pub(crate) fn expect_undelivered(&mut self) {
        self.undelivered = true;
    }
}

/// Looks until there is something, or until the time is over.
pub(crate) async fn poll<T>(limit: Duration, mut look: impl AsyncFnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + limit;
    let mut ticks = interval(Duration::from_millis(25));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Some(found) = look().await {
            return Some(found);
        }
        if Instant::now() >= deadline {
            return None;
        }
    }
}

/// Writes an executable file. Another process writes it: a descriptor of this one, inherited by a child that some
/// other thread is just forking, would make it "busy". It gets its name when it is whole.
pub(crate) fn install_program(path: &Path, script: &str) {
    use std::io::Write as _;
    let mut writer = std::process::Command::new("/bin/sh")
        .args(["-c", "cat > \"$0.new\" && chmod 755 \"$0.new\" && mv \"$0.new\" \"$0\""])
        .arg(path)
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    writer.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    assert!(writer.wait().unwrap().success());
}
