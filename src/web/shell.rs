//! What every page has around it: head, navigation, the notice of what was just done.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::Viewer;
use super::assets::{ASSETS, SCRIPT, STYLE};
use super::parts::icon;
use crate::domain::named::named_enum;
use crate::domain::phrases;
use crate::domain::token::Scope;

named_enum! {
    /// Which colours somebody wants.
    Theme {
        /// As the system says.
        System = "system",
        Light = "light",
        Dark = "dark",
    }
}

named_enum! {
    /// What was just done, by the word that stands for it in an address.
    Said {
        Cancelled = "cancelled",
        Retried = "retried",
        FollowedUp = "followed-up",
        Paused = "paused",
        Resumed = "resumed",
        Tried = "tried",
        Redelivered = "redelivered",
        Submitted = "submitted",
        Registered = "registered",
        Synced = "synced",
        ClientPaused = "repository-paused",
        ClientResumed = "repository-resumed",
        Removed = "removed",
        BackedUp = "backed-up",
        Revoked = "revoked",
        UrlResumed = "address-resumed",
        SomeRefused = "some-refused",
        NoneChosen = "none-chosen",
    }
}

impl Said {
    const fn sentence(self) -> &'static str {
        match self {
            Self::Cancelled => "Cancelled: nothing of it runs any more.",
            Self::Retried => "Queued again, as this new job.",
            Self::FollowedUp => "Queued: it goes on where the job before ended.",
            Self::Paused => "Paused. What runs goes on; nothing new starts.",
            Self::Resumed => "Resumed: jobs start again.",
            Self::Tried => "One job of each held login goes out as a probe.",
            Self::Redelivered => "The webhook is on its way again.",
            Self::Submitted => "Queued.",
            Self::Registered => "Registered and cloned.",
            Self::Synced => "Synced: the clone is as the remote is.",
            Self::ClientPaused => "Paused: none of its jobs starts. What runs goes on.",
            Self::ClientResumed => "Resumed: its jobs start again.",
            Self::Removed => "Removed. The history of its jobs stays.",
            Self::BackedUp => "Backed up, and the copy was looked through.",
            Self::Revoked => "Revoked: it opens nothing any more.",
            Self::UrlResumed => "What waited for that address is on its way.",
            Self::SomeRefused => "Some of them could not be changed any more: they are as they were.",
            Self::NoneChosen => "No job was chosen: tick some first.",
        }
    }
}

/// Where in the navigation a page stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Queue,
    Jobs,
    Job,
    New,
    Clients,
    Client,
    System,
    Api,
}

/// What a page is made of.
pub(super) struct Sheet<'p> {
    pub(super) title: &'p str,
    pub(super) place: Place,
    /// Whose events say that it has changed: `all`, or the number of a job; empty: it never does.
    pub(super) live: String,
    pub(super) body: Markup,
}

impl Theme {
    const fn next(self) -> Self {
        match self {
            Self::System => Self::Light,
            Self::Light => Self::Dark,
            Self::Dark => Self::System,
        }
    }

    const fn icon(self) -> &'static str {
        match self {
            Self::System => "auto",
            Self::Light => "sun",
            Self::Dark => "moon",
        }
    }
}

/// The page, or the part of it that changes by itself.
pub(super) fn page(viewer: &Viewer, sheet: Sheet<'_>) -> String {
    let main = html! {
        main #main tabindex="-1" data-live=(sheet.live) data-title=(sheet.title) data-now=(viewer.now.as_ms()) {
            @if let Some(said) = viewer.said { p #said .said role="status" data-stays { (icon("check")) (said.sentence()) } }
            (sheet.body)
        }
    };
    if viewer.part_only {
        return harmless(main);
    }
    let body = html! {
        a .skip href="#main" { "Skip to content" }
        (navigation(viewer, sheet.place))
        (main)
        (help())
        div #announce .unseen role="status" aria-live="polite" {}
    };
    document(viewer.theme, sheet.title, &body)
}

/// Every page, also those of whoever is not let in yet.
pub(super) fn document(theme: Theme, title: &str, body: &Markup) -> String {
    let theme = (theme != Theme::System).then(|| theme.as_str());
    harmless(html! {
        (DOCTYPE)
        html lang="en" data-theme=[theme] {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " · offshoot" }
                link rel="icon" href=(ICON);
                link rel="stylesheet" href=(ASSETS[STYLE].path());
                script type="module" src=(ASSETS[SCRIPT].path()) {}
            }
            body { (PreEscaped(SPRITE)) (body) }
        }
    })
}

