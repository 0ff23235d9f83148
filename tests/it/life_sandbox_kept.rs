//! What agents in the sandbox may not change although it lies where they write: the programs that the server starts outside of the walls, and
//! what makes the owner's own programs run something.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde_json::json;

use crate::git_fixture::PATH;
use crate::life_sandbox::sandboxed;
use crate::stand::{Stand, install_program};

/// A kind of agent: its program, what it would be told or made to run by, and a file that it writes; below the home directory.
struct Kind {
    name: &'static str,
    program: &'static str,
    kept: &'static [&'static str],
    written: &'static str,
}

/// Claude's program lies in the directory that it writes, as its own installation does.
const KINDS: &[Kind] = &[
    Kind {
        name: "claude",
        program: "home/.claude/local/claude",
        kept: &[
            ".claude/settings.json",
            ".claude/settings.local.json",
            ".claude/CLAUDE.md",
            ".claude/hooks/h.sh",
            ".claude/skills/s/SKILL.md",
            ".claude/statusline.sh",
            ".claude/local/claude",
            ".claude/.config.json",
        ],
        written: ".claude/projects/p/session.jsonl",
    },
    Kind {
        name: "codex",
        program: "agents/runner",
        kept: &[
            ".codex/config.toml",
            ".codex/.env",
            ".codex/AGENTS.md",
            ".codex/prompts/p.md",
            ".codex/requirements.toml",
            ".codex/models_cache.json",
            ".codex/automations/a/automation.toml",
            ".codex/environments/e.toml",
            ".codex/.tmp/plugins/p",
            ".codex/worktrees/w/x",
        ],
        written: ".codex/sessions/s.jsonl",
    },
    Kind {
        name: "gemini",
        program: "lent/deep/tools/runner",
        kept: &[
            ".gemini/settings.json",
            ".gemini/GEMINI.md",
            ".gemini/extensions/e.json",
            ".gemini/system.md",
            ".gemini/memory.md",
            ".gemini/antigravity/mcp_config.json",
            ".gemini/antigravity-cli/settings.json",
            ".gemini/config/mcp_config.json",
            ".gemini/extension_integrity.json",
        ],
        written: ".gemini/tmp/s.json",
    },
    Kind {
        name: "opencode",
        program: "agents/runner",
        kept: &[".config/opencode/opencode.json", ".config/opencode/plugin/p.ts"],
        written: ".local/share/opencode/storage/s.json",
    },
];

const OLD_CONFIG: &str = ".claude/.config.json";
const LOGINS: &str = ".local/share/opencode/auth.json";

/// Opencode's file of logins, with an entry too from which it would take settings.
fn logins(access: &str, expires: u64, has_more: bool) -> serde_json::Value {
    let mut logins = json!({"a": {"type": "oauth", "access": access, "refresh": access, "expires": expires}});
    if has_more {
        logins["http://127.0.0.1:1"] = json!({"type": "wellknown", "key": "BASH_ENV", "token": "/evil"});
    }
    logins
}

/// Takes its prompt for a script, whatever its kind.
const RUNNER: &str =
    "#!/bin/sh\ncase \"$1\" in --version|auth|login) echo 9.9.9; exit;; esac\nexec /bin/sh\n";

/// Each file below, with its text.
fn files(root: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut dirs = vec![root.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
            let (path, kind) = (entry.path(), entry.file_type().unwrap());
            if kind.is_dir() {
                dirs.push(path);
            } else if kind.is_file() {
                let name = path.strip_prefix(root).unwrap().display().to_string();
                found.insert(name, String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned());
            }
        }
    }
    found
}

