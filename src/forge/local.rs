//! A forge that is a directory: bare repositories with their pull requests as JSON files beside them.
//!
//! `ROOT/org/repo.git` is the repository, `ROOT/org/repo.pulls/N.json` its pull requests. For the demonstration and
//! for tests, so it can be looked at with a file browser. It knows branches from loose and packed refs (not from
//! reftables), and judges an "empty difference" by equal tips, not by history.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::BoxFuture;
use secrecy::SecretString;
use serde_json::{Value, json};

use super::error::{ForgeError, Refusal};
use super::{Forge, NewPullRequest, PullRequest, RepositoryFacts, RepositoryName};

/// Pull requests of one repository at most: it is a toy, and every look reads them all.
const PULLS_MAX: usize = 10_000;

/// A forge under one directory. Cheap to clone; one process at a time.
#[derive(Clone, Debug)]
pub struct LocalForge(Arc<Inner>);

/// A pull request as it is recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalPullRequest {
    pub number: u64,
    pub head: String,
    pub base: String,
    pub title: String,
    pub body: String,
    pub head_sha: String,
    pub draft: bool,
    pub open: bool,
    pub labels: Vec<String>,
    pub reviewers: Vec<String>,
    pub url: String,
}

#[derive(Debug)]
struct Inner {
    root: PathBuf,
    /// What the addresses of pull requests begin with, without a final slash.
    url_base: String,
    /// Refuse a pull request whose head is where its base is.
    refuse_empty: bool,
    writing: Mutex<()>,
}

impl LocalForge {
    /// `url_base` begins the address of every pull request: `{url_base}/{org}/{repo}/pull/{number}`.
    #[must_use]
    pub fn new(root: PathBuf, url_base: &str, refuse_empty: bool) -> Self {
        let url_base = url_base.trim_end_matches('/').to_owned();
        Self(Arc::new(Inner { root, url_base, refuse_empty, writing: Mutex::new(()) }))
    }

    /// Where the bare repository of this name is expected.
    #[must_use]
    pub fn bare_path(&self, name: &RepositoryName) -> PathBuf {
        self.0.root.join(&name.org).join(format!("{}.git", name.repo))
    }

    /// All pull requests, oldest first.
    ///
    /// # Errors
    /// [`ForgeError::Unavailable`] when a record cannot be read.
    pub fn pull_requests(&self, name: &RepositoryName) -> Result<Vec<LocalPullRequest>, ForgeError> {
        self.0.pull_requests(name)
    }

    /// Runs file work off the async threads.
    fn run<'a, T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T, ForgeError> + Send + 'static,
    ) -> BoxFuture<'a, Result<T, ForgeError>> {
        let inner = self.0.clone();
        Box::pin(async move {
            let done = tokio::task::spawn_blocking(move || work(&inner)).await;
            done.unwrap_or_else(|_| Err(unavailable("its work was abandoned")))
        })
    }

    fn change<'a>(
        &self,
        repo: &RepositoryName,
        number: u64,
        change: impl FnOnce(&mut LocalPullRequest) + Send + 'static,
    ) -> BoxFuture<'a, Option<String>> {
        let repo = repo.clone();
        let changed = self.run(move |inner| {
            let _writing = inner.writing.lock().unwrap_or_else(PoisonError::into_inner);
            let known = inner.pull_requests(&repo)?;
            let mut pull =
                known.into_iter().find(|pull| pull.number == number).ok_or(ForgeError::NotFound)?;
            change(&mut pull);
            inner.write(&repo, &pull)
        });
        Box::pin(async move { changed.await.err().map(|error| error.to_string()) })
    }
}

