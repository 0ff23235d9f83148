//! The only place that prints: answers on standard output, everything said besides on standard error.
//!
//! Colour is decoration, never the only carrier of a meaning, and absent unless the stream is a terminal, `NO_COLOR` is
//! unset and `TERM` is not `dumb`.

use std::io::{self, IsTerminal as _, Write};
use std::process::ExitCode;

use comfy_table::{Cell, ContentArrangement, Table, presets};
use serde::Serialize;

use super::args::Colour;
use super::error::CliError;
use super::human;

/// What a word means, for colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    Good,
    Bad,
    Busy,
    Quiet,
}

/// How to print, decided once at start.
#[derive(Clone, Copy, Debug, Default)]
pub struct Style {
    pub json: bool,
    pub colour_out: bool,
    pub colour_err: bool,
    /// Whether standard output is a terminal: tables are fitted to its width then.
    pub terminal: bool,
}

impl Style {
    /// For this process's own streams. `plain` is what the environment asks for.
    pub(super) fn of_terminal(json: bool, colour: Colour, plain: bool) -> Self {
        let terminal = io::stdout().is_terminal();
        let wanted = |is_terminal: bool| match colour {
            Colour::Always => true,
            Colour::Never => false,
            Colour::Auto => is_terminal && !plain,
        };
        Self {
            json,
            colour_out: !json && wanted(terminal),
            colour_err: wanted(io::stderr().is_terminal()),
            terminal,
        }
    }
}

/// Where a command's words go.
pub struct Output {
    out: Box<dyn Write>,
    err: Box<dyn Write>,
    style: Style,
}

impl Output {
    /// Prints to `out` and talks to `err`.
    #[must_use]
    pub fn new(out: Box<dyn Write>, err: Box<dyn Write>, style: Style) -> Self {
        Self { out, err, style }
    }

    /// Prints to this process's own streams.
    #[must_use]
    pub fn to_terminal(style: Style) -> Self {
        Self::new(Box::new(io::stdout()), Box::new(io::stderr()), style)
    }

    /// Whether a program that this process starts would find a terminal where we print to.
    #[must_use]
    pub fn is_on_a_terminal() -> bool {
        io::stdout().is_terminal()
    }

    /// Whether answers are JSON.
    #[must_use]
    pub fn is_json(&self) -> bool {
        self.style.json
    }

    /// Whether a person reads the answer on a terminal.
    #[must_use]
    pub fn is_for_people(&self) -> bool {
        self.style.terminal && !self.style.json
    }

    /// One line, or several, of the answer.
    ///
    /// # Errors
    /// When standard output takes nothing more; a reader that went away is no failure of the command.
    pub fn line(&mut self, text: &str) -> Result<(), CliError> {
        self.bytes(text.as_bytes())?;
        self.bytes(b"\n")
    }

    /// A part of the answer as it is, for output that is not ours to change.
    ///
    /// # Errors
    /// As [`Self::line`].
    pub fn bytes(&mut self, bytes: &[u8]) -> Result<(), CliError> {
        self.out.write_all(bytes).and_then(|()| self.out.flush()).map_err(|error| CliError::output(&error))
    }

    /// The whole answer as JSON for people and programs: indented.
    ///
    /// # Errors
    /// As [`Self::line`].
    pub fn json<T: Serialize>(&mut self, value: &T) -> Result<(), CliError> {
        let text = serde_json::to_string_pretty(value).map_err(|error| CliError::output(&error.into()))?;
        self.line(&text)
    }

    /// One value of a stream of JSON values: one a line.
    ///
    /// # Errors
    /// As [`Self::line`].
    pub fn json_line<T: Serialize>(&mut self, value: &T) -> Result<(), CliError> {
        let text = serde_json::to_string(value).map_err(|error| CliError::output(&error.into()))?;
        self.line(&text)
    }

    /// A word of the answer in the colour of what it means.
    #[must_use]
    pub(super) fn toned(&self, text: &str, tone: Tone) -> String {
        paint(text, tone, self.style.colour_out)
    }

    /// Something said besides the answer. Nobody listening is fine.
    pub fn say(&mut self, text: &str) {
        let _ = writeln!(self.err, "{text}");
    }

    /// The last words of a command that failed.
    pub fn error(&mut self, error: &CliError) {
        if self.style.json {
            let _ = self.json(&error.to_problem());
            return;
        }
        let head = paint("error:", Tone::Bad, self.style.colour_err);
        self.say(&format!("{head} {}", error.to_text()));
    }

