//! The options behind `offshoot acp`.

use std::ffi::OsString;
use std::path::PathBuf;

use super::policy::Mode;

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Order {
    /// Program and arguments; never empty.
    pub(super) command: Vec<OsString>,
    pub(super) mode: Mode,
    pub(super) model: Option<String>,
    /// The conversation to go on with.
    pub(super) resume: Option<String>,
    /// What the agent may read besides its working directory.
    pub(super) more_dirs: Vec<PathBuf>,
    /// It is asked who it is, and for nothing else.
    pub(super) is_probe: bool,
}

impl Order {
    /// Reads `[--probe] [--mode=MODE] [--model=MODEL] [--resume=ID] [--directory=DIR].. -- COMMAND [ARGUMENT]..`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn read(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, &'static str> {
        let mut arguments = arguments.into_iter();
        let mut order = Self {
            command: Vec::new(),
            mode: Mode::Default,
            model: None,
            resume: None,
            more_dirs: Vec::new(),
            is_probe: false,
        };
        for argument in arguments.by_ref() {
            let text = argument.to_str().ok_or("an option is not UTF-8")?;
            match text.split_once('=') {
                None if text == "--" => break,
                None if text == "--probe" => order.is_probe = true,
                Some(("--mode", word)) => order.mode = Mode::parse(word).ok_or("there is no such mode")?,
                Some(("--model", model)) => order.model = Some(model.to_owned()),
                Some(("--resume", id)) => order.resume = Some(id.to_owned()),
                Some(("--directory", dir)) => order.more_dirs.push(dir.into()),
                _ => return Err("there is no such option, or no -- before the command"),
            }
        }
        order.command = arguments.collect();
        if order.command.is_empty() { Err("there is no command behind --") } else { Ok(order) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &[&str]) -> Result<Order, &'static str> {
        Order::read(words.iter().map(OsString::from))
    }

    #[test]
    fn options_end_at_the_dashes_and_everything_behind_is_the_command() {
        let order = read(&[
            "--mode=plan",
            "--model=a=b",
            "--resume=--probe",
            "--directory=/a",
            "--directory=/b",
            "--",
            "gemini",
            "--acp",
            "--",
        ]);
        let order = order.unwrap();
        assert_eq!((order.mode, order.model.as_deref()), (Mode::Plan, Some("a=b")));
        assert_eq!((order.resume.as_deref(), order.is_probe), (Some("--probe"), false));
        assert_eq!(order.more_dirs, [PathBuf::from("/a"), PathBuf::from("/b")]);
        assert_eq!(order.command, ["gemini", "--acp", "--"]);
        assert!(read(&["--probe", "--", "x"]).unwrap().is_probe);
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for words in
            [&[][..], &["--"], &["--probe"], &["gemini"], &["--mode=x", "--", "a"], &["--resume", "--", "a"]]
        {
            assert!(read(words).is_err(), "{words:?}");
        }
    }
}
