//! People who are told without asking: what becomes of jobs and of logins, by every way, through the outbox.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::notify_target::{Got, NotifyTarget};
use crate::rescue::offshoot;
use crate::stand::audit::files_below;
use crate::stand::{Plan, Stand, install_program};

/// A stand whose configuration names `target`.
async fn stand(target: &NotifyTarget, config: &str, plan: Plan) -> Stand {
    let config = config.replace("TARGET", &format!("http://{}", target.address));
    let mut stand = Stand::built(plan).await;
    let dir = stand.dir().display().to_string();
    stand.add_config(&config.replace("DIR", &dir));
    stand.start().await;
    stand
}

/// A section whose target is told of `on` at the path of its name.
fn ntfy(name: &str, on: &[&str]) -> String {
    format!("[notify.{name}]\nkind = \"ntfy\"\nurl = \"TARGET/{name}\"\non = {on:?}\n")
}

/// All requests to this path, once there are as many.
async fn come(stand: &Stand, target: &NotifyTarget, path: &str, count: usize) -> Vec<Got> {
    let look = async || Some(target.at(path)).filter(|got| got.len() >= count);
    let got = stand.wait_until("notices come", look).await;
    assert_eq!(got.len(), count, "{got:#?}");
    got
}

/// The deliveries of a target, the newest first, once there are as many and none is under way.
async fn deliveries(stand: &Stand, target: &str, count: usize) -> Vec<Value> {
    let look = async || {
        let page = stand.get(&format!("/deliveries?url={target}")).await;
        let all = page["deliveries"].as_array().unwrap().clone();
        (all.len() == count && all.iter().all(|one| one["state"] != "pending")).then_some(all)
    };
    stand.wait_until("deliveries", look).await
}

/// Of what came: each is sent for itself, and which comes first is not promised.
fn titles(got: &[Got]) -> BTreeSet<&str> {
    got.iter().map(|one| one.header("title")).collect()
}

