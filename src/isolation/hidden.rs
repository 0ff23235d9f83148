//! What is not there inside of a sandbox.

use std::path::{Path, PathBuf};

/// Below the home directory: keys, logins, tokens, and what people keep for themselves. A program that needs one of them is
/// given it by the owner (`[sandbox] read`), who knows then that the agent has it.
const IN_HOME: &[&str] = &[
    // ssh, signing and password stores
    ".ssh",
    ".gnupg",
    ".password-store",
    ".local/share/keyrings",
    ".local/share/kwalletd",
    ".local/share/gnupg",
    ".pki",
    ".age",
    ".config/age",
    ".config/sops",
    ".config/op",
    ".config/Bitwarden",
    ".config/keepassxc",
    "Library/Keychains",
    // git and forges: a helper, a header or an address with a token in it; author and committer come by the environment
    ".gitconfig",
    ".config/git",
    ".git-credentials",
    ".config/gh",
    ".config/hub",
    ".config/glab-cli",
    ".config/tea",
    ".netrc",
    // clouds and clusters
    ".aws",
    ".azure",
    ".config/gcloud",
    ".config/doctl",
    ".config/hcloud",
    ".config/heroku",
    ".config/rclone",
    ".config/fly",
    ".fly",
    ".oci",
    ".boto",
    ".s3cfg",
    ".kube",
    ".docker",
    ".config/containers",
    ".terraform.d",
    ".terraformrc",
    ".vault-token",
    ".config/cloudflared",
    ".cloudflared",
    ".config/ngrok",
    // registries of packages
    ".npmrc",
    ".yarnrc",
    ".yarnrc.yml",
    ".pypirc",
    ".config/pip",
    ".cargo/credentials",
    ".cargo/credentials.toml",
    ".gem/credentials",
    ".m2/settings.xml",
    ".m2/settings-security.xml",
    ".gradle/gradle.properties",
    ".composer/auth.json",
    ".config/composer/auth.json",
    ".nuget",
    // databases
    ".pgpass",
    ".my.cnf",
    ".mylogin.cnf",
    ".config/mongodb",
    // browsers, mail and chat
    ".mozilla",
    ".config/google-chrome",
    ".config/chromium",
    ".config/BraveSoftware",
    ".config/microsoft-edge",
    ".config/vivaldi",
    ".config/opera",
    ".var/app",
    "snap",
    ".thunderbird",
    ".config/evolution",
    ".local/share/evolution",
    ".config/Signal",
    ".config/Slack",
    ".config/discord",
    ".local/share/TelegramDesktop",
    "Library/Application Support",
    "Library/Cookies",
    // what was typed
    ".bash_history",
    ".zsh_history",
    ".local/share/fish/fish_history",
    ".python_history",
    ".node_repl_history",
    ".psql_history",
    ".mysql_history",
    ".sqlite_history",
    ".lesshst",
    ".viminfo",
    // screens
    ".Xauthority",
    ".ICEauthority",
    // of this program: its configuration may hold tokens
    ".config/offshoot",
];

/// Outside of it, whatever their modes: a group can be let in. What only root may read is found besides ([`super::closed`]).
const IN_SYSTEM: &[&str] = &[
    "/etc/shadow",
    "/etc/shadow-",
    "/etc/gshadow",
    "/etc/gshadow-",
    "/etc/sudoers",
    "/etc/sudoers.d",
    "/etc/ssh",
    "/etc/ssl/private",
    "/etc/kubernetes",
    "/etc/docker",
    "/etc/wireguard",
    "/etc/NetworkManager/system-connections",
    "/etc/krb5.keytab",
    "/etc/offshoot",
    "/var/spool/cron",
    "/var/lib/docker",
    "/var/lib/containerd",
    "/var/lib/kubelet",
    "/var/lib/systemd/linger",
];

/// Directories of the user that the base directory specification lets stand elsewhere, with the variable that says where.
const MOVED: &[(&str, &str)] = &[(".config", "XDG_CONFIG_HOME"), (".local/share", "XDG_DATA_HOME")];

/// All of the above, for this home directory. `variable` looks into the environment that programs inside are given.
#[must_use]
pub fn usual(home: Option<&Path>, variable: impl Fn(&str) -> Option<PathBuf>) -> Vec<PathBuf> {
    let mut hidden: Vec<PathBuf> = IN_SYSTEM.iter().map(PathBuf::from).collect();
    if let Some(home) = home {
        hidden.extend(IN_HOME.iter().map(|name| home.join(name)));
    }
    for (usual, name) in MOVED {
        let Some(moved) = variable(name).filter(|dir| dir.is_absolute()) else { continue };
        let below = IN_HOME.iter().filter_map(|path| path.strip_prefix(usual)?.strip_prefix('/'));
        hidden.extend(below.map(|rest| moved.join(rest)));
    }
    hidden
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_hidden_moves_with_the_directories_of_the_user() {
        let moved = |name: &str| (name == "XDG_CONFIG_HOME").then(|| PathBuf::from("/conf"));
        let hidden = usual(Some(Path::new("/home/me")), moved);
        for path in ["/home/me/.ssh", "/home/me/.config/gh", "/conf/gh", "/etc/shadow"] {
            assert!(hidden.contains(&PathBuf::from(path)), "{path}");
        }
        assert!(!hidden.iter().any(|path| path == Path::new("/conf")), "only what is named");
        assert!(usual(None, |_| None).iter().all(|path| path.is_absolute()));
    }

    #[test]
    fn no_name_leads_out_of_the_home_directory_or_takes_it_whole() {
        for name in IN_HOME {
            let path = Path::new(name);
            assert!(path.is_relative() && !name.is_empty(), "{name}");
            let plain = |part| matches!(part, std::path::Component::Normal(_));
            assert!(path.components().all(plain), "{name}");
        }
    }
}
