//! What a shell offers while somebody types: commands and flags, and the jobs, clients and other names that the server has.
//!
//! The scripts of `offshoot completions` are short: for every Tab they start this program again with [`VARIABLE`] set to the shell's
//! name and what was typed behind `--`. So an old script never offers what a new program does not know.
//!
//! Promises: an answer within [`DEADLINE`] and a little, whatever the server does; no word on the terminal and nothing changed
//! anywhere; without a server commands and flags alone. A server counts what comes with a wrong token: then each Tab is one of the
//! few that it answers with 401 before it makes that address wait.
//!
//! Must not know: which commands there are. What an argument takes is told by what its help calls it (`JOB`, `CLIENT`).
//!
//! Fails: never; what cannot be found out is not offered.
//!
//! Tested: the words beside the code; with a whole server, and by real shells, in `tests/it/completion.rs`.

mod offers;

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{ArgMatches, Command, CommandFactory as _};
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate, complete};
use clap_complete::env::Shells;

use super::args::{Cli, Colour, Global};
use super::connection;
use super::error::{CliError, ErrorKind};
use super::output::Output;
use crate::config::Environment;
use offers::Offer;

/// Names the shell that asks; set for that one start by the scripts alone.
pub(super) const VARIABLE: &str = "_OFFSHOOT_COMPLETE";

/// Which of the words is being typed; without it the last one is.
const INDEX: &str = "_CLAP_COMPLETE_INDEX";
/// Why bash asks, as readline's `rl_completion_type` has it.
const COMP_TYPE: &str = "_CLAP_COMPLETE_COMP_TYPE";
/// What bash reads between two words.
const SEPARATOR: &str = "_CLAP_IFS";

/// Somebody sits and waits for the next key.
const DEADLINE: Duration = Duration::from_millis(800);

/// The script for `shell` that asks this program.
pub(super) fn script(shell: &str) -> Result<Vec<u8>, CliError> {
    let failed = |why: &str| CliError::new(ErrorKind::Failed, format!("cannot write for {shell}: {why}"));
    let shells = Shells::builtins();
    let completer = shells.completer(shell).ok_or_else(|| failed("it is not known"))?;
    let mut script = Vec::new();
    // by its name, not by where it lies now: it may be installed anew elsewhere
    let written = completer.write_registration(VARIABLE, "offshoot", "offshoot", "offshoot", &mut script);
    written.map_err(|error| failed(&error.to_string()))?;
    Ok(script)
}

/// Answers `shell`, which has given `arguments`: the program's name, `--`, and what was typed.
pub(super) fn answer(shell: &OsStr, arguments: &[OsString], env: &Environment, out: &mut Output) -> ExitCode {
    let typed = arguments.iter().skip_while(|word| *word != "--").skip(1).cloned().collect();
    match offered(&shell.to_string_lossy(), typed, env) {
        // a shell that takes no answer has none to show
        Some(text) if out.bytes(&text).is_ok() => ExitCode::SUCCESS,
        // its script takes that for: nothing
        _ => ExitCode::FAILURE,
    }
}

fn offered(shell: &str, typed: Vec<OsString>, env: &Environment) -> Option<Vec<u8>> {
    let number = |name: &str| -> Option<usize> {
        env.get(name).and_then(OsStr::to_str).and_then(|text| text.parse().ok())
    };
    let index = number(INDEX).unwrap_or(typed.len().saturating_sub(1));
    let line =
        if shell == "bash" { Line::of_bash(typed, index) } else { Line { words: typed, index, cut: 0 } };
    let mut command = command(&line, env);
    let here = std::env::current_dir().ok();
    let mut text = Vec::new();
    if shell == "bash" {
        let found = complete(&mut command, line.words, line.index, here.as_deref()).ok()?;
        let separator = env.get(SEPARATOR).map_or_else(|| "\n".into(), OsStr::to_string_lossy);
        text = for_bash(&found, line.cut, number(COMP_TYPE), &separator).into_bytes();
    } else {
        let shells = Shells::builtins();
        let completer = shells.completer(shell)?;
        completer.write_complete(&mut command, line.words, here.as_deref(), &mut text).ok()?;
    }
    Some(text)
}

