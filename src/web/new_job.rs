//! A job that is being written: its form, what is wrong with it, and the commands that would send the same.

use maud::{Markup, html};

use super::Viewer;
use super::fields::{Entries, Field};
use super::parts::icon;
use super::shell::{Place, Sheet, page};
use crate::domain::phrases::shell_word;
use crate::domain::token::Scope;
use crate::wire::profile::Profile;

/// Before the name of a variable of a profile, in the name of its field.
pub const VARIABLE: &str = "variable.";

/// All that the page is made of.
#[derive(Clone, Debug)]
pub struct NewJobSheet {
    /// The names of those of variables begin with [`VARIABLE`].
    pub entries: Entries,
    /// The body of `POST /jobs` that they make.
    pub body: String,
    /// Repositories that are known, as `owner/name`.
    pub repositories: Vec<String>,
    pub agents: Vec<String>,
    /// Those that the viewer may use.
    pub profiles: Vec<Profile>,
    /// The address under which the page is looked at.
    pub url: String,
}

const fn field(
    name: &'static str,
    label: &'static str,
    pointers: &'static [&'static str],
    help: &'static str,
) -> Field {
    Field { name, label, pointers, help }
}

// one field here, three members there
const REPO: Field = field(
    "repo",
    "Repository",
    &["/clientId", "/githubOrg", "/githubRepo"],
    "owner/name; one that is new is registered",
);
const PROMPT: Field = field("prompt", "What shall be done", &["/prompt"], "");
const TITLE: Field =
    field("title", "Title", &["/title"], "of the pull request; the branch's name when empty");
const BRANCH: Field = field("branchName", "Branch", &["/branchName"], "named after the title when empty");
const BASE: Field = field("baseBranch", "Starts from", &["/baseBranch"], "the default branch when empty");
const PROFILE: Field = field("profile", "Profile", &["/profile"], "options, and a template for the prompt");
const AGENT: Field = field("agent", "Agent", &["/options/agent"], "");
const MODEL: Field = field("model", "Model", &["/options/model"], "by the agent's own naming");
const PUBLISH: Field = field("publish", "What becomes of the work", &["/options/publish"], "");
const TURNS: Field = field("maxTurns", "Turns at most", &["/options/maxTurns"], "");
const BUDGET: Field = field("maxBudgetUsd", "Dollars at most", &["/options/maxBudgetUsd"], "");
const TIMEOUT: Field = field("timeoutSeconds", "Seconds at most", &["/options/timeoutSeconds"], "");
const LABELS: Field = field("labels", "Labels", &["/labels"], "separated by commas");
const PRIORITY: Field = field("priority", "Priority", &["/priority"], "−10 to 10, higher first");
const CALLBACK: Field =
    field("osCallbackUrl", "Callback", &["/osCallbackUrl"], "an address that is told how it ended");

const FEW: [Field; 6] = [REPO, PROMPT, TITLE, BRANCH, BASE, PROFILE];
const MORE: [Field; 9] = [AGENT, MODEL, PUBLISH, TURNS, BUDGET, TIMEOUT, LABELS, PRIORITY, CALLBACK];

/// The page.
#[must_use]
pub fn new_job(viewer: &Viewer, sheet: &NewJobSheet) -> String {
    let body = html! {
        div .head { h1 { "New job" } }
        @if viewer.may(Scope::Submit) {
            (sheet.entries.refused("Nothing was queued", &[&FEW[..], &MORE].concat()))
            div .columns .writing {
                (form(viewer, sheet))
                (equivalents(sheet))
            }
        } @else {
            p .none { "The token that you are signed in with may look, and submit nothing." }
        }
    };
    page(viewer, Sheet { title: "New job", place: Place::New, live: String::new(), body })
}

impl NewJobSheet {
    fn chosen(&self) -> Option<&Profile> {
        self.profiles.iter().find(|profile| profile.name == self.entries.value(PROFILE.name))
    }
}

