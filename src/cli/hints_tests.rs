//! The commands that the reasons name are commands.

use clap::Parser as _;

use super::args::Cli;
use crate::doctor::Fault;
use crate::domain::reason::ReasonCode;

/// The commands of a hint, each from `offshoot` to where a person would see its end.
fn commands(hint: &str) -> Vec<&str> {
    let begins = |at: usize| {
        hint[at..].strip_prefix("offshoot ").is_some_and(|rest| rest.starts_with(char::is_alphabetic))
    };
    let starts = hint.match_indices("offshoot ").map(|(at, _)| at).filter(|at| begins(*at));
    starts
        .map(|at| {
            let rest = &hint[at..];
            let end = [";", " (", ", ", ")"].iter().filter_map(|mark| rest.find(mark)).min();
            &rest[..end.unwrap_or(rest.len())]
        })
        .collect()
}

#[test]
fn every_command_that_a_hint_names_can_be_typed() {
    let mut found = 0;
    for code in ReasonCode::ALL {
        for command in [code.hint(), code.hint_while_it_goes_on()].into_iter().flat_map(commands) {
            let words = command.split(' ').map(|word| match word {
                "JOB" => "1",
                "N" => "7",
                "DURATION" => "30m",
                word => word,
            });
            let parsed = Cli::try_parse_from(words);
            assert!(parsed.is_ok(), "{code}: {command}: {:?}", parsed.err().map(|error| error.to_string()));
            found += 1;
        }
    }
    assert!(found > 40, "{found} commands in all hints");
}

/// What the doctor tells people to type is typed with what was found in the place of the words in capitals.
#[test]
fn every_command_that_the_doctor_names_can_be_typed() {
    let mut found = 0;
    for fault in Fault::ALL {
        for command in fault.mend().split(" && ").filter(|command| command.starts_with("offshoot ")) {
            let parsed = Cli::try_parse_from(command.replace("PORT", "3457").split(' '));
            assert!(
                parsed.is_ok(),
                "{fault:?}: {command}: {:?}",
                parsed.err().map(|error| error.to_string())
            );
            found += 1;
        }
    }
    assert!(found > 12, "{found} commands");
}
