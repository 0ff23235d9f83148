//! What the fake knows and how it answers when nothing goes wrong.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::Response;
use serde_json::{Value, json};

use super::{APP_ID, Effect, FakePull, FakeRequest, Fault, INSTALLATION_ID, READ_ONLY_TOKEN, TOKEN};

#[derive(Default)]
pub(super) struct World {
    pub(super) repos: Vec<FakeRepo>,
    pub(super) pulls: Vec<FakePull>,
    pub(super) requests: Vec<FakeRequest>,
    pub(super) faults: Vec<Fault>,
    pub(super) installation_tokens: Vec<String>,
    pub(super) token_lifetime: Option<Duration>,
    pub(super) allows_twins: bool,
}

pub(super) struct FakeRepo {
    pub(super) id: u64,
    pub(super) full_name: String,
    pub(super) old_names: Vec<String>,
    pub(super) default_branch: String,
    pub(super) private: bool,
    pub(super) archived: bool,
    pub(super) no_drafts: bool,
    pub(super) tips: BTreeMap<String, String>,
    pub(super) git_dir: Option<PathBuf>,
}

pub(super) struct Call {
    pub(super) method: Method,
    pub(super) route: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Value,
}

impl World {
    pub(super) fn struck_by(&mut self, call: &Call) -> Option<Effect> {
        let index = self.faults.iter().position(|fault| {
            fault.method.as_ref().is_none_or(|method| *method == call.method)
                && call.route.contains(&fault.route_contains)
                && (fault.body_contains.is_empty() || call.body.to_string().contains(&fault.body_contains))
        })?;
        let fault = &mut self.faults[index];
        if fault.skip > 0 {
            fault.skip -= 1;
            return None;
        }
        let effect = fault.effect.clone();
        fault.times -= 1;
        if fault.times == 0 {
            self.faults.remove(index);
        }
        Some(effect)
    }

    pub(super) fn answer(&mut self, call: &Call) -> Response {
        if !call.headers.contains_key(header::USER_AGENT) {
            return reply(403, &json!({ "message": "Request forbidden by administrative rules." }));
        }
        let bearer = call
            .headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
        let (path, query) = call.route.split_once('?').unwrap_or((&call.route, ""));
        let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
        if let ["app", "installations", id, "access_tokens"] = segments[..] {
            return self.installation_token(id, bearer);
        }
        let rights = match bearer {
            None => Rights::Anonymous,
            Some(TOKEN) => Rights::Write,
            Some(READ_ONLY_TOKEN) => Rights::Read,
            Some(token) if self.installation_tokens.iter().any(|known| known == token) => Rights::Write,
            Some(_) => return reply(401, &json!({ "message": "Bad credentials" })),
        };
        if segments[..] == ["rate_limit"] {
            return reply(200, &json!({ "rate": { "limit": 5000, "remaining": 5000 } }));
        }
        let (found, rest) = match &segments[..] {
            ["repositories", id, rest @ ..] => {
                (self.repos.iter().position(|repo| repo.id.to_string() == *id), rest)
            }
            ["repos", org, name, rest @ ..] => match self.locate(&format!("{org}/{name}")) {
                Some((id, true)) => return moved(call, id, rest),
                Some((id, false)) => (self.repos.iter().position(|repo| repo.id == id), rest),
                None => (None, rest),
            },
            _ => (None, &[][..]),
        };
        let visible = |index: &usize| !self.repos[*index].private || !matches!(rights, Rights::Anonymous);
        let Some(index) = found.filter(visible) else {
            return reply(404, &json!({ "message": "Not Found" }));
        };
        if call.method != Method::GET {
            match rights {
                Rights::Anonymous => return reply(401, &json!({ "message": "Requires authentication" })),
                Rights::Read => {
                    return reply(
                        403,
                        &json!({ "message": "Resource not accessible by personal access token" }),
                    );
                }
                Rights::Write if self.repos[index].archived => {
                    return reply(403, &json!({ "message": "Repository was archived so is read-only." }));
                }
                Rights::Write => {}
            }
        }
        match (call.method.as_str(), rest) {
            ("GET", []) => reply(200, &self.repos[index].shown()),
            ("GET", ["pulls"]) => self.list_pulls(index, query),
            ("POST", ["pulls"]) => self.open_pull(index, &call.body),
            ("POST", ["issues", number, "labels"]) => self.add_labels(index, number, &call.body),
            ("POST", ["pulls", number, "requested_reviewers"]) => {
                self.add_reviewers(index, number, &call.body)
            }
            _ => reply(404, &json!({ "message": "Not Found" })),
        }
    }