impl Forge for LocalForge {
    fn repository<'a>(
        &'a self,
        name: &'a RepositoryName,
    ) -> BoxFuture<'a, Result<RepositoryFacts, ForgeError>> {
        let name = name.clone();
        self.run(move |inner| inner.facts(name))
    }

    fn find_pull_request<'a>(
        &'a self,
        repo: &'a RepositoryName,
        head: &'a str,
        base: &'a str,
    ) -> BoxFuture<'a, Result<Option<PullRequest>, ForgeError>> {
        let (repo, head, base) = (repo.clone(), head.to_owned(), base.to_owned());
        self.run(move |inner| Ok(inner.find(&repo, &head, &base)?.map(|pull| pull.shown(false))))
    }

    fn open_pull_request<'a>(
        &'a self,
        new: &'a NewPullRequest,
    ) -> BoxFuture<'a, Result<PullRequest, ForgeError>> {
        let new = new.clone();
        self.run(move |inner| inner.open(new))
    }

    fn add_labels<'a>(
        &'a self,
        repo: &'a RepositoryName,
        number: u64,
        labels: &'a [String],
    ) -> BoxFuture<'a, Option<String>> {
        let labels = labels.to_vec();
        self.change(repo, number, move |pull| add_missing(&mut pull.labels, labels))
    }

    fn request_reviewers<'a>(
        &'a self,
        repo: &'a RepositoryName,
        number: u64,
        reviewers: &'a [String],
    ) -> BoxFuture<'a, Option<String>> {
        let reviewers = reviewers.to_vec();
        self.change(repo, number, move |pull| add_missing(&mut pull.reviewers, reviewers))
    }

    fn git_credential<'a>(
        &'a self,
        _repo: &'a RepositoryName,
    ) -> BoxFuture<'a, Result<Option<SecretString>, ForgeError>> {
        Box::pin(std::future::ready(Ok(None)))
    }
}

impl Inner {
    fn facts(&self, name: RepositoryName) -> Result<RepositoryFacts, ForgeError> {
        let bare = self.bare(&name)?;
        let head = fs::read_to_string(bare.join("HEAD")).map_err(|_| ForgeError::NotFound)?;
        let default_branch = head.trim().strip_prefix("ref: refs/heads/").unwrap_or("main").to_owned();
        // A directory has no number of its own; its name is all that identifies it.
        let id = u64::from(crc32c::crc32c(name.to_string().as_bytes()));
        Ok(RepositoryFacts {
            id,
            full_name: name,
            default_branch,
            archived: false,
            private: false,
            renamed: false,
        })
    }

    fn open(&self, new: NewPullRequest) -> Result<PullRequest, ForgeError> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let bare = self.bare(&new.repo)?;
        let base_tip = tip(&bare, &new.base)
            .ok_or_else(|| refused(Refusal::Other, format!("base {} is unknown", new.base)))?;
        let head_sha = tip(&bare, &new.head)
            .ok_or_else(|| refused(Refusal::HeadInvalid, format!("head {} is unknown", new.head)))?;
        if self.refuse_empty && head_sha == base_tip {
            let text = format!("no commits between {} and {}", new.base, new.head);
            return Err(refused(Refusal::NoCommits, text));
        }
        let known = self.pull_requests(&new.repo)?;
        if known.iter().any(|pull| pull.is_open_for(&new.head, &new.base)) {
            let text = format!("a pull request already exists for {}", new.head);
            return Err(refused(Refusal::AlreadyExists, text));
        }
        if known.len() >= PULLS_MAX {
            return Err(refused(Refusal::Other, "there are too many pull requests".to_owned()));
        }
        let number = known.last().map_or(1, |last| last.number + 1);
        let pull = LocalPullRequest {
            number,
            url: format!("{}/{}/pull/{number}", self.url_base, new.repo),
            head: new.head,
            base: new.base,
            title: new.title,
            body: new.body,
            head_sha,
            draft: new.draft,
            open: true,
            labels: Vec::new(),
            reviewers: Vec::new(),
        };
        self.write(&new.repo, &pull)?;
        Ok(pull.shown(true))
    }

    fn find(
        &self,
        repo: &RepositoryName,
        head: &str,
        base: &str,
    ) -> Result<Option<LocalPullRequest>, ForgeError> {
        let bare = self.bare(repo)?;
        let found = self.pull_requests(repo)?.into_iter().find(|pull| pull.is_open_for(head, base));
        // A pull request shows where its branch is now, not where it was.
        Ok(found.map(|pull| LocalPullRequest {
            head_sha: tip(&bare, head).unwrap_or(pull.head_sha.clone()),
            ..pull
        }))
    }

    fn pull_requests(&self, name: &RepositoryName) -> Result<Vec<LocalPullRequest>, ForgeError> {
        self.bare(name)?;
        let entries = match fs::read_dir(self.pulls(name)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(broken(&error)),
        };
        let mut pulls = Vec::new();
        for entry in entries {
            let path = entry.map_err(|error| broken(&error))?.path();
            if path.extension().is_some_and(|extension| extension == "json") {
                let bytes = fs::read(&path).map_err(|error| broken(&error))?;
                let record = serde_json::from_slice(&bytes)
                    .ok()
                    .and_then(|value: Value| LocalPullRequest::read(&value));
                pulls.push(record.ok_or_else(|| unavailable("a pull request record cannot be read"))?);
            }
        }
        pulls.sort_by_key(|pull| pull.number);
        Ok(pulls)
    }

    /// Writes beside and renames, so that a reader never sees half a record.
    fn write(&self, name: &RepositoryName, pull: &LocalPullRequest) -> Result<(), ForgeError> {
        let directory = self.pulls(name);
        let write = || {
            fs::create_dir_all(&directory)?;
            let unfinished = directory.join(format!("{}.tmp", pull.number));
            fs::write(&unfinished, format!("{:#}\n", pull.record()))?;
            fs::rename(unfinished, directory.join(format!("{}.json", pull.number)))
        };
        write().map_err(|error: io::Error| broken(&error))
    }

    fn pulls(&self, name: &RepositoryName) -> PathBuf {
        self.root.join(&name.org).join(format!("{}.pulls", name.repo))
    }

    /// The repository's directory, if there is one; a name that leaves the root names nothing.
    fn bare(&self, name: &RepositoryName) -> Result<PathBuf, ForgeError> {
        let leaves =
            |part: &str| part.is_empty() || part.starts_with('.') || part.contains(['/', '\\', '\0']);
        let path = self.root.join(&name.org).join(format!("{}.git", name.repo));
        if leaves(&name.org) || leaves(&name.repo) || !path.join("HEAD").is_file() {
            return Err(ForgeError::NotFound);
        }
        Ok(path)
    }
}

