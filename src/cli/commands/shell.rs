//! `offshoot completions`, `offshoot man`: what the definition of the command line is turned into for others.

use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::cli::args::Cli;
use crate::cli::completion;
use crate::cli::error::{CliError, ErrorKind};
use crate::cli::output::Output;

const NAME: &str = "offshoot";

/// Prints the script by which a shell asks this program for completions.
pub(in crate::cli) fn completions(shell: Shell, out: &mut Output) -> Result<(), CliError> {
    out.bytes(&completion::script(&shell.to_string())?)
}

/// Prints the manual page of the program, or of one of its commands: `man` of `queue pause`.
pub(in crate::cli) fn man(words: &[String], out: &mut Output) -> Result<(), CliError> {
    let mut command = Cli::command();
    command.build();
    let mut name = NAME.to_owned();
    for word in words {
        let Some(below) = command.find_subcommand(word) else {
            let known: Vec<_> = command.get_subcommands().map(clap::Command::get_name).collect();
            let message = format!("{name} has no command {word:?}; it has {}", known.join(", "));
            return Err(
                CliError::new(ErrorKind::NotFound, message).hint("see them", format!("{name} --help"))
            );
        };
        command = below.clone();
        name = format!("{name} {word}");
    }
    let page = clap_mangen::Man::new(command).title(name.replace(' ', "-"));
    let mut text = Vec::new();
    page.render(&mut text).map_err(|error| CliError::output(&error))?;
    out.bytes(&text)
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;

    use super::*;
    use crate::cli::output::Style;
    use crate::cli::output::tests::Captured;

    #[test]
    fn every_shell_gets_a_script_that_asks_this_program() {
        for shell in Shell::value_variants() {
            let captured = Captured::default();
            completions(*shell, &mut captured.output(Style::default())).unwrap();
            assert!(captured.out().contains(completion::VARIABLE), "{shell}");
        }
    }

    #[test]
    fn every_command_has_a_manual_page() {
        let page = |words: &[&str]| {
            let captured = Captured::default();
            let words: Vec<_> = words.iter().map(|&word| word.to_owned()).collect();
            man(&words, &mut captured.output(Style::default())).map(|()| captured.out())
        };
        assert!(page(&[]).unwrap().contains(".TH offshoot 1"));
        assert!(page(&["queue", "pause"]).unwrap().contains("reason"));
        let error = page(&["queue", "pauze"]).expect_err("there is none");
        assert!(error.message.contains("pause"), "{error}");
    }
}
