//! A line around the walls, drawn with Landlock (landlock(7)): whoever is within reaches no socket with an abstract name of somebody
//! outside, and signals nobody there. Mounts do not hold such sockets: they belong to the network, which is often the machine's.
//!
//! It says nothing of files, so it forbids no mount and comes before the walls: `offshoot walls bwrap …` draws it around
//! itself and becomes bubblewrap. What comes later is within. Needs Linux 6.12.

use std::ffi::OsString;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

use super::calls;

#[cfg(target_os = "linux")]
use landlock::{
    CompatLevel, Compatible as _, Ruleset, RulesetAttr as _, RulesetCreated, RulesetError, RulesetStatus,
    Scope,
};

/// How this program is called to draw the line: the supervisor of a step is the same program, and what it starts finds it
/// there, also when the file has been replaced since.
pub(super) const DRAW: [&str; 2] = ["/proc/self/exe", "walls"];
/// The same where the kernel has no Landlock: the filter of system calls alone.
pub(super) const FILTER: [&str; 3] = ["/proc/self/exe", "walls", WITHOUT_LINE];
const WITHOUT_LINE: &str = "--without-landlock";

/// Whether this kernel can hold the line; draws none.
#[cfg(target_os = "linux")]
pub(super) fn works() -> bool {
    line().is_ok()
}

#[cfg(not(target_os = "linux"))]
pub(super) fn works() -> bool {
    false
}

/// The program `walls`: draws the line, keeps from keyrings and becomes what follows. Comes back with the reason on standard error:
/// nothing is started without.
pub fn walls_main(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let mut arguments = arguments.peekable();
    let is_without_line = arguments.next_if(|word| word == WITHOUT_LINE).is_some();
    let drawn = if is_without_line { Ok(()) } else { draw() };
    let why = match (drawn.and_then(|()| calls::keep_from_keyrings()), arguments.next()) {
        (Err(why), _) => why,
        (Ok(()), None) => "no program".to_owned(),
        (Ok(()), Some(program)) => Command::new(program).args(arguments).exec().to_string(),
    };
    // nobody is left to be told of a failure
    let _ = writeln!(std::io::stderr(), "the sandbox cannot be put up: {why}");
    ExitCode::FAILURE
}

#[cfg(target_os = "linux")]
fn line() -> Result<RulesetCreated, RulesetError> {
    Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .scope(Scope::AbstractUnixSocket | Scope::Signal)?
        .create()
}

/// This and all that comes of it can gain no privileges any more, which Landlock demands and bubblewrap does too.
#[cfg(target_os = "linux")]
fn draw() -> Result<(), String> {
    let drawn = line().and_then(RulesetCreated::restrict_self).map_err(|error| error.to_string())?;
    match drawn.ruleset {
        RulesetStatus::FullyEnforced => Ok(()),
        _ => Err("Landlock is not enforced".to_owned()),
    }
}

#[cfg(not(target_os = "linux"))]
fn draw() -> Result<(), String> {
    Err("there is no Landlock on this system".to_owned())
}