    /// What the reader of the command line has to say: help and versions are answers, faults are errors.
    pub(super) fn usage(&mut self, error: &clap::Error) -> ExitCode {
        let code = ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        let text = error.render();
        let coloured = if error.use_stderr() { self.style.colour_err } else { self.style.colour_out };
        let shown = if coloured { text.ansi().to_string() } else { text.to_string() };
        if !error.use_stderr() {
            let _ = self.line(shown.trim_end());
        } else if self.style.json {
            let message = text.to_string();
            let message = message.lines().next().unwrap_or_default().trim_start_matches("error: ");
            self.error(&CliError::usage(message));
        } else {
            self.say(shown.trim_end());
        }
        code
    }

    /// A table with `head` above its columns. Cells are made harmless here; the second column carries `tones`.
    ///
    /// # Errors
    /// As [`Self::line`].
    pub(super) fn table(
        &mut self,
        head: &[&str],
        rows: Vec<Vec<String>>,
        tones: &[Option<Tone>],
    ) -> Result<(), CliError> {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        if self.style.terminal {
            table.set_content_arrangement(ContentArrangement::Dynamic);
        } else {
            table.force_no_tty();
        }
        if self.style.colour_out {
            table.enforce_styling();
        }
        table.set_header(head.iter().map(Cell::new));
        for (index, row) in rows.into_iter().enumerate() {
            let tone = tones.get(index).copied().flatten().filter(|_| self.style.colour_out);
            table.add_row(row.iter().enumerate().map(|(column, text)| {
                let cell = Cell::new(human::printable(text));
                match tone.filter(|_| column == 1) {
                    Some(Tone::Good) => cell.fg(comfy_table::Color::DarkGreen),
                    Some(Tone::Bad) => cell.fg(comfy_table::Color::DarkRed),
                    Some(Tone::Busy) => cell.fg(comfy_table::Color::DarkCyan),
                    Some(Tone::Quiet) => cell.fg(comfy_table::Color::DarkGrey),
                    None => cell,
                }
            }));
        }
        for column in table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        let text = table.trim_fmt();
        self.line(&text)
    }
}

/// SGR colours of ECMA-48, from the eight that every terminal has.
fn paint(text: &str, tone: Tone, colour: bool) -> String {
    if !colour {
        return text.to_owned();
    }
    let code = match tone {
        Tone::Good => "32",
        Tone::Bad => "31",
        Tone::Busy => "36",
        Tone::Quiet => "2",
    };
    format!("\u{1b}[{code}m{text}\u{1b}[0m")
}

#[cfg(test)]
pub(super) mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use super::*;
    use crate::cli::error::ErrorKind;

    /// Both streams, to be looked at afterwards.
    #[derive(Clone, Default)]
    pub(in crate::cli) struct Captured {
        out: Rc<RefCell<Vec<u8>>>,
        err: Rc<RefCell<Vec<u8>>>,
    }

    struct Stream(Rc<RefCell<Vec<u8>>>);

    impl Write for Stream {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.borrow_mut().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Captured {
        pub(in crate::cli) fn output(&self, style: Style) -> Output {
            Output::new(Box::new(Stream(self.out.clone())), Box::new(Stream(self.err.clone())), style)
        }

        pub(in crate::cli) fn out(&self) -> String {
            String::from_utf8(self.out.borrow().clone()).unwrap()
        }

        pub(in crate::cli) fn err(&self) -> String {
            String::from_utf8(self.err.borrow().clone()).unwrap()
        }
    }

    /// A pipe whose reader has gone.
    struct Gone;

    impl Write for Gone {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn an_error_is_talk_for_people_and_an_answer_for_programs() {
        let error = CliError::usage("there is no prompt").hint("give it", "offshoot submit TEXT");
        let people = Captured::default();
        people.output(Style::default()).error(&error);
        assert_eq!(people.out(), "");
        assert_eq!(people.err(), "error: there is no prompt\n  give it:  offshoot submit TEXT\n");
        let program = Captured::default();
        program.output(Style { json: true, ..Style::default() }).error(&error);
        assert_eq!(program.err(), "");
        let problem: serde_json::Value = serde_json::from_str(&program.out()).unwrap();
        assert_eq!(problem["error"], "there is no prompt");
    }

    #[test]
    fn a_reader_that_went_away_ends_the_answer_only() {
        let mut out = Output::new(Box::new(Gone), Box::new(Gone), Style::default());
        assert_eq!(out.line("x").expect_err("nobody reads").kind, ErrorKind::ReaderGone);
        out.say("nobody listens");
    }
}
