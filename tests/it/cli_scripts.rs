//! What other programs read of the command line: the document of the API, scripts of shells, manual pages.

use serde_json::json;
use tokio::process::Command;

use crate::cli::{command, finish, run};
use crate::cli_fake::{Answer, Fake};
use crate::left_out::has_program;

const NOWHERE: &str = "http://127.0.0.1:9";

#[tokio::test]
async fn the_document_of_the_api_is_the_servers_own() {
    let fake = Fake::start(|seen, _| match seen.line.as_str() {
        "GET /openapi.json" => Answer::text(200, "{\"openapi\": \"3.1.0\", \"x\": 1}\n"),
        _ => Answer::problem(404, "not_found", "no such place", json!({})),
    })
    .await;
    let ran = run(&fake, &["openapi"]).await;
    let (out, err) = (ran.out.as_str(), ran.err.as_str());
    assert_eq!((ran.code, out, err), (0, "{\"openapi\": \"3.1.0\", \"x\": 1}\n", ""), "{ran:?}");
    let ran = finish(command(NOWHERE, &["openapi"]), "").await;
    assert_eq!((ran.code, ran.out.as_str()), (3, ""), "{ran:?}");
}

/// The script is taken by a real shell, which then completes with it.
#[tokio::test]
async fn bash_completes_commands_and_flags() {
    let ran = finish(command(NOWHERE, &["completions", "bash"]), "").await;
    assert_eq!((ran.code, ran.err.as_str()), (0, ""), "it needs no server");
    if !has_program("bash") {
        // every system that this is tested on has one; the script is looked at in any case
        assert!(ran.out.contains("complete -F _offshoot"), "{}", ran.out);
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("offshoot.bash");
    std::fs::write(&file, &ran.out).unwrap();
    let words = |line: &str| {
        let given: Vec<_> = line.split(' ').collect();
        let array: Vec<_> = given.iter().map(|word| format!("'{word}'")).collect();
        let (last, before) = (given.len() - 1, given[given.len() - 2]);
        let script = format!(
            ". '{}'; COMP_WORDS=({}); COMP_CWORD={last}; _offshoot offshoot '{}' '{before}'; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            file.display(),
            array.join(" "),
            given[last],
        );
        let mut bash = Command::new("bash");
        bash.args(["--noprofile", "--norc", "-c", &script]).env_clear().env("PATH", "/usr/bin:/bin");
        bash.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        finish(bash, "")
    };
    let commands = words("offshoot foll").await;
    assert_eq!(commands.out, "follow-up\n", "{commands:?}");
    let flags = words("offshoot submit --bud").await;
    assert_eq!(flags.out, "--budget\n", "{flags:?}");
    let below = words("offshoot service unin").await;
    assert_eq!(below.out, "uninstall\n", "{below:?}");
    let wrong = finish(command(NOWHERE, &["completions", "dos"]), "").await;
    assert_eq!(wrong.code, 2, "{wrong:?}");
}

#[tokio::test]
async fn a_manual_page_is_one_for_man() {
    let ran = finish(command(NOWHERE, &["man", "service", "install"]), "").await;
    assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{ran:?}");
    assert!(ran.out.contains(".TH offshoot-service-install 1") && ran.out.contains("print"), "{}", ran.out);
    let wrong = finish(command(NOWHERE, &["man", "servis"]), "").await;
    assert_eq!(wrong.code, 5, "{wrong:?}");
}
