//! The desktop of whoever runs the server: the program that each system has for it, with the texts as arguments and no shell.

use super::text::{Told, cut, escape};
use crate::domain::notice::NoticeKind;

/// Characters that a desktop shows at all.
const BODY_CHARS_MAX: usize = 400;

/// The body of a freedesktop notification is markup.
const ESCAPED: &[(char, &str)] = &[('&', "&amp;"), ('<', "&lt;"), ('>', "&gt;")];

/// The program and its arguments, for this system.
pub(super) fn command(told: Told<'_>, is_macos: bool) -> Vec<String> {
    if is_macos { osascript(told) } else { notify_send(told) }
}

fn body(told: Told<'_>) -> String {
    let lines = [Some(told.sentence()), told.place()];
    cut(&lines.into_iter().flatten().collect::<Vec<_>>().join("\n"), BODY_CHARS_MAX)
}

fn notify_send(told: Told<'_>) -> Vec<String> {
    // a critical one stays until somebody has seen it
    let urgency = if told.notice.kind() == NoticeKind::NeedsInput { "critical" } else { "normal" };
    let words = ["notify-send", "--app-name=offshoot", &format!("--urgency={urgency}"), "--"];
    let mut command: Vec<String> = words.map(str::to_owned).to_vec();
    command.extend([told.title(), escape(&body(told), ESCAPED)]);
    command
}

/// The texts are arguments of the script and never part of it. A title begins with a letter, which ends the options.
fn osascript(told: Told<'_>) -> Vec<String> {
    let script = [
        "osascript",
        "-e",
        "on run argv",
        "-e",
        "display notification (item 2 of argv) with title (item 1 of argv)",
        "-e",
        "end run",
    ];
    let mut command: Vec<String> = script.map(str::to_owned).to_vec();
    command.extend([told.title(), body(told)]);
    command
}

#[cfg(test)]
mod tests {
    use super::super::text::tests::{PAGE, longest, notice};
    use super::*;

    #[test]
    fn the_texts_are_arguments_of_their_own() {
        let mut sly = notice(NoticeKind::NeedsInput);
        sly.sentence = "--icon=/etc/passwd $(reboot) \" <b>".to_owned();
        let told = Told { notice: &sly, page: PAGE };
        let expected = [
            "notify-send",
            "--app-name=offshoot",
            "--urgency=critical",
            "--",
            "Job 7 finished: Größe <b> & mehr",
            "--icon=/etc/passwd $(reboot) \" &lt;b&gt;\nacme/widgets, fix/log_in",
        ];
        assert_eq!(command(told, false), expected);
        let mac = command(told, true);
        assert_eq!(
            mac[7..],
            [
                "Job 7 finished: Größe <b> & mehr",
                "--icon=/etc/passwd $(reboot) \" <b>\nacme/widgets, fix/log_in"
            ]
        );
        assert!(!mac[..7].concat().contains("reboot"));
    }

    #[test]
    fn the_longest_is_cut() {
        let command = command(Told { notice: &longest(), page: PAGE }, true);
        assert_eq!(command.last().unwrap().chars().count(), BODY_CHARS_MAX);
    }
}