const ALL_WAYS: &str = "
[notify.phone]
kind = \"ntfy\"
url = \"TARGET/topic\"
token = \"tk_0123456789\"
on = [\"finished\", \"failed\"]
[notify.team]
kind = \"slack\"
url = \"TARGET/slack\"
on = [\"finished\"]
[notify.guild]
kind = \"discord\"
url = \"TARGET/discord\"
on = [\"failed\"]
[notify.mine]
kind = \"command\"
command = [\"/bin/sh\", \"-c\", \"cat >> DIR/told; /usr/bin/env >> DIR/env\"]
";

#[tokio::test]
async fn every_end_is_told_by_every_way_to_those_who_wish_to_hear_of_it() {
    let target = NotifyTarget::start().await;
    let stand = stand(&target, ALL_WAYS, Plan::default()).await;
    let good = stand.submit_prompt("feat/hello", "Greet").await;
    let good = stand.completed(&good).await;
    // each is sent for itself: which comes first is not promised
    for name in ["phone", "team", "mine"] {
        deliveries(&stand, &format!("notify.{name}"), 1).await;
    }
    let bad = stand.submit_prompt("bad", "[[scenario:api-error]]").await;
    let bad = stand.failed(&bad, "api_error").await;
    let cancelled = stand.submit_prompt("gone", "[[scenario:hang]]").await;
    stand.wait_for_status(&cancelled, "running").await;
    assert_eq!(stand.cancel(&cancelled).await.0, 200);
    let page = |job: &Value| format!("{}/ui/jobs/{}", stand.base_url(), job["number"]);

    let phone = come(&stand, &target, "topic", 2).await;
    assert_eq!(phone[0].header("title"), format!("Job {} finished: feat/hello", good["number"]));
    assert_eq!(phone[0].header("click"), good["prUrl"].as_str().unwrap());
    assert_eq!((phone[0].header("priority"), phone[1].header("priority")), ("default", "high"));
    assert_eq!(phone[0].header("authorization"), "Bearer tk_0123456789");
    assert!(phone[0].text.contains("Pull request #1 is open.") && phone[0].text.contains(&page(&good)));
    assert_eq!(phone[1].header("click"), page(&bad));
    for part in [&bad["reason"]["message"], &bad["reason"]["hint"]] {
        assert!(phone[1].text.contains(part.as_str().unwrap()), "{}", phone[1].text);
    }
    assert!(phone[1].text.contains("acme/widgets, bad"), "{}", phone[1].text);

    let team = come(&stand, &target, "slack", 1).await[0].json();
    let link = format!("<{}|pull request>", good["prUrl"].as_str().unwrap());
    assert!(team["text"].as_str().unwrap().contains(&link), "{team}");
    let guild = come(&stand, &target, "discord", 1).await[0].json();
    assert!(guild["content"].as_str().unwrap().starts_with("**Job 2 failed: bad**\n"), "{guild}");
    assert_eq!(guild["allowed_mentions"], json!({"parse": []}));

    deliveries(&stand, "notify.mine", 2).await;
    let told = std::fs::read_to_string(stand.path("told")).unwrap();
    let lines: Vec<Value> = told.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let types: Vec<_> = lines.iter().map(|line| line["type"].as_str().unwrap()).collect();
    assert_eq!(types, ["notice.finished", "notice.failed"]);
    assert_eq!((&lines[0]["prUrl"], &lines[0]["url"]), (&good["prUrl"], &json!(page(&good))));
    assert_eq!((&lines[1]["number"], &lines[1]["target"]), (&bad["number"], &json!("mine")));
    let env = std::fs::read_to_string(stand.path("env")).unwrap();
    assert!(env.contains("HOME=") && !env.contains("TOKEN") && !env.contains("SECRET"), "{env}");

    // the same outbox: listed by the name, with every try, and again on demand; a callback is a callback
    let listed = deliveries(&stand, "notify.phone", 2).await;
    assert_eq!((&listed[1]["type"], &listed[1]["lastStatus"]), (&json!("notice.finished"), &json!(200)));
    let id = listed[1]["id"].as_str().unwrap();
    let shown = stand.get(&format!("/deliveries/{id}")).await;
    assert_eq!((&shown["body"]["jobId"], &shown["tries"]), (&good["id"], &json!(1)), "{shown:#}");
    stand.post(&format!("/deliveries/{id}/redeliver"), &json!({})).await;
    assert_eq!(come(&stand, &target, "topic", 3).await[2].text, phone[0].text);
    let of_bad = stand.get(&format!("/jobs/{}/deliveries", bad["id"].as_str().unwrap())).await;
    let urls: Vec<_> =
        of_bad["deliveries"].as_array().unwrap().iter().map(|one| one["url"].as_str().unwrap()).collect();
    let expected = [stand.receiver.url(), "notify.guild".into(), "notify.mine".into(), "notify.phone".into()];
    assert_eq!(urls.len(), 4);
    assert!(expected.iter().all(|one| urls.contains(&one.as_str())), "{urls:?}");
    assert_eq!(stand.callbacks(bad["id"].as_str().unwrap()).len(), 1);
    stand.finish().await;
}

#[tokio::test]
async fn a_question_is_told_as_one_also_to_those_who_hear_of_failures() {
    let target = NotifyTarget::start().await;
    let config = [("asked", "needs_input"), ("failed", "failed"), ("finished", "finished")]
        .map(|(name, on)| ntfy(name, &[on]));
    let stand = stand(&target, &config.concat(), Plan::default()).await;
    let asks = stand.submit_prompt("ask", "[[scenario:asks tool=WebFetch]]").await;
    stand.failed(&asks, "needs_input").await;
    let fails = stand.submit_prompt("fail", "[[scenario:api-error]]").await;
    stand.failed(&fails, "api_error").await;
    let failed = come(&stand, &target, "failed", 2).await;
    assert_eq!(titles(&failed), ["Job 1 needs input: ask", "Job 2 failed: fail"].into());
    let asked = come(&stand, &target, "asked", 1).await;
    assert!(asked[0].text.contains("WebFetch") && asked[0].header("tags") == "speech_balloon");
    assert_eq!(stand.get("/deliveries?url=notify.finished").await["deliveries"], json!([]));
    stand.finish().await;
}

/// A `claude` whose login is dead until the file `login` is there.
fn install_with_login(stand: &Stand) {
    let script = format!(
        "#!/bin/sh\nif [ ! -e {login} ]; then\n case \"$1\" in\n  --version) exec {own} scripted-agent \"$@\";;\n\
         auth) echo '{{\"loggedIn\":false}}'; exit 1;; esac\n cat > /dev/null\n\
         echo '[[scenario:not-logged-in]]' | {own} scripted-agent \"$@\"; exit\nfi\nexec {own} scripted-agent \"$@\"\n",
        login = stand.path("login").display(),
        own = env!("CARGO_BIN_EXE_offshoot"),
    );
    install_program(&stand.path("agents/claude"), &script);
}

#[tokio::test]
async fn a_hold_is_told_once_however_many_jobs_wait_and_so_is_its_end() {
    let target = NotifyTarget::start().await;
    let mut stand = Stand::built(Plan::default()).await;
    install_with_login(&stand);
    stand.add_config(&ntfy("held", &["held"]).replace("TARGET", &format!("http://{}", target.address)));
    stand.start().await;
    let mut jobs = Vec::new();
    for branch in ["one", "two", "three"] {
        jobs.push(stand.submit_prompt(branch, "Greet").await);
    }
    for id in &jobs {
        stand.wait_for(id, "held", |job| job["waiting"]["for"] == "login").await;
    }
    // tried in vain: the hold is the same
    let tries = |job: &Value| job["attempt"].as_i64().unwrap();
    let before = tries(&stand.job(&jobs[0]).await);
    stand.post("/queue/try-now", &json!({"login": "claude"})).await;
    stand.wait_for(&jobs[0], "tried", |job| tries(job) > before && job["status"] == "queued").await;
    // one that a kill interrupts comes twice
    deliveries(&stand, "notify.held", 1).await;
    stand.kill9().await;
    stand.start_again().await;
    std::fs::write(stand.path("login"), "").unwrap();
    stand.post("/queue/try-now", &json!({})).await;
    for id in &jobs {
        stand.completed(id).await;
    }
    let told = come(&stand, &target, "held", 2).await;
    assert_eq!(told[0].header("title"), "claude is held: not logged in");
    assert!(told[0].text.contains("wait until that is mended") && told[0].text.contains("claude auth login"));
    assert!(told[0].header("click").ends_with("/ui/system"));
    assert_eq!(told[1].header("title"), "claude works again");
    assert_eq!(deliveries(&stand, "notify.held", 2).await.len(), 2);
    stand.finish().await;
}

#[tokio::test]
async fn a_target_that_is_away_is_told_later_over_a_kill_of_the_server() {
    let target = NotifyTarget::start().await;
    target.always(Some(503));
    let callbacks = "retry_seconds = [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1]".to_owned();
    let server = "public_url = \"https://box.example.org/\"".to_owned();
    let mut stand =
        stand(&target, &ntfy("phone", &["finished"]), Plan { callbacks, server, ..Plan::default() }).await;
    let id = stand.submit_prompt("away", "Greet").await;
    stand.completed(&id).await;
    stand.wait_until("two tries", async || (target.at("phone").len() >= 2).then_some(())).await;
    stand.kill9().await;
    stand.start_again().await;
    target.always(None);
    let look = async || target.at("phone").into_iter().find(|got| got.status == 200);
    let arrived = stand.wait_until("it arrives", look).await;
    let listed = deliveries(&stand, "notify.phone", 1).await;
    assert_eq!((&listed[0]["state"], &listed[0]["lastStatus"]), (&json!("delivered"), &json!(200)));
    let all = target.at("phone");
    let good = all.iter().position(|got| got.status == 200);
    assert_eq!(good, Some(all.len() - 1), "the first good answer is the last try: {all:#?}");
    assert_eq!((&arrived.text, arrived.header("title")), (&all[0].text, all[0].header("title")));
    assert!(arrived.text.ends_with("\nhttps://box.example.org/ui/jobs/1"), "{}", arrived.text);
    stand.finish().await;
}

#[tokio::test]
async fn a_target_that_is_gone_is_left_alone_until_somebody_resumes_it() {
    let target = NotifyTarget::start().await;
    let stand = stand(&target, &ntfy("phone", &["finished"]), Plan::default()).await;
    target.order([410]);
    for (count, branch) in [(1, "one"), (2, "two")] {
        let id = stand.submit_prompt(branch, "Greet").await;
        stand.completed(&id).await;
        let listed = deliveries(&stand, "notify.phone", count).await;
        assert!(listed.iter().all(|one| one["state"] == "suspended"), "{listed:#?}");
    }
    assert_eq!(target.at("phone").len(), 1, "the second was never sent");
    let (code, out, err) = offshoot(&stand, &["webhook", "resume", "notify.phone"]).await;
    assert_eq!(code, 0, "{out}{err}");
    let all = come(&stand, &target, "phone", 3).await;
    assert_eq!(titles(&all[1..]), ["Job 1 finished: one", "Job 2 finished: two"].into());
    let listed = deliveries(&stand, "notify.phone", 2).await;
    assert!(listed.iter().all(|one| one["state"] == "delivered"), "{listed:#?}");
    stand.finish().await;
}

/// Written in the transaction of the end: a server that is killed before it has tried at all tells of it all the same.
#[tokio::test]
async fn what_was_never_tried_before_the_server_was_killed_is_told() {
    let target = NotifyTarget::start().await;
    let config = "[notify.mine]\nkind = \"command\"\ncommand = [\"DIR/tell\"]\n";
    let mut stand = stand(&target, config, Plan::default()).await;
    // it hangs as long as this server lives, and is nobody's child then
    let gate = stand.gate("tell");
    let hangs = format!("#!/bin/sh\nwhile [ ! -e {} ]; do sleep 0.02; done\n", gate.display());
    install_program(&stand.path("tell"), &hangs);
    let body =
        json!({"prompt": "Greet", "branchName": "killed", "githubOrg": "acme", "githubRepo": "widgets"});
    let id = stand.post("/jobs", &body).await["id"].as_str().unwrap().to_owned();
    let job = stand.completed(&id).await;
    assert_eq!(job["callback"]["state"], "none", "a notice is none");
    stand.kill9().await;
    stand.open_gate("tell");
    let told = stand.path("told");
    install_program(&stand.path("tell"), &format!("#!/bin/sh\ncat >> {}\n", told.display()));
    stand.start_again().await;
    deliveries(&stand, "notify.mine", 1).await;
    let text = std::fs::read_to_string(&told).unwrap();
    assert!(text.contains("\"notice.finished\"") && text.lines().count() == 1, "{text}");
    stand.finish().await;
}

const CANARIES: [&str; 3] =
    ["canary-topic-q3Xw7rTnLp5zV2kd", "canary-hook-q3Xw7rTnLp5zV2kd", "canary-token-q3Xw7rTnLp5z"];

#[tokio::test]
async fn where_a_target_is_and_its_token_are_told_nowhere() {
    let target = NotifyTarget::start().await;
    target.always(Some(500));
    let [topic, hook, token] = CANARIES;
    // one that answers badly, one that is refused, one that is not there at all
    let config = format!(
        "[notify.bad]\nkind = \"ntfy\"\nurl = \"TARGET/{topic}\"\ntoken = \"{token}\"\n\
         [notify.inner]\nkind = \"slack\"\nurl = \"http://10.1.2.3/{hook}\"\n\
         [notify.dead]\nkind = \"discord\"\nurl = \"http://127.0.0.1:1/{hook}?key={hook}\"\n"
    );
    let env = vec![("LOG_LEVEL".to_owned(), "trace".to_owned())];
    let mut stand = stand(&target, &config, Plan { env, ..Plan::default() }).await;
    stand.expect_undelivered();
    let id = stand.submit_prompt("seen", "Greet").await;
    stand.completed(&id).await;
    let page = async || {
        let page = stand.get("/deliveries").await;
        let tried = |one: &&Value| one["tries"] != 0;
        (page["deliveries"].as_array().unwrap().iter().filter(tried).count() == 4).then_some(page)
    };
    let page = stand.wait_until("all are tried", page).await;
    let mut told = page.to_string();
    for one in page["deliveries"].as_array().unwrap() {
        told += &stand.get_text(&format!("/deliveries/{}", one["id"].as_str().unwrap())).await;
    }
    for path in ["/notify", "/health", "/metrics", "/webhooks/suspended", &format!("/jobs/{id}/events")] {
        told += &stand.get_text(path).await;
    }
    for name in ["bad", "inner", "dead"] {
        let (code, out, err) = offshoot(&stand, &["notify", "test", name]).await;
        assert_eq!(code, 1, "{out}{err}");
        told += &(out + &err);
    }
    assert!(told.contains("10.1.2.3 is a private address, which notify.inner.allow does not name"), "{told}");
    assert!(told.contains("the receiver answered 500") && told.contains("no connection to the receiver"));
    for canary in CANARIES {
        assert!(!told.contains(canary), "{canary} is told: {told}");
        let own = stand.path("config.toml");
        for file in files_below(stand.dir()).into_iter().filter(|file| *file != own) {
            let bytes = std::fs::read(&file).unwrap_or_default();
            assert!(
                memchr::memmem::find(&bytes, canary.as_bytes()).is_none(),
                "{canary} in {}",
                file.display()
            );
        }
    }
    assert!(stand.log_text().contains("\"TRACE\""), "the log at its most talkative");
    assert_eq!(target.at(topic)[0].header("authorization"), format!("Bearer {token}"), "it is sent");
    stand.finish().await;
}

#[tokio::test]
async fn a_target_is_tried_out_from_the_command_line() {
    let target = NotifyTarget::start().await;
    let mine = "[notify.mine]\nkind = \"command\"\n\
        command = [\"/bin/sh\", \"-c\", \"echo no such phone >&2; exit 4\"]\n";
    let stand = stand(&target, &(ntfy("phone", &["held"]) + mine), Plan::default()).await;
    let (code, out, _) = offshoot(&stand, &["notify", "ls"]).await;
    assert_eq!(code, 0);
    assert!(out.contains("phone") && out.contains("finished, failed, held, needs_input"), "{out}");
    let (code, out, err) = offshoot(&stand, &["notify", "test", "phone"]).await;
    assert!(code == 0 && out.starts_with("phone (ntfy): 200 after "), "{out}{err}");
    assert_eq!(target.at("phone")[0].header("title"), "A test of offshoot");
    let (code, out, err) = offshoot(&stand, &["notify", "test", "mine"]).await;
    assert!(code == 1 && out.starts_with("mine (command): failed after "), "{out}");
    assert!(err.contains("sh ended with exit status: 4: no such phone"), "{err}");
    // programs read one value, and the exit code
    let (code, out, err) = offshoot(&stand, &["notify", "test", "mine", "--json"]).await;
    let told: Value = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}"));
    assert!(code == 1 && told["error"].as_str().unwrap().contains("no such phone"), "{out}{err}");
    let (code, out, _) = offshoot(&stand, &["notify", "test", "phone", "--json"]).await;
    let told: Value = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}"));
    assert_eq!((code, &told["status"], &told["accepted"]), (0, &json!(200), &json!(true)), "{out}");
    // a redirect is a failure, and nobody goes there
    target.order([307]);
    let (code, _, err) = offshoot(&stand, &["notify", "test", "phone"]).await;
    assert!(code == 1 && err.contains("the receiver answered 307"), "{err}");
    assert!(target.at("elsewhere").is_empty());
    assert_eq!(offshoot(&stand, &["notify", "test", "nobody"]).await.0, 5);
    assert_eq!(stand.get("/deliveries").await["deliveries"], json!([]), "nothing is stored");
    stand.finish().await;
}

/// Not everywhere has loopback more than one address.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn what_is_allowed_for_one_target_is_allowed_for_it_alone() {
    let inner = NotifyTarget::start_at("127.0.0.2:0").await;
    let config = "
[notify.lan]
kind = \"slack\"
url = \"TARGET/lan\"
allow = [\"127.0.0.2\"]
[notify.other]
kind = \"slack\"
url = \"TARGET/other\"
";
    let stand = stand(&inner, config, Plan::default()).await;
    assert_eq!(stand.post("/notify/lan/test", &json!({})).await["status"], 200);
    let refused = stand.post("/notify/other/test", &json!({})).await;
    assert!(
        refused["error"].as_str().unwrap().contains("which notify.other.allow does not name"),
        "{refused}"
    );
    let called = stand.call("POST", "/webhooks/test", Some(&json!({"url": inner.url("hook")}))).await;
    assert_eq!(called.0, 422, "callers reach no further by it: {called:?}");
    assert_eq!((inner.at("lan").len(), inner.at("other").len(), inner.at("hook").len()), (1, 0, 0));
    stand.finish().await;
}
