//! The dashboard's pages: what `app` answers, as HTML for people, and the stylesheet and scripts that belong to it.
//!
//! Promises: each page is whole as it comes from the server, and every action on it is a form. Text from elsewhere
//! (prompts, titles, what agents say) is escaped by the templates and made harmless by [`printable`](crate::domain::phrases::printable)
//! or `ansi`; there is no script and no style in a page, so that a strict policy holds. Who may not do a thing finds no
//! button for it. A fragment is the same function as its page.
//!
//! Must not know: HTTP, the use cases, SQL, the worker, the present time (it comes with the [`Viewer`]). Which address
//! does what, and who may, is decided by `http`'s table.
//!
//! Fails: never; what cannot be shown is left out. Tested: through the router in `src/http/tests/`, what is tricky beside
//! the code.

mod ansi;
mod api;
mod assets;
mod changes;
mod clients;
mod doctor;
mod fields;
mod job;
mod jobs;
mod log;
mod new_job;
mod next;
mod parts;
mod problem;
mod queue;
mod search;
mod shell;
mod sign_in;
mod steps;
mod system;

pub use api::api;
pub use assets::{ASSETS, Asset};
pub use changes::{ChangesSheet, job_changes};
pub use clients::{ClientSheet, ClientsSheet, client, clients};
pub use doctor::doctor;
pub use fields::Entries;
pub use job::{JobSheet, job};
pub use jobs::{JobsSheet, jobs};
pub use log::{lines, log_lines};
pub use new_job::{NewJobSheet, VARIABLE, new_job};
pub use problem::problem;
pub use queue::{QUEUED_SHOWN, QueueSheet, queue};
pub use search::Search;
pub use shell::{Said, Theme, bounce};
pub use sign_in::{enter, entered, sign_in};
pub use system::{DeliveriesSheet, SystemSheet, TokensSheet, audit, deliveries, system, tokens};

use crate::domain::time::Timestamp;
use crate::domain::token::Scope;

/// Who looks, when, and at how much of it.
#[derive(Clone, Debug)]
pub struct Viewer {
    /// The name of the token.
    pub name: String,
    pub scope: Scope,
    /// Whether the token is for all clients.
    pub sees_all: bool,
    pub now: Timestamp,
    pub theme: Theme,
    /// Only the part of the page that changes by itself.
    pub part_only: bool,
    /// What was just done.
    pub said: Option<Said>,
}

impl Viewer {
    pub(crate) fn may(&self, needed: Scope) -> bool {
        self.scope.includes(needed)
    }

    /// For what concerns all clients.
    pub(crate) fn may_for_all(&self, needed: Scope) -> bool {
        self.sees_all && self.may(needed)
    }
}
