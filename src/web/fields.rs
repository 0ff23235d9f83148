//! Fields of forms: what was written into them, what is wrong with it, and where.

use std::collections::BTreeMap;

use maud::{Markup, html};

use super::parts::icon;
use crate::wire::problem::{Fault, Problem};

/// What stands in the fields of a form, and why the server did not take it.
#[derive(Clone, Debug, Default)]
pub struct Entries {
    /// By the names of the fields.
    pub fields: BTreeMap<String, String>,
    pub problem: Option<Problem>,
}

/// One field: its name, its label, where the API has it, what helps to fill it in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) label: &'static str,
    /// Pointers into the body; what is wrong below them is wrong here too.
    pub(super) pointers: &'static [&'static str],
    pub(super) help: &'static str,
}

impl Field {
    fn has(&self, fault: &Fault) -> bool {
        self.pointers.iter().any(|pointer| {
            fault.pointer.strip_prefix(pointer).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
    }
}

impl Entries {
    pub(super) fn value(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", String::as_str)
    }

    pub(super) fn given(&self, name: &str) -> Option<&str> {
        Some(self.value(name)).filter(|value| !value.is_empty())
    }

    pub(super) fn faults(&self) -> &[Fault] {
        self.problem.as_ref().map_or(&[], |problem| problem.errors.as_slice())
    }

    /// What is wrong with what a field says.
    pub(super) fn wrong(&self, field: &Field) -> Option<&Fault> {
        self.faults().iter().find(|fault| field.has(fault))
    }

    pub(super) fn invalid(&self, field: &Field) -> Option<&'static str> {
        self.wrong(field).map(|_| "true")
    }

    /// Whether any of these says something, or something wrong.
    pub(super) fn any(&self, fields: &[Field]) -> bool {
        fields.iter().any(|field| self.given(field.name).is_some() || self.wrong(field).is_some())
    }

    /// What was refused, with a way to each field; nothing, where nothing was.
    pub(super) fn refused(&self, heading: &str, fields: &[Field]) -> Markup {
        let Some(problem) = &self.problem else { return html! {} };
        html! {
            section .banner .bad role="alert" #refused {
                (icon("failed"))
                div {
                    strong { (heading) }
                    @if self.faults().is_empty() { p { (problem.detail) "." } }
                    ul {
                        @for fault in self.faults() {
                            li {
                                @match fields.iter().find(|field| field.has(fault)) {
                                    Some(field) => { a href={ "#in-" (field.name) } { (field.label) } " " (fault.detail) }
                                    None => { code { (fault.pointer.trim_start_matches('/')) } " " (fault.detail) }
                                }
                            }
                        }
                    }
                    @for job in &problem.jobs { p { a href={ "/ui/jobs/" (job.number) } { "See job #" (job.number) } } }
                }
            }
        }
    }

    /// A label, the field itself, and below it what is wrong or what helps.
    pub(super) fn around(&self, field: &Field, input: &Markup) -> Markup {
        html! {
            div .field {
                label for={ "in-" (field.name) } { (field.label) }
                (input)
                p .about-field id={ "about-" (field.name) } {
                    @match self.wrong(field) {
                        Some(fault) => { span .bad-word { (field.label) " " (fault.detail) } }
                        None => { (field.help) }
                    }
                }
            }
        }
    }

    pub(super) fn line(&self, field: &Field) -> Markup {
        let input = html! {
            input id={ "in-" (field.name) } name=(field.name) value=(self.value(field.name)) autocomplete="off" spellcheck="false"
                aria-invalid=[self.invalid(field)] aria-describedby={ "about-" (field.name) };
        };
        self.around(field, &input)
    }

    /// Words with what they are called; an empty one stands for none of them.
    pub(super) fn choice<'c>(
        &self,
        field: &Field,
        choices: impl IntoIterator<Item = (&'c str, &'c str)>,
    ) -> Markup {
        let value = self.value(field.name);
        let input = html! {
            select id={ "in-" (field.name) } name=(field.name) aria-invalid=[self.invalid(field)] aria-describedby={ "about-" (field.name) } {
                @for (word, shown) in choices { option value=(word) selected[word == value] { (shown) } }
            }
        };
        self.around(field, &input)
    }
}