fn form(viewer: &Viewer, sheet: &NewJobSheet) -> Markup {
    let entries = &sheet.entries;
    html! {
        form .writing-form .stack method="post" action="/ui/new" data-draft data-still {
            (repository(sheet))
            (prompt(sheet))
            div .pair {
                (entries.line(&TITLE)) (entries.line(&BRANCH)) (entries.line(&BASE))
                @if !sheet.profiles.is_empty() {
                    @let names = sheet.profiles.iter().map(|profile| (profile.name.as_str(), profile.name.as_str()));
                    (entries.choice(&PROFILE, std::iter::once(("", "none")).chain(names)))
                }
            }
            div #variables .stack { @if let Some(profile) = sheet.chosen() { (variables(entries, profile)) } }
            details .more-fields open[entries.any(&MORE)] {
                summary { "Agent, limits, labels" }
                div .pair {
                    @if viewer.may(Scope::Operate) {
                        @let names = sheet.agents.iter().map(|name| (name.as_str(), name.as_str()));
                        (entries.choice(&AGENT, std::iter::once(AS_CONFIGURED).chain(names)))
                    }
                    (entries.line(&MODEL))
                    (entries.choice(&PUBLISH, [AS_CONFIGURED, ("pull_request", "a pull request"), ("branch", "a branch"), ("none", "it is kept here")]))
                    @for field in &MORE[3..] { (entries.line(field)) }
                }
            }
            div .next {
                button .primary { (icon("play")) "Queue it" }
                button formaction="/ui/new/preview" formnovalidate data-preview { "Show the commands" }
            }
        }
    }
}

const AS_CONFIGURED: (&str, &str) = ("", "as configured");

fn repository(sheet: &NewJobSheet) -> Markup {
    let entries = &sheet.entries;
    let repo = entries.value(REPO.name);
    let input = html! {
        input #in-repo name="repo" value=(repo) list="repositories" placeholder="acme/widgets" required
            autocomplete="off" spellcheck="false" autofocus[repo.is_empty()]
            aria-invalid=[entries.invalid(&REPO)] aria-describedby="about-repo";
        datalist #repositories { @for name in &sheet.repositories { option value=(name) {} } }
    };
    entries.around(&REPO, &input)
}

fn prompt(sheet: &NewJobSheet) -> Markup {
    let entries = &sheet.entries;
    let input = html! {
        textarea #in-prompt name="prompt" rows="9" autofocus[entries.given(REPO.name).is_some()]
            required[takes_prompt(sheet.chosen())] aria-invalid=[entries.invalid(&PROMPT)] aria-describedby="about-prompt" {
            // the first end of a line in it is not its own
            "\n" (entries.value(PROMPT.name))
        }
    };
    entries.around(&PROMPT, &input)
}

/// Whether a job has a prompt of its own: not where it is made of a template without a place for one.
fn takes_prompt(profile: Option<&Profile>) -> bool {
    profile.is_none_or(|profile| {
        profile.prompt.is_none() || profile.variables.iter().any(|name| name == PROMPT.name)
    })
}

/// A field for each variable of the profile's template.
fn variables(entries: &Entries, profile: &Profile) -> Markup {
    html! {
        @for name in profile.variables.iter().filter(|name| *name != PROMPT.name) {
            @let id = format!("{VARIABLE}{name}");
            @let pointer = format!("/variables/{name}");
            @let wrong = entries.faults().iter().find(|fault| fault.pointer == pointer);
            div .field {
                label for=(id) { (name) span .faint { " of the profile " (profile.name) } }
                input id=(id) name=(id) value=(entries.value(&id)) autocomplete="off" aria-invalid=[wrong.map(|_| "true")];
                @if let Some(fault) = wrong { p .about-field { span .bad-word { (name) " " (fault.detail) } } }
            }
        }
    }
}

