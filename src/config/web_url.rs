//! The URLs of the configuration: the form that all of them have.

use url::Url;

/// `text` as an http or https URL with a host, without a user name, a password and a fragment.
pub(super) fn parse(text: &str) -> Option<Url> {
    let is_usable = |url: &Url| {
        matches!(url.scheme(), "http" | "https")
            && url.has_host()
            && url.username().is_empty()
            && url.password().is_none()
            && url.fragment().is_none()
    };
    Url::parse(text).ok().filter(is_usable)
}
