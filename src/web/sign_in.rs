//! The way in: by a link of `offshoot open`, or by a token.

use maud::html;

use super::parts::{command, icon};
use super::shell::{Theme, document, going_to};

/// For whoever is not let in yet. `next`: where he wanted to go; `wrong`: why he was not let in just now.
#[must_use]
pub fn sign_in(theme: Theme, next: &str, wrong: Option<&str>) -> String {
    let body = html! {
        main #main .door {
            h1 { (icon("logo")) "offshoot" }
            @if let Some(wrong) = wrong { p .wrong role="alert" { (icon("failed")) (wrong) } }
            section {
                h2 { "Open the dashboard from a terminal" }
                p { "On the machine of the server, or wherever your token is set:" }
                p { (command("offshoot open")) }
                p .faint { "It prints a link that works once, within a minute, and opens it in your browser." }
            }
            section {
                h2 { "Or sign in with a token" }
                form method="post" action="/ui/sign-in" .stack {
                    input type="hidden" name="next" value=(next);
                    label { "Token" input type="password" name="token" required autocomplete="current-password" spellcheck="false"; }
                    button .primary { "Sign in" }
                }
                p .faint { "The server's own secret, or a named token: " code { "offshoot token new phone --scope operate" } }
            }
        }
    };
    document(theme, "Sign in", &body)
}

/// A link that is not followed yet. `present`: who is signed in now.
#[must_use]
pub fn enter(theme: Theme, next: &str, present: Option<&str>) -> String {
    let body = html! {
        main #main .door {
            h1 { (icon("logo")) "offshoot" }
            section {
                h2 { "Sign in by this link?" }
                p {
                    @match present {
                        Some(name) => { "You are signed in as " b { (name) } ". The link may be somebody else's: you are who made it then." }
                        None => { "You are whoever made the link then." }
                    }
                }
                form method="post" .stack { button .primary { "Sign in" } }
                p { a href=(next) { "Back, as you are" } }
            }
        }
    };
    document(theme, "Sign in", &body)
}

/// Whoever came by a link is sent on by a page of ours: the cookie comes along then, wherever the link was clicked.
#[must_use]
pub fn entered(next: &str) -> String {
    going_to(next, "Signed in. ")
}