/// What was typed, the program's name first.
#[derive(Debug, PartialEq, Eq)]
struct Line {
    words: Vec<OsString>,
    /// The word that is being typed.
    index: usize,
    /// So many bytes of that word stand before what the shell will replace.
    cut: usize,
}

impl Line {
    /// Bash makes words of their own of `:` and `=` (`COMP_WORDBREAKS`) and replaces only what is behind them: `--url=http://host` comes
    /// as five words. Here they become one again.
    fn of_bash(typed: Vec<OsString>, index: usize) -> Self {
        let breaks = |word: &OsStr| {
            !word.is_empty() && word.as_encoded_bytes().iter().all(|byte| matches!(byte, b':' | b'='))
        };
        let mut line = Self { words: Vec::new(), index, cut: 0 };
        let mut joins = false;
        for (at, word) in typed.into_iter().enumerate() {
            let is_break = breaks(&word);
            let before = if joins || is_break { line.words.last_mut() } else { None };
            let cut = before.as_ref().map_or(0, |before| before.len());
            match before {
                Some(before) => before.push(&word),
                None => line.words.push(word),
            }
            if at == index {
                line.index = line.words.len().saturating_sub(1);
                line.cut = cut;
            }
            joins = is_break;
        }
        line
    }
}

/// Bash shows words alone. When it asks for a list, and not for something to insert, the list says what they are.
fn for_bash(found: &[CompletionCandidate], cut: usize, comp_type: Option<usize>, separator: &str) -> String {
    /// A list after a second Tab, or after the first one for who has set that.
    const LISTS: [usize; 3] = [63, 33, 64];
    let lists = found.len() > 1 && comp_type.is_some_and(|comp_type| LISTS.contains(&comp_type));
    let told = found.iter().map(|candidate| {
        let value = candidate.get_value().to_string_lossy();
        let value = value.get(cut..).unwrap_or_default();
        match candidate.get_help().map(ToString::to_string) {
            Some(help) if lists => {
                format!("{value}  ({})", no_pattern(help.lines().next().unwrap_or_default()))
            }
            _ => value.to_owned(),
        }
    });
    told.collect::<Vec<_>>().join(separator)
}

/// Bash looks for files that are called as the list says, and with `nullglob` or `failglob` takes away what no file is called.
fn no_pattern(help: &str) -> String {
    let mut text = help.replace(['*', '?', '\\'], " ").replace('[', "(").replace(']', ")");
    for opens in ["+(", "@(", "!("] {
        // patterns too, with `extglob`
        text = text.replace(opens, &opens.replace('(', " ("));
    }
    text
}

/// The definition of the command line with what the server would be asked for.
fn command(line: &Line, env: &Environment) -> Command {
    let before = line.words.get(..line.index).unwrap_or_default();
    let typed = line.words.get(line.index).is_some_and(|word| word.as_encoded_bytes().starts_with(b"-"));
    live("", Cli::command(), typed, &Arc::new(Asker::of(before, env.clone())))
}

/// `flags`: they are what is being typed. Else they are offered only where nothing else is.
fn live(path: &str, command: Command, flags: bool, asker: &Arc<Asker>) -> Command {
    let command = if flags { command } else { command.disable_help_flag(true).disable_version_flag(true) };
    let command = command.mut_args(|argument| {
        let argument = if argument.is_positional() || flags { argument } else { argument.hide(true) };
        let Some(offer) = Offer::of(path, &argument) else { return argument };
        let asker = asker.clone();
        argument.add(ArgValueCompleter::new(move |typed: &OsStr| asker.ask(offer, typed)))
    });
    command.mut_subcommands(|below| {
        let path = if path.is_empty() {
            below.get_name().to_owned()
        } else {
            format!("{path} {}", below.get_name())
        };
        live(&path, below, flags, asker)
    })
}

/// Asks the server that what was typed so far would speak to.
struct Asker {
    global: Global,
    /// The job that was named before, for what it has.
    job: Option<String>,
    /// The jobs and callbacks that were named before need no second naming.
    given: Vec<String>,
    env: Environment,
}

