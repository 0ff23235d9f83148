//! What the members of requests are called on the command line.

use crate::wire::problem::Fault;

/// Members by the beginning of their pointer, with the flag that sets them.
const FLAGS: &[(&str, &str)] = &[
    ("/attachments", "attach"),
    ("/allowSecrets", "allow-secret"),
    ("/baseBranch", "base"),
    ("/branchName", "branch"),
    ("/clientId", "repo"),
    ("/cloneUrl", "clone-url"),
    ("/defaultBranch", "default-branch"),
    ("/dependsOn", "after"),
    ("/githubOrg", "repo"),
    ("/githubRepo", "repo"),
    ("/labels", "label"),
    ("/name", "name"),
    ("/options/agent", "agent"),
    ("/options/artifacts", "artifact"),
    ("/options/maxBudgetUsd", "budget"),
    ("/options/maxTurns", "max-turns"),
    ("/options/model", "model"),
    ("/options/publish", "publish"),
    ("/options/timeoutSeconds", "timeout"),
    ("/osCallbackUrl", "callback"),
    ("/osClientId", "os-client-id"),
    ("/priority", "priority"),
    ("/profile", "profile"),
    ("/runAt", "at"),
    ("/title", "title"),
    ("/variables", "var"),
];

/// The long flag that sets what `pointer` points at, without its hyphens.
pub(super) fn flag_of(pointer: &str) -> Option<&'static str> {
    let is_within = |member: &str| {
        pointer.strip_prefix(member).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    FLAGS.iter().find(|(member, _)| is_within(member)).map(|(_, flag)| *flag)
}

/// A member without the marks of a pointer: `options.setup.0`.
pub(super) fn member(pointer: &str) -> String {
    bare(pointer).replace('/', ".")
}

/// A fault as the server says it in the one line that stands for all.
pub(super) fn told(fault: &Fault) -> String {
    format!("{} {}", bare(&fault.pointer), fault.detail)
}

fn bare(pointer: &str) -> &str {
    match pointer.trim_start_matches(['/', '?']) {
        "" => "the body",
        member => member,
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::cli::args::Cli;

    #[test]
    fn members_are_called_by_flags_that_there_are() {
        assert_eq!(flag_of("/options/timeoutSeconds"), Some("timeout"));
        assert_eq!(flag_of("/dependsOn/0"), Some("after"));
        assert_eq!((flag_of("/names"), flag_of("/options/setup/0")), (None, None));
        assert_eq!(member("/options/setup/0"), "options.setup.0");
        let command = Cli::command();
        for (member, flag) in FLAGS {
            let mut below: Vec<_> = command.get_subcommands().collect();
            let mut found = false;
            while let Some(command) = below.pop() {
                found |= command.get_arguments().any(|argument| argument.get_long() == Some(flag));
                below.extend(command.get_subcommands());
            }
            assert!(found, "{member} --{flag}");
        }
    }
}