    /// The id behind a name, and whether the name is an old one.
    fn locate(&self, full_name: &str) -> Option<(u64, bool)> {
        let is = |name: &String| name.eq_ignore_ascii_case(full_name);
        let present = self.repos.iter().find(|repo| is(&repo.full_name)).map(|repo| (repo.id, false));
        present.or_else(|| {
            self.repos.iter().find(|repo| repo.old_names.iter().any(is)).map(|repo| (repo.id, true))
        })
    }

    fn installation_token(&mut self, id: &str, bearer: Option<&str>) -> Response {
        let is_app = bearer.and_then(jwt_issuer).is_some_and(|issuer| issuer == APP_ID.to_string());
        if !is_app || id != INSTALLATION_ID.to_string() {
            return reply(401, &json!({ "message": "A JSON web token could not be decoded" }));
        }
        let token = format!("ghs_fake{}", self.requests.len());
        self.installation_tokens.push(token.clone());
        let lifetime = self.token_lifetime.unwrap_or(Duration::from_secs(3_600));
        let lifetime_ms = i64::try_from(lifetime.as_millis()).unwrap();
        let expires_at_ms = offshoot::clock::Clock::system().now_ms() + lifetime_ms;
        let expires_at = jiff::Timestamp::from_millisecond(expires_at_ms).unwrap();
        reply(201, &json!({ "token": token, "expires_at": expires_at.to_string() }))
    }

    fn list_pulls(&self, index: usize, query: &str) -> Response {
        let repo = &self.repos[index];
        let pairs: BTreeMap<_, _> = url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        let state = pairs.get("state").map_or("open", String::as_str);
        let owner = repo.full_name.split('/').next().unwrap_or_default();
        // An unqualified head is dropped without a word, as on GitHub.
        let head = pairs.get("head").and_then(|head| head.split_once(':'));
        let wanted = |pull: &&FakePull| {
            pull.repo == repo.full_name
                && (state == "all" || pull.open == (state == "open"))
                && head.is_none_or(|(of, branch)| of == owner && pull.head == branch)
                && pairs.get("base").is_none_or(|base| pull.base == *base)
        };
        reply(200, &self.pulls.iter().filter(wanted).map(|pull| repo.shown_pull(pull)).collect())
    }

    fn open_pull(&mut self, index: usize, body: &Value) -> Response {
        let repo = &self.repos[index];
        let text = |key: &str| body[key].as_str().unwrap_or_default().to_owned();
        let (head, base) = (text("head"), text("base"));
        let draft = body["draft"].as_bool().unwrap_or(false);
        let invalid =
            |field: &str| refuse(&json!({ "resource": "PullRequest", "field": field, "code": "invalid" }));
        let custom = |message: String| {
            refuse(&json!({ "resource": "PullRequest", "code": "custom", "message": message }))
        };
        let Some(base_tip) = repo.tip(&base) else { return invalid("base") };
        let Some(head_tip) = repo.tip(&head) else { return invalid("head") };
        if draft && repo.no_drafts {
            let text = "Draft pull requests are not supported in this repository.";
            return reply(422, &json!({ "message": text }));
        }
        if repo.contains(&base_tip, &head_tip) {
            return custom(format!("No commits between {base} and {head}"));
        }
        let same = |pull: &&FakePull| {
            pull.repo == repo.full_name && pull.open && pull.head == head && pull.base == base
        };
        if !self.allows_twins && self.pulls.iter().find(same).is_some() {
            let owner = repo.full_name.split('/').next().unwrap_or_default();
            return custom(format!("A pull request already exists for {owner}:{head}."));
        }
        let number = 1 + self.pulls.iter().filter(|pull| pull.repo == repo.full_name).count() as u64;
        let pull = FakePull {
            repo: repo.full_name.clone(),
            number,
            head,
            base,
            title: text("title"),
            body: text("body"),
            draft,
            open: true,
            labels: Vec::new(),
            reviewers: Vec::new(),
        };
        let shown = repo.shown_pull(&pull);
        self.pulls.push(pull);
        reply(201, &shown)
    }

    fn add_labels(&mut self, index: usize, number: &str, body: &Value) -> Response {
        let Some(pull) = self.pull_mut(index, number) else {
            return reply(404, &json!({ "message": "Not Found" }));
        };
        pull.labels.extend(texts(&body["labels"]));
        let labels: Vec<Value> = pull.labels.iter().map(|name| json!({ "name": name })).collect();
        reply(200, &labels.into())
    }

