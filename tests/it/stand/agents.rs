//! Agents that note what they are told.

use super::Stand;

/// What the real program says of a conversation that it does not have.
pub(crate) const UNKNOWN: &str = "echo 'No conversation found with session ID: x' >&2; exit 1";

impl Stand {
    /// The scripted agent behind a script that notes which conversation it is to hold, and its prompt. Where one is to be
    /// continued, it runs `vain` before it comes to that.
    pub(crate) fn install_noting_claude(&self, vain: &str) {
        let own = env!("CARGO_BIN_EXE_offshoot");
        let (args, prompts, runs) = (self.path("args"), self.path("prompts"), self.path("runs"));
        let vain = if vain.is_empty() { ":" } else { vain };
        let script = format!(
            "#!/bin/sh\ncase \"$1\" in --version|auth) exec {own} scripted-agent \"$@\";; esac\n\
             echo \"$$ $PWD\" >> {runs}\n\
             for word; do case \"$word\" in --session-id=*|--resume=*) echo \"$word\" >> {args};; esac; done\n\
             case \"$*\" in *--resume=*) {vain};; esac\n\
             cat > {prompts}.$$; cat {prompts}.$$ >> {prompts}; exec {own} scripted-agent \"$@\" < {prompts}.$$\n",
            args = args.display(),
            prompts = prompts.display(),
            runs = runs.display(),
        );
        self.install("claude", &script);
    }

    /// A command that notes each of its runs and waits for its gate, both under this name.
    pub(crate) fn gated(&self, name: &str) -> String {
        let (runs, gate) = (self.path(name), self.gate(name));
        format!("echo run >> {}; while [ ! -e {} ]; do sleep 0.02; done", runs.display(), gate.display())
    }

    /// Waits until the command of that name has begun so often.
    pub(crate) async fn has_run(&self, name: &str, times: usize) {
        let runs = || std::fs::read_to_string(self.path(name)).unwrap_or_default().lines().count();
        self.wait_until("the command runs", async || (runs() >= times).then_some(())).await;
    }

    /// The conversations that agents were to hold, as they were told, in order.
    pub(crate) fn conversations(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.path("args")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// All prompts, one behind the other.
    pub(crate) fn prompts(&self) -> String {
        std::fs::read_to_string(self.path("prompts")).unwrap_or_default()
    }
}
