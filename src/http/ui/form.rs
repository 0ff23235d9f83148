//! What a form of the dashboard brought.

use std::collections::BTreeMap;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use serde_json::{Map, Value};

use super::super::body::BodyBytes;
use crate::app::AppError;

/// Fields in the order of the page; one may come several times.
pub(super) struct Form(Vec<(String, String)>);

impl Form {
    /// `None` when absent or empty. Lines end as everywhere else: forms send them with CR and LF.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        self.all(name).find(|text| !text.is_empty()).map(|text| text.replace("\r\n", "\n"))
    }

    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = String> {
        self.0.iter().filter(move |(found, _)| found == name).map(|(_, value)| value.clone())
    }

    /// Those of these fields that have something in them, by their names.
    pub(super) fn some(&self, fields: &[&str]) -> BTreeMap<String, String> {
        fields.iter().filter_map(|field| Some(((*field).to_owned(), self.text(field)?))).collect()
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    /// Those of these fields that have something in them, as a caller of the API would send them.
    pub(super) fn body(&self, fields: &[&str]) -> Value {
        let given = fields.iter().filter_map(|field| Some(((*field).to_owned(), self.text(field)?.into())));
        Value::Object(given.collect::<Map<_, _>>())
    }

    /// Where to go on, with the word for what was done.
    pub(super) fn back(&self, said: crate::web::Said) -> String {
        let path = own_path(self.text("back").as_deref());
        let (path, fragment) = path.split_once('#').map_or((path.as_str(), ""), |(path, rest)| (path, rest));
        let joint = if path.contains('?') { '&' } else { '?' };
        let hash = if fragment.is_empty() { "" } else { "#" };
        format!("{path}{joint}said={said}{hash}{fragment}")
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Form {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Self::Rejection> {
        let bytes = parts.extensions.get::<BodyBytes>().map(|body| body.0.clone()).unwrap_or_default();
        Ok(Self(url::form_urlencoded::parse(&bytes).into_owned().collect()))
    }
}

/// Owner and name, as somebody wrote them into one field.
pub(super) fn repository(text: &str) -> Result<(&str, &str), AppError> {
    let rule = "must be an owner and a name, like acme/widgets";
    text.trim().split_once('/').ok_or_else(|| AppError::invalid("/githubRepo", rule))
}

/// A path of the dashboard; everything else becomes the queue, so that nobody is led elsewhere.
pub(super) fn own_path(path: Option<&str>) -> String {
    let is_own = |path: &&str| {
        path.starts_with("/ui/")
            && !path.starts_with("/ui/sign")
            && path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\')
    };
    path.filter(is_own).unwrap_or("/ui/").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::Said;

    #[test]
    fn a_text_has_the_ends_of_lines_that_everybody_has() {
        let form = Form(vec![("prompt".to_owned(), "one\r\ntwo".to_owned())]);
        assert_eq!(form.body(&["prompt", "mode"]), serde_json::json!({"prompt": "one\ntwo"}));
    }

    #[test]
    fn nobody_is_led_elsewhere() {
        for own in ["/ui/", "/ui/jobs?q=a", "/ui/jobs/7#L3"] {
            assert_eq!(own_path(Some(own)), own);
        }
        let foreign = [
            "",
            "/",
            "//evil.com",
            "https://evil.com/ui/",
            "/ui",
            "/ui/\\evil.com",
            "/ui/\r\nX: y",
            "/ui/sign-in",
        ];
        for foreign in foreign {
            assert_eq!(own_path(Some(foreign)), "/ui/", "{foreign:?}");
        }
        let form = |back: &str| Form(vec![("back".to_owned(), back.to_owned())]);
        assert_eq!(form("/ui/jobs?q=a").back(Said::Paused), "/ui/jobs?q=a&said=paused");
        assert_eq!(form("/ui/jobs/7#L3").back(Said::Paused), "/ui/jobs/7?said=paused#L3");
        assert_eq!(form("//x").back(Said::Paused), "/ui/?said=paused");
    }
}
