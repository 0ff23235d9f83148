//! `offshoot init`

use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use crate::cli::args::Global;
use crate::cli::error::{CliError, ErrorKind};
use crate::cli::output::Output;
use crate::clock::Clock;
use crate::config::{Config, Environment, Flags, TOKEN_PLACEHOLDER, how_to_add_a_secret};
use crate::domain::phrases::{edit, path_word};

/// Random characters of the secret: some 165 bits.
const SECRET_CHARS: usize = 32;

/// Where the token for repositories comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum TokenFrom {
    // Plain comments: documented values would turn every help into the long form.
    // Of the gh program, asked at each start of the server.
    Gh,
    // In a file of its own, which is made with a word in its place; the server does not start before it is replaced.
    File,
    // None: jobs push with git's own keys and open no pull requests.
    None,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Without a terminal nothing is asked for: what no flag says is taken from the gh program (--token gh) \
                        and port 3456, and no service is installed."
)]
pub(in crate::cli) struct InitFlags {
    /// Take the token for repositories from here; without it that is asked for.
    #[arg(long, value_enum, value_name = "FROM")]
    token: Option<TokenFrom>,
    /// Let the server listen on this port; without it that is asked for.
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
    /// Install the server as a service afterwards.
    #[arg(long, conflicts_with = "no_service")]
    service: bool,
    /// Install no service, and do not ask.
    #[arg(long)]
    no_service: bool,
    /// Ask nothing: take what is usual.
    #[arg(short, long)]
    yes: bool,
}

/// What was decided, by flags or by answers.
struct Decided {
    token: TokenFrom,
    port: u16,
    service: bool,
}

/// Writes a first configuration with a secret. If a service is to be installed now: what is to be told with `--json`, which that
/// does then.
pub(in crate::cli) fn run(
    global: &Global,
    flags: &InitFlags,
    env: &Environment,
    out: &mut Output,
) -> Result<Option<Value>, CliError> {
    let (file, _) = Config::file(env, global.config.as_deref()).ok_or_else(CliError::no_home)?;
    let file = std::path::absolute(&file).map_err(|error| CliError::file(&file, &error))?;
    // a link that leads nowhere is there too
    if file.symlink_metadata().is_ok() {
        return Err(is_there(&file, env));
    }
    let may_ask =
        !flags.yes && !out.is_json() && std::io::stdin().is_terminal() && Output::is_on_a_terminal();
    let decided = decide(flags, may_ask, out)?;
    let dir = file.parent().map(Path::to_path_buf).unwrap_or_default();
    let mut made = Made::default();
    let done = write(&file, &dir, &decided, &mut made).and_then(|()| check(&file, env));
    if let Err(error) = done {
        made.take_back();
        return Err(error.about("nothing was written"));
    }
    let written = made.files;
    let files: Vec<_> = written.iter().map(|file| file.display().to_string()).collect();
    let told = json!({ "config": file.display().to_string(), "written": files, "port": decided.port });
    if out.is_json() {
        if !decided.service {
            out.json(&told)?;
        }
        return Ok(decided.service.then_some(told));
    }
    for file in &written {
        out.line(&format!("Wrote {}", file.display()))?;
    }
    out.say("The secret of the API stands in its file, and commands on this machine find it there.");
    if decided.token == TokenFrom::File {
        let file = dir.join("github_token");
        out.say(&format!("  put a GitHub token into it, the server does not start before:  {}", edit(&file)));
    }
    if !decided.service {
        let (doctor, serve) = (naming("doctor", &file, env), naming("serve", &file, env));
        out.say(&format!("  see what is missing:  {doctor}\n  start the server:     {serve}"));
    }
    Ok(decided.service.then_some(told))
}