/// What a program, or a person at a terminal, would send.
fn equivalents(sheet: &NewJobSheet) -> Markup {
    html! {
        aside #equivalents aria-label="The same in commands" {
            h2 { "From a terminal" }
            (block(&typed(sheet)))
            h2 { "From any program" }
            (block(&curl(sheet)))
            p .faint { "Where " code { "AGENT_API_SECRET" } " is the server's, or a token of yours." }
        }
    }
}

fn block(text: &str) -> Markup {
    html! {
        div .snippet {
            pre tabindex="0" { (text) }
            button .quiet .square type="button" data-copy=(text) aria-label="Copy" title="Copy" hidden { (icon("copy")) }
        }
    }
}

fn curl(sheet: &NewJobSheet) -> String {
    format!(
        "curl {}/jobs -H \"Authorization: Bearer $AGENT_API_SECRET\" \\\n  -H 'Content-Type: application/json' \\\n  -d {}",
        sheet.url,
        shell_word(&sheet.body)
    )
}

fn typed(sheet: &NewJobSheet) -> String {
    let mut words = vec!["offshoot submit".to_owned()];
    let flags = [
        ("repo", "--repo"),
        ("branchName", "--branch"),
        ("baseBranch", "--base"),
        ("title", "--title"),
        ("profile", "--profile"),
        ("agent", "--agent"),
        ("model", "--model"),
        ("maxTurns", "--max-turns"),
        ("maxBudgetUsd", "--budget"),
        ("priority", "--priority"),
        ("osCallbackUrl", "--callback"),
    ];
    let entries = &sheet.entries;
    let given = |name: &str| entries.given(name);
    for (name, flag) in flags {
        words.extend(given(name).map(|value| format!("{flag}={}", shell_word(value))));
    }
    words.extend(
        given("timeoutSeconds").map(|value| format!("--timeout={}", shell_word(&format!("{value}s")))),
    );
    words.extend(given("publish").map(|value| match value {
        "none" => "--dry-run".to_owned(),
        how => format!("--publish={}", shell_word(how)),
    }));
    let labels = entries.value("labels").split(',').map(str::trim).filter(|label| !label.is_empty());
    words.extend(labels.map(|label| format!("--label={}", shell_word(label))));
    let variables =
        entries.fields.iter().filter_map(|(name, value)| Some((name.strip_prefix(VARIABLE)?, value)));
    words.extend(
        variables
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| format!("--var={}", shell_word(&format!("{name}={value}")))),
    );
    if let Some(prompt) = given("prompt") {
        // what begins like a flag is none behind this
        words.extend(prompt.starts_with('-').then(|| "--".to_owned()));
        words.push(shell_word(prompt));
    }
    words.join(" \\\n  ")
}

/// Where there is nothing yet, the way to the first job.
pub(super) fn first_words(viewer: &Viewer) -> Markup {
    html! {
        @if viewer.may(Scope::Submit) { p .next { a .button .primary href="/ui/new" { (icon("plus")) "New job" } } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_what_the_form_says_whatever_that_is() {
        let fields = [
            ("repo", "acme/widgets"),
            ("prompt", "-x"),
            ("title", "-y"),
            ("publish", "none"),
            ("timeoutSeconds", "90"),
            ("labels", "-a, b c,"),
            ("variable.path", "src"),
        ];
        let sheet = NewJobSheet {
            entries: Entries {
                problem: None,
                fields: fields.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
            },
            body: "{}".to_owned(),
            repositories: Vec::new(),
            agents: Vec::new(),
            profiles: Vec::new(),
            url: "http://127.0.0.1:3456".to_owned(),
        };
        let words: Vec<_> =
            typed(&sheet).lines().map(|line| line.trim().trim_end_matches(" \\").to_owned()).collect();
        let expected = [
            "offshoot submit",
            "--repo=acme/widgets",
            "--title=-y",
            "--timeout=90s",
            "--dry-run",
            "--label=-a",
            "--label='b c'",
            "--var=path=src",
            "--",
            "-x",
        ];
        assert_eq!(words, expected);
    }
}