    fn add_reviewers(&mut self, index: usize, number: &str, body: &Value) -> Response {
        let asked: Vec<String> = texts(&body["reviewers"]).chain(texts(&body["team_reviewers"])).collect();
        if asked.iter().any(|name| name == "nobody") {
            let text = "Reviews may only be requested from collaborators.";
            return reply(422, &json!({ "message": text }));
        }
        let Some(pull) = self.pull_mut(index, number) else {
            return reply(404, &json!({ "message": "Not Found" }));
        };
        pull.reviewers.extend(asked);
        reply(201, &json!({ "number": pull.number }))
    }

    fn pull_mut(&mut self, index: usize, number: &str) -> Option<&mut FakePull> {
        let repo = &self.repos[index].full_name;
        self.pulls.iter_mut().find(|pull| pull.repo == *repo && pull.number.to_string() == number)
    }
}

enum Rights {
    Anonymous,
    Read,
    Write,
}

impl FakeRepo {
    fn shown(&self) -> Value {
        json!({
            "id": self.id, "full_name": self.full_name, "default_branch": self.default_branch,
            "private": self.private, "archived": self.archived,
        })
    }

    fn shown_pull(&self, pull: &FakePull) -> Value {
        let side = |branch: &str| {
            json!({
                "ref": branch, "sha": self.tip(branch).unwrap_or_default(), "repo": { "full_name": self.full_name },
            })
        };
        json!({
            "number": pull.number, "state": if pull.open { "open" } else { "closed" }, "draft": pull.draft,
            "title": pull.title, "body": pull.body, "head": side(&pull.head), "base": side(&pull.base),
            "html_url": format!("https://github.example/{}/pull/{}", self.full_name, pull.number),
        })
    }

    fn tip(&self, branch: &str) -> Option<String> {
        match &self.git_dir {
            None => self.tips.get(branch).cloned(),
            Some(_) => self.git(&["rev-parse", "--verify", "--quiet", &format!("refs/heads/{branch}")]),
        }
    }

    /// Whether `commit` brings nothing that `base` lacks.
    fn contains(&self, base: &str, commit: &str) -> bool {
        match &self.git_dir {
            None => base == commit,
            Some(_) => self.git(&["merge-base", "--is-ancestor", commit, base]).is_some(),
        }
    }

    fn git(&self, arguments: &[&str]) -> Option<String> {
        let output = std::process::Command::new("git")
            .arg("--git-dir")
            .arg(self.git_dir.as_ref()?)
            .args(arguments)
            .output()
            .unwrap();
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }
}

fn texts(list: &Value) -> impl Iterator<Item = String> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned)
}

/// The issuer a JWT claims, if it has the form GitHub wants; its signature is not checked here.
fn jwt_issuer(token: &str) -> Option<String> {
    use base64::Engine as _;
    let part = |encoded: &str| -> Option<Value> {
        let bytes = base64::prelude::BASE64_URL_SAFE_NO_PAD.decode(encoded).ok()?;
        serde_json::from_slice(&bytes).ok()
    };
    let [head, claims, _signature] = token.split('.').collect::<Vec<_>>()[..] else { return None };
    let claims = part(claims)?;
    let lifetime_s = claims["exp"].as_i64()? - claims["iat"].as_i64()?;
    let fits = part(head)?["alg"] == "RS256" && lifetime_s <= 600;
    fits.then(|| claims["iss"].as_str().map_or_else(|| claims["iss"].to_string(), str::to_owned))
}

fn moved(call: &Call, id: u64, rest: &[&str]) -> Response {
    let status = if call.method == Method::GET { 301 } else { 307 };
    let mut target = format!("/repositories/{id}");
    for part in rest {
        target = format!("{target}/{part}");
    }
    let mut response = reply(status, &json!({ "message": "Moved Permanently" }));
    response.headers_mut().insert(header::LOCATION, target.parse().unwrap());
    response
}

fn refuse(error: &Value) -> Response {
    reply(422, &json!({ "message": "Validation Failed", "errors": [error] }))
}

pub(super) fn reply(status: u16, body: &Value) -> Response {
    let response = Response::builder()
        .status(StatusCode::from_u16(status).unwrap())
        .header(header::CONTENT_TYPE, "application/json; charset=utf-8");
    response.body(Body::from(body.to_string())).unwrap()
}