/// A service that was not installed, and that `told`, what [`run`] has written, is there all the same.
pub(in crate::cli) fn written_before(error: CliError, told: &Value, env: &Environment) -> CliError {
    let file = Path::new(told["config"].as_str().unwrap_or_default());
    let files = told["written"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let written = files.collect::<Vec<_>>().join(", ");
    error
        .detail(format!("the configuration is written, and stays: {written}"))
        .hint("the service alone, once that is mended", naming("service install", file, env))
}

/// The command for this configuration: without its name the usual one would be read, which may be another.
fn naming(verb: &str, file: &Path, env: &Environment) -> String {
    let usual = Config::file(env, None).and_then(|(usual, _)| std::path::absolute(usual).ok());
    match usual.is_some_and(|usual| usual == file) {
        true => format!("offshoot {verb}"),
        false => format!("offshoot {verb} --config {}", path_word(file)),
    }
}

/// What somebody has in the place is not written over; where it only lacks a secret, that is what helps.
fn is_there(file: &Path, env: &Environment) -> CliError {
    let error = CliError::new(ErrorKind::Conflict, format!("{} is there already", file.display()));
    if !file.exists() {
        return error.hint("it is a link that leads nowhere; look", format!("ls -l {}", path_word(file)));
    }
    let error = error.hint("see what it says", naming("config show --origin", file, env));
    match Config::load(&Flags::default(), env, Some(file)) {
        Ok(config) if config.server.secret.is_none() => how_to_add_a_secret(file)
            .into_iter()
            .fold(error, |error, (label, command)| error.hint(&label, command)),
        _ => error.hint("see what is missing", naming("doctor", file, env)),
    }
}

/// What was written is what a server would read, but for a token that is still to come.
fn check(file: &Path, env: &Environment) -> Result<(), CliError> {
    Config::load(&Flags::default(), env, Some(file))?.admin_secret()?;
    Ok(())
}

/// What was made, so that it can be taken back.
#[derive(Default)]
struct Made {
    /// In the order in which they were made.
    files: Vec<PathBuf>,
    /// The innermost first.
    dirs: Vec<PathBuf>,
}

impl Made {
    /// Takes all of it away; what does not go stays, since there is an error to be told already.
    fn take_back(&self) {
        for file in &self.files {
            let _ = std::fs::remove_file(file);
        }
        for dir in &self.dirs {
            // only if nothing else is in it
            let _ = std::fs::remove_dir(dir);
        }
    }
}

fn decide(flags: &InitFlags, may_ask: bool, out: &mut Output) -> Result<Decided, CliError> {
    let token = match flags.token {
        Some(token) => token,
        None if may_ask => ask_token(out)?,
        None => TokenFrom::Gh,
    };
    let port = match flags.port {
        Some(port) => port,
        None if may_ask => ask_port(out)?,
        None => 3456,
    };
    let service = match flags.service || flags.no_service {
        true => flags.service,
        false if may_ask => {
            let answer = ask("Start the server by itself, as a service of yours? [y/N] ", out)?;
            matches!(answer.to_ascii_lowercase().as_str(), "y" | "yes")
        }
        false => false,
    };
    Ok(Decided { token, port, service })
}

fn ask(question: &str, out: &mut Output) -> Result<String, CliError> {
    out.bytes(question.as_bytes())?;
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer).map_err(|error| CliError::output(&error))?;
    if read == 0 {
        return Err(CliError::new(ErrorKind::Interrupted, "nothing was answered, and nothing was written")
            .hint("ask nothing", "offshoot init --yes"));
    }
    Ok(answer.trim().to_owned())
}

fn ask_token(out: &mut Output) -> Result<TokenFrom, CliError> {
    loop {
        let answer = ask("Where does the GitHub token come from: gh, file or none? [gh] ", out)?;
        match TokenFrom::from_str(&answer, true) {
            _ if answer.is_empty() => return Ok(TokenFrom::Gh),
            Ok(token) => return Ok(token),
            Err(_) => out.say("  gh: the gh program, file: a file of its own, none: no pull requests"),
        }
    }
}

fn ask_port(out: &mut Output) -> Result<u16, CliError> {
    loop {
        let answer = ask("On which port of this machine shall the server listen? [3456] ", out)?;
        match answer.parse() {
            _ if answer.is_empty() => return Ok(3456),
            Ok(port) if port > 0 => return Ok(port),
            _ => out.say("  a number from 1 to 65535"),
        }
    }
}

/// Makes the files and notes them in `made`. None that is there is written over: a secret and a token are taken as they are.
fn write(file: &Path, dir: &Path, decided: &Decided, made: &mut Made) -> Result<(), CliError> {
    let cannot = |file: &Path, error: &std::io::Error| {
        CliError::new(ErrorKind::Failed, format!("cannot write {}: {error}", file.display()))
            .hint("look", format!("ls -ld {}", path_word(dir)))
    };
    made.dirs = dir.ancestors().take_while(|dir| !dir.exists()).map(Path::to_path_buf).collect();
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true).mode(0o700).create(dir).map_err(|error| cannot(dir, &error))?;
    let mut new = |path: PathBuf, text: &str| {
        let opened = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        let mut opened = match opened {
            Ok(opened) => opened,
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists && path != file => return Ok(()),
            Err(error) => return Err(cannot(&path, &error)),
        };
        // before it is filled: half a file is taken back too
        made.files.push(path.clone());
        let filled = opened.write_all(text.as_bytes()).and_then(|()| opened.sync_all());
        filled.map_err(|error| cannot(&path, &error))
    };
    let secret = dir.join("secret");
    new(secret.clone(), &format!("{}\n", Clock::system().random_text(SECRET_CHARS)))?;
    let token = dir.join("github_token");
    let token_line = match decided.token {
        TokenFrom::Gh => "# the token of the gh program is taken: gh auth login".to_owned(),
        TokenFrom::File => {
            new(token.clone(), &format!("{TOKEN_PLACEHOLDER}\n"))?;
            format!("token_file = {}", quoted(&token))
        }
        TokenFrom::None => "# no token: jobs open no pull requests".to_owned(),
    };
    let publish = if decided.token == TokenFrom::None { "\n[defaults]\npublish = \"branch\"\n" } else { "" };
    let text = format!(
        "# Every key: config.example.toml; what holds and why: offshoot config show --origin\n\n[server]\nport = {}\n\
         secret_file = {}\n\n[github]\n{token_line}\n{publish}",
        decided.port,
        quoted(&secret)
    );
    new(file.to_path_buf(), &text)
}

/// As a text of TOML.
fn quoted(path: &Path) -> String {
    Value::String(path.display().to_string()).to_string()
}