impl LocalPullRequest {
    fn is_open_for(&self, head: &str, base: &str) -> bool {
        self.open && self.head == head && self.base == base
    }

    fn shown(self, created: bool) -> PullRequest {
        PullRequest {
            number: self.number,
            url: self.url,
            head_sha: self.head_sha,
            draft: self.draft,
            created,
        }
    }

    fn record(&self) -> Value {
        json!({
            "number": self.number, "state": if self.open { "open" } else { "closed" },
            "head": self.head, "base": self.base, "headSha": self.head_sha, "draft": self.draft,
            "title": self.title, "body": self.body, "labels": self.labels, "reviewers": self.reviewers,
            "url": self.url,
        })
    }

    fn read(record: &Value) -> Option<Self> {
        let text = |key: &str| record[key].as_str().map(str::to_owned);
        let list = |key: &str| -> Option<Vec<String>> {
            record[key].as_array()?.iter().map(|item| item.as_str().map(str::to_owned)).collect()
        };
        Some(Self {
            number: record["number"].as_u64()?,
            head: text("head")?,
            base: text("base")?,
            title: text("title")?,
            body: text("body")?,
            head_sha: text("headSha")?,
            draft: record["draft"].as_bool()?,
            open: record["state"] == "open",
            labels: list("labels")?,
            reviewers: list("reviewers")?,
            url: text("url")?,
        })
    }
}

/// The commit id a branch points to, from its loose ref or `packed-refs` (gitrepository-layout(5)).
fn tip(bare: &Path, branch: &str) -> Option<String> {
    if branch.split('/').any(|part| part.is_empty() || part.starts_with('.')) {
        return None;
    }
    let name = format!("refs/heads/{branch}");
    let loose = fs::read_to_string(bare.join(&name)).ok().map(|text| text.trim().to_owned());
    loose.filter(|id| is_id(id)).or_else(|| {
        let packed = fs::read_to_string(bare.join("packed-refs")).ok()?;
        let found =
            packed.lines().find_map(|line| line.split_once(' ').filter(|(_, packed)| *packed == name));
        found.map(|(id, _)| id.to_owned()).filter(|id| is_id(id))
    })
}

fn is_id(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn add_missing(list: &mut Vec<String>, more: Vec<String>) {
    for item in more {
        if !list.contains(&item) {
            list.push(item);
        }
    }
}

fn refused(refusal: Refusal, text: String) -> ForgeError {
    ForgeError::Refused { refusal, text }
}

fn broken(error: &io::Error) -> ForgeError {
    unavailable(&error.kind().to_string())
}

fn unavailable(text: &str) -> ForgeError {
    ForgeError::Unavailable { unclear: false, text: text.to_owned() }
}
