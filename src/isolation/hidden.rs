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
    ".config/Bitwarden CLI",
    ".config/1Password",
    ".1password",
    ".bitwarden-ssh-agent.sock",
    ".config/KeePass",
    ".keepass",
    ".keepassx",
    ".local/share/pass",
    ".local/share/rbw",
    ".config/rbw",
    ".config/gopass",
    ".local/share/gopass",
    ".lastpass",
    ".config/lpass",
    ".local/share/lpass",
    ".authinfo",
    ".authinfo.gpg",
    ".config/systemd",
    ".config/environment.d",
    ".config/keepassxc",
    "Library/Keychains",
    // git and forges: a helper, a header or an address with a token in it; author and committer come by the environment
    ".gitconfig",
    ".config/git",
    ".git-credentials",
    ".config/gh",
    ".config/hub",
    ".config/github-copilot",
    ".config/gitlab",
    ".config/gitea",
    ".config/jj",
    ".config/hg",
    ".hgrc",
    ".gcm",
    ".gitcookies",
    ".subversion",
    ".bazaar",
    ".fossil",
    ".sentryclirc",
    ".config/sentry",
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
    ".ngrok2",
    ".config/configstore",
    ".config/netlify",
    ".netlify",
    ".config/stripe",
    ".config/vercel",
    ".local/share/com.vercel.cli",
    ".vercel",
    ".config/railway",
    ".railway",
    ".config/supabase",
    ".supabase",
    ".config/.wrangler",
    ".wrangler",
    ".config/firebase",
    ".config/scw",
    ".config/exoscale",
    ".config/linode-cli",
    ".config/upctl.yaml",
    ".config/yandex-cloud",
    ".bluemix",
    ".aliyun",
    ".tencentcloud",
    ".pulumi",
    ".databrickscfg",
    ".databricks",
    ".kaggle",
    ".config/kaggle",
    ".jfrog",
    ".snowflake",
    ".snowsql",
    ".config/snowflake",
    ".config/helm",
    ".config/argocd",
    ".argocd",
    ".config/k9s",
    ".config/vault",
    ".vault",
    ".config/tailscale",
    ".config/wireguard",
    ".config/step",
    ".step",
    ".local/share/mkcert",
    ".huggingface",
    ".netlifyrc",
    ".circleci",
    ".travis",
    ".ansible",
    ".vagrant.d",
    ".config/solana",
    ".ethereum",
    ".bitcoin",
    ".electrum",
    ".foundry/keystores",
    ".krb5",
    // machines and containers that take orders by a socket
    ".colima",
    ".lima",
    ".rd",
    ".orbstack",
    ".minikube",
    ".multipass",
    ".local/share/containers",
    ".local/share/lima",
    ".config/lima",
    ".config/lxc",
    ".config/incus",
    ".config/libvirt",
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
    ".librewolf",
    ".waterfox",
    ".zen",
    ".floorp",
    ".tor-browser",
    ".config/mozilla",
    ".config/google-chrome",
    ".config/google-chrome-beta",
    ".config/google-chrome-unstable",
    ".config/google-chrome-for-testing",
    ".config/chromium",
    ".config/BraveSoftware",
    ".config/microsoft-edge",
    ".config/microsoft-edge-beta",
    ".config/microsoft-edge-dev",
    ".config/vivaldi",
    ".config/opera",
    ".config/opera-beta",
    ".config/Arc",
    ".config/Code",
    ".config/Code - Insiders",
    ".config/Code - OSS",
    ".config/VSCodium",
    ".config/Cursor",
    ".config/Windsurf",
    ".config/zed",
    ".local/share/zed",
    ".config/JetBrains",
    ".local/share/JetBrains",
    ".config/Postman",
    ".config/Insomnia",
    ".config/DBeaver",
    ".local/share/DBeaverData",
    ".var/app",
    "snap",
    ".thunderbird",
    ".config/evolution",
    ".local/share/evolution",
    ".config/Signal",
    ".config/Element",
    ".config/teams",
    ".config/Microsoft",
    ".config/zoomus.conf",
    ".config/skypeforlinux",
    ".config/weechat",
    ".weechat",
    ".irssi",
    ".config/Mattermost",
    ".config/Claude",
    ".msmtprc",
    ".config/msmtp",
    ".mbsyncrc",
    ".offlineimaprc",
    ".fetchmailrc",
    ".muttrc",
    ".mutt",
    ".config/mutt",
    ".config/neomutt",
    ".config/aerc",
    ".config/himalaya",
    ".mail",
    "Maildir",
    ".config/Slack",
    ".config/discord",
    ".local/share/TelegramDesktop",
    "Library/Application Support",
    "Library/Cookies",
    // what was typed
    ".bash_history",
    ".zsh_history",
    ".zhistory",
    ".histfile",
    ".history",
    ".sh_history",
    ".ksh_history",
    ".zsh_sessions",
    ".local/share/atuin",
    ".local/share/zsh",
    ".local/state/zsh",
    ".local/state/bash",
    ".irb_history",
    ".rediscli_history",
    ".mongosh",
    ".dbshell",
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
    "/var/lib/lxd",
    "/var/snap/lxd",
    "/var/lib/incus",
    "/var/lib/libvirt",
    "/var/lib/containers",
    "/var/lib/containerd",
    "/var/lib/kubelet",
    "/var/lib/systemd/linger",
];

/// Directories of the user that the base directory specification lets stand elsewhere, with the variable that says where.
const MOVED: &[(&str, &str)] =
    &[(".config", "XDG_CONFIG_HOME"), (".local/share", "XDG_DATA_HOME"), (".local/state", "XDG_STATE_HOME")];

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
        let moved = |name: &str| {
            let dir =
                ["CONFIG", "DATA", "STATE"].into_iter().find(|dir| name == format!("XDG_{dir}_HOME"))?;
            Some(PathBuf::from(format!("/{}", dir.to_lowercase())))
        };
        let hidden = usual(Some(Path::new("/home/me")), moved);
        for path in [
            "/home/me/.ssh",
            "/home/me/.config/gh",
            "/config/gh",
            "/data/keyrings",
            "/state/zsh",
            "/etc/shadow",
        ] {
            assert!(hidden.contains(&PathBuf::from(path)), "{path}");
        }
        let whole = ["/config", "/data", "/state"].map(PathBuf::from);
        assert!(!hidden.iter().any(|path| whole.contains(path)), "only what is named");
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