impl Asker {
    fn of(before: &[OsString], env: Environment) -> Self {
        let mut root = Cli::command().ignore_errors(true);
        let matches = root.try_get_matches_from_mut(before).unwrap_or_default();
        let (mut innermost, mut command, mut path): (&ArgMatches, _, _) = (&matches, &root, Vec::new());
        while let Some((name, below)) = innermost.subcommand() {
            path.push(name);
            innermost = below;
            command = command.find_subcommand(name).unwrap_or(command);
        }
        // a number behind another flag names no job
        let path = path.join(" ");
        let names = command
            .get_arguments()
            .filter(|argument| Offer::of(&path, argument).is_some_and(Offer::is_named_once));
        let given = names.filter_map(|argument| innermost.try_get_raw(argument.get_id().as_str()).ok()?);
        let given = given.flatten().filter_map(OsStr::to_str).map(str::to_owned).collect();
        let text = |name: &str| innermost.try_get_one::<String>(name).ok().flatten().cloned();
        let config = innermost.try_get_one::<PathBuf>("config").ok().flatten().cloned();
        let global = Global { json: false, url: text("url"), config, color: Colour::Never };
        Self { global, job: text("job"), given, env }
    }

    fn ask(&self, offer: Offer, typed: &OsStr) -> Vec<CompletionCandidate> {
        let (Some(typed), Ok(runtime)) = (typed.to_str(), super::runtime()) else { return Vec::new() };
        let Ok(api) = connection::connect(&self.global, &self.env) else { return Vec::new() };
        let asked = offers::ask(&api, offer, self.job.as_deref(), typed);
        let found = runtime.block_on(async { tokio::time::timeout(DEADLINE, asked).await });
        // a name that nobody resolves is waited for on a thread of its own, and that is not waited for
        runtime.shutdown_background();
        let found = found.ok().and_then(Result::ok).unwrap_or_default();
        let is_new = |name: &String| !offer.is_named_once() || !self.given.contains(name);
        let found = found.into_iter().filter(|(name, _)| name.starts_with(typed) && is_new(name));
        found.map(|(value, about)| CompletionCandidate::new(value).help(Some(about.into()))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<OsString> {
        text.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn what_bash_takes_apart_is_put_together_again() {
        let line = |text: &str, index| Line::of_bash(words(text), index);
        let plain = line("offshoot logs 14", 2);
        assert_eq!((plain.words, plain.index, plain.cut), (words("offshoot logs 14"), 2, 0));
        let address = line("offshoot --url http : //127.0.0.1 : 3456 logs ", 8);
        assert_eq!(address.words, words("offshoot --url http://127.0.0.1:3456 logs "));
        assert_eq!((address.index, address.cut), (4, 0));
        let flag = line("offshoot submit --profile = ni", 4);
        assert_eq!((flag.words, flag.index, flag.cut), (words("offshoot submit --profile=ni"), 2, 10));
    }

    #[test]
    fn bash_reads_what_a_word_is_only_where_it_lists() {
        let one =
            |value: &str| CompletionCandidate::new(value).help(Some("failed: Fix it".to_owned().into()));
        let two = [one("--x=142"), one("--x=143")];
        assert_eq!(for_bash(&two, 4, Some(9), "\n"), "142\n143");
        assert_eq!(for_bash(&two, 4, Some(63), "\n"), "142  (failed: Fix it)\n143  (failed: Fix it)");
        // the only one is inserted
        assert_eq!(for_bash(&two[..1], 4, Some(63), "\n"), "142");
    }

    #[test]
    fn the_server_is_the_one_that_was_named() {
        let asker = |text: &str| Asker::of(&words(text), Environment::from_pairs([("HOME", "/nonexistent")]));
        let named = asker("offshoot logs --url http://h:1 --config c.toml 142 --raw --attempt");
        assert_eq!(named.global.url.as_deref(), Some("http://h:1"));
        assert_eq!(named.global.config, Some(PathBuf::from("c.toml")));
        assert_eq!(named.job.as_deref(), Some("142"));
        let before = asker("offshoot --url http://h:2 cancel 142");
        assert_eq!(before.global.url.as_deref(), Some("http://h:2"));
        assert_eq!(before.given, ["142"]);
        // what is the value of another flag was not named
        for (line, given) in [
            ("offshoot logs --attempt 2", &[][..]),
            ("offshoot logs 7 -n 142", &["7"]),
            ("offshoot submit --priority 3 --after 4 --after 5", &["4", "5"]),
            ("offshoot webhook redeliver 8 9", &["8", "9"]),
        ] {
            assert_eq!(asker(line).given, given, "{line}");
        }
    }
}