fn put(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn install(stand: &Stand, name: &str) {
    let path = stand.path(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    install_program(&path, RUNNER);
}

/// Moves, writes, puts in the place of, and removes.
fn script(kind: &Kind, lent: &Path, note: &Path) -> String {
    let (lent, note) = (lent.display(), note.display());
    let mut lines = format!(
        "mv ~/.claude/local ~/.claude/local.old; mkdir ~/.claude/local; echo evil >> ~/.claude.json\n\
         mv {lent}/deep {lent}/old; mv {lent}/deep/tools {lent}/deep/old\n\
         mkdir -p {lent}/deep/bin {lent}/none/bin\n\
         for at in deep/tools/runner deep/told/tell deep/bin/git none/bin/git; do echo evil > {lent}/$at; done\n\
         echo fine > {lent}/deep/note\n"
    );
    for path in kind.kept {
        writeln!(
            lines,
            "mkdir -p $(dirname ~/{path}); echo evil > ~/{path}; echo evil > {lent}/new; mv -f {lent}/new ~/{path}; rm -rf ~/{path}"
        )
        .unwrap();
    }
    match kind.name {
        // nothing can stand for it: it is looked for at the end
        "claude" => writeln!(lines, "echo evil > ~/{OLD_CONFIG}").unwrap(),
        "opencode" => writeln!(lines, "echo '{}' > ~/{LOGINS}", logins("new", 9, true)).unwrap(),
        _ => {}
    }
    let written = kind.written;
    writeln!(lines, "mkdir -p $(dirname ~/{written}); echo session > ~/{written}").unwrap();
    writeln!(lines, "cat ~/.claude.json > {note}.new; mv {note}.new {note}").unwrap();
    lines
}

#[tokio::test]
async fn what_is_run_outside_of_the_walls_cannot_be_changed_from_inside() {
    let Some(mut stand) = sandboxed("what an agent can change of what runs outside").await else { return };
    let (home, lent) = (stand.path("home"), stand.path("lent"));
    let mut config = String::new();
    for kind in KINDS {
        install(&stand, kind.program);
        let program = stand.path(kind.program);
        writeln!(config, "[agents.own-{0}]\nkind = \"{0}\"\ncommand = {program:?}", kind.name).unwrap();
    }
    fs::create_dir(lent.join("deep/bin")).unwrap();
    // whoever tells people is run by the server itself
    install(&stand, "lent/deep/told/tell");
    let tell = stand.path("lent/deep/told/tell");
    writeln!(config, "[notify.own]\nkind = \"command\"\ncommand = [{tell:?}]\non = [\"held\"]").unwrap();
    put(&home.join(".claude/settings.json"), "{ }");
    put(&home.join(".claude/statusline.sh"), "true");
    put(&home.join(".claude.json"), "{\"mcpServers\": {}}");
    put(&home.join(".codex/config.toml"), "# the owner's\n");
    put(&home.join(LOGINS), &logins("old", 5, false).to_string());
    let [full, none] = ["deep/bin", "none/bin"].map(|name| lent.join(name).display().to_string());
    stand.set_env("PATH", format!("{full}:{none}:{PATH}"));
    stand.add_config(&config);
    stand.start().await;
    for kind in KINDS {
        let before = files(&home);
        let note = stand.path("notes").join(kind.name);
        let options = json!({"agent": format!("own-{}", kind.name), "publish": "none"});
        let prompt = script(kind, &lent, &note);
        let body = json!({"prompt": prompt, "branchName": format!("b-{}", kind.name), "options": options});
        let id = stand.submit(body).await;
        // it says nothing that an agent of its kind would: its job fails, or is tried again
        let told = stand.wait_until("its note", async || fs::read_to_string(&note).ok()).await;
        stand.cancel(&id).await;
        let job = stand.wait_for(&id, "its end", |job| !job["completedAt"].is_null()).await;
        let removed = job["warnings"].to_string().contains(&format!("{OLD_CONFIG}, which would be settings"));
        assert_eq!(removed, kind.name == "claude", "{}", job["warnings"]);
        let mut after = files(&home);
        if kind.name == "opencode" {
            let text = after.insert(LOGINS.to_owned(), before[LOGINS].clone()).unwrap();
            let expected = logins("new", 9, false);
            assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), expected, "tokens alone");
        }
        // an empty one stands where there was none, so that nobody can make it
        let is_new = |text: &str| !["", "{}\n"].contains(&text) && !text.starts_with("node_modules\n");
        let changed: Vec<_> = after
            .iter()
            .filter(|(name, text)| before.get(*name) != Some(*text) && is_new(text) && *name != kind.written)
            .collect();
        assert_eq!(changed, Vec::<(&String, &String)>::new(), "{}", kind.name);
        let gone: Vec<_> = before.keys().filter(|name| !after.contains_key(*name)).collect();
        assert_eq!(gone, Vec::<&String>::new(), "{}", kind.name);
        assert_eq!(after.get(kind.written).map(String::as_str), Some("session\n"), "{}", kind.name);
        // its own copy takes what it writes, and nobody else has one
        assert_eq!(told.contains("evil"), kind.name == "claude", "{told}");
        let at_lent = files(&lent);
        assert_eq!(at_lent.get("deep/note").map(String::as_str), Some("fine\n"), "beside them it writes");
        for program in ["deep/tools/runner", "deep/told/tell"] {
            assert_eq!(at_lent.get(program).map(String::as_str), Some(RUNNER), "{program}");
        }
        let names: Vec<_> = at_lent.keys().filter(|name| !name.starts_with("deep/")).collect();
        assert!(
            names.iter().all(|name| *name == "new") && !at_lent.contains_key("deep/bin/git"),
            "{at_lent:?}"
        );
    }
    stand.kill9().await;
}
