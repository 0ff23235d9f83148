//! `offshoot serve` as somebody types it for the first time: the secret in its usual place, a port that is taken.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::net::TcpListener;
use tokio::process::{Child, ChildStderr, Command};

use crate::cli::{DEADLINE, command, finish};

const SECRET: &str = "f00dfacef00dfacef00dfacef00dface";

/// Nothing but a home directory: no variable names a server, a token or a secret.
fn bare(home: &Path, arguments: &[&str]) -> Command {
    let mut command = command("", arguments);
    command.env_remove("OFFSHOOT_URL").env_remove("OFFSHOOT_TOKEN").env("HOME", home);
    command.env("PATH", "/usr/bin:/bin");
    command
}

fn home_with_secret() -> tempfile::TempDir {
    // control sockets have short paths
    let home = tempfile::Builder::new().prefix("ostart").tempdir_in("/tmp").unwrap();
    let dir = home.path().join(".config/offshoot");
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join("secret"), SECRET).unwrap();
    std::fs::set_permissions(dir.join("secret"), PermissionsExt::from_mode(0o600)).unwrap();
    home
}

/// A server that takes work.
struct Ready {
    server: Child,
    /// Where it goes on saying things.
    _log: Lines<BufReader<ChildStderr>>,
    said: String,
    address: String,
}

/// Starts a server and reads what it says until it is ready.
async fn ready(home: &Path) -> Ready {
    let mut server = bare(home, &["serve", "--port", "0"]).spawn().unwrap();
    let mut lines = BufReader::new(server.stderr.take().unwrap()).lines();
    let mut said = String::new();
    let reading = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            said.push_str(&line);
            said.push('\n');
            if let Some((_, rest)) = line.split_once(" ready address=") {
                return rest.split(' ').next().unwrap().to_owned();
            }
        }
        String::new()
    };
    let address = tokio::time::timeout(DEADLINE, reading).await.expect("it says that it is ready");
    assert!(!address.is_empty(), "it ended: {said}");
    Ready { server, _log: lines, said, address }
}

async fn stop(ready: Ready) {
    let mut server = ready.server;
    let pid = nix::unistd::Pid::from_raw(i32::try_from(server.id().unwrap()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    let ended = tokio::time::timeout(DEADLINE, server.wait()).await.expect("it ends in time");
    assert_eq!(ended.unwrap().code(), Some(0));
}

#[tokio::test]
async fn the_secret_is_found_in_its_usual_place_by_the_server_and_by_commands() {
    let home = home_with_secret();
    let server = ready(home.path()).await;
    let url = format!("http://{}", server.address);
    let ran = finish(bare(home.path(), &["queue", "status", "--url", &url]), "").await;
    assert_eq!(ran.code, 0, "{ran:?}");
    stop(server).await;
    // whoever names another one means that
    let mut other = bare(home.path(), &["config", "show"]);
    other.env("AGENT_API_SECRET", "0123456789abcdef0123456789abcdef");
    let ran = finish(other, "").await;
    assert!(
        !ran.out.lines().any(|line| line.starts_with("server.secret_file ") && line.ends_with("/secret")),
        "{ran:?}"
    );
    // others could read it
    let file = home.path().join(".config/offshoot/secret");
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o644)).unwrap();
    let ran = finish(bare(home.path(), &["serve", "--port", "0"]), "").await;
    assert_eq!(ran.code, 77, "{ran:?}");
    assert!(ran.err.contains("chmod 600"), "{ran:?}");
}

/// It has opened the database and begun nothing: the next start does not tell of a stop that never went wrong.
#[tokio::test]
async fn a_server_that_could_not_listen_has_not_stopped_out_of_order() {
    let home = home_with_secret();
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let ran = finish(bare(home.path(), &["serve", "--port", &port]), "").await;
    assert_eq!((ran.code, ran.err.contains("cannot listen on")), (1, true), "{ran:?}");
    let server = ready(home.path()).await;
    assert!(server.said.contains("the last stop was in order"), "{}", server.said);
    stop(server).await;
}

/// The hint of a configuration that cannot be read is no command that cannot read it either.
#[tokio::test]
async fn a_broken_file_is_named_with_what_is_wrong_in_it() {
    let home = home_with_secret();
    let file = home.path().join(".config/offshoot/config.toml");
    std::fs::write(&file, "[server]\nport = 4000\nprot = 1\n").unwrap();
    for verb in [&["config", "show"][..], &["ls"], &["serve"]] {
        let ran = finish(bare(home.path(), verb), "").await;
        assert_eq!(ran.code, 78, "{ran:?}");
        assert!(ran.err.contains("server.prot (file, line 3) is not a known key"), "{ran:?}");
        assert!(ran.err.contains("mend it:"), "{ran:?}");
        assert!(ran.err.contains(&format!("${{EDITOR:-vi}} {}", file.display())), "{ran:?}");
        assert!(!ran.err.contains("config show"), "{ran:?}");
    }
}