/// Nothing in a page turns the direction of reading or steers anything, wherever it came from.
pub(super) fn harmless(page: Markup) -> String {
    phrases::printable(&page.into_string())
}

/// Comes back to the same address by itself: what another site led here has no cookie the first time.
#[must_use]
pub fn bounce(path: &str) -> String {
    going_to(path, "")
}

/// Goes on to an address by itself, as a page of ours, so that the cookie comes along.
pub(super) fn going_to(path: &str, said: &str) -> String {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="refresh" content={ "0; url=" (path) };
                title { "offshoot" }
            }
            body { (said) a href=(path) { "Go on" } }
        }
    }
    .into_string()
}

fn navigation(viewer: &Viewer, place: Place) -> Markup {
    let current = |here: Place| (place == here).then_some("page");
    html! {
        header .top {
            nav aria-label="Main" {
                a .brand href="/ui/" aria-label="offshoot, to the queue" { (icon("logo")) span { "offshoot" } }
                a href="/ui/" aria-current=[current(Place::Queue)] { "Queue" }
                a href="/ui/jobs" aria-current=[current(Place::Jobs)] data-here=[(place == Place::Job).then_some("")] { "Jobs" }
                a href="/ui/clients" aria-current=[current(Place::Clients)] data-here=[(place == Place::Client).then_some("")] { "Repositories" }
                a href="/ui/system" aria-current=[current(Place::System)] { "System" }
            }
            form .find action="/ui/jobs" role="search" aria-label="All jobs" {
                (icon("search"))
                input #find type="search" name="q" placeholder="Search jobs" aria-label="Search jobs"
                    maxlength="200" autocomplete="off";
                kbd aria-hidden="true" { "/" }
            }
            @if viewer.may(Scope::Submit) {
                a .button .new href="/ui/new" aria-current=[current(Place::New)] data-key="c" { (icon("plus")) span { "New job" } }
            }
            div .me {
                form method="post" action="/ui/theme" {
                    input type="hidden" name="theme" value=(viewer.theme.next());
                    button .quiet .square
                        title={ "Colours: " (viewer.theme) } aria-label={ "Colours: " (viewer.theme) ". Change" } {
                        (icon(viewer.theme.icon()))
                    }
                }
                details .menu {
                    summary aria-label={ "Signed in as " (viewer.name) } { span .avatar { (initial(&viewer.name)) } }
                    div {
                        p { "Signed in with the token " b { (viewer.name) } ", which may " (may(viewer.scope)) "." }
                        @if !viewer.sees_all { p { "It sees some repositories only." } }
                        p { a href="/ui/docs" { "The API" } ", for programs" }
                        form method="post" action="/ui/sign-out" { button { "Sign out" } }
                    }
                }
            }
        }
    }
}

fn initial(name: &str) -> String {
    name.chars().next().map(|letter| letter.to_uppercase().collect()).unwrap_or_default()
}

const fn may(scope: Scope) -> &'static str {
    match scope {
        Scope::Read => "look",
        Scope::Submit => "submit",
        Scope::Operate => "operate",
        Scope::Admin => "everything",
    }
}

/// Keys, for whoever asks with `?`.
fn help() -> Markup {
    let keys: &[(&str, &str)] = &[
        ("j k", "next, previous job"),
        ("o Enter", "open it"),
        ("x", "tick it"),
        ("/", "search"),
        ("c", "write a new job"),
        ("g q", "go to the queue"),
        ("g j", "go to the jobs"),
        ("g r", "go to the repositories"),
        ("g s", "go to the system"),
        ("f", "follow the log, or stop"),
        ("e", "open or close all of the log"),
        ("n p", "next, previous match in the log, or changed file"),
        ("r", "retry or publish this job, after a question"),
        ("s", "stop this job, after a question"),
        ("y", "copy the address of this job or line"),
        ("?", "this"),
    ];
    html! {
        dialog #help aria-labelledby="help-title" {
            h2 #help-title { "Keys" }
            dl .keys { @for (key, what) in keys { div { dt { @for one in key.split(' ') { kbd { (one) } } } dd { (what) } } } }
            label .switch { input type="checkbox" data-keys checked; " Keys are on" }
            form method="dialog" { button { "Close" } }
        }
    }
}

/// A sprout; as data, so that it costs no request.
const ICON: &str = "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 24 24' fill='none' \
    stroke='%2316a05d' stroke-width='2.6' stroke-linecap='round'%3E%3Cpath d='M5 21V5m0 10c0-5 4-8 9-8h5m0 0-4-4m4 4-4 4'/%3E%3C/svg%3E";

/// Drawn once and used by name.
const SPRITE: &str = include_str!("../../assets/ui/sprite.svg");
