//! Which URL may be called back: the only reader of callback URLs.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use thiserror::Error;
use url::{Host, Url};

use super::policy::Policy;
use crate::domain::address_class::{AddressClass, classify};

/// Longest callback URL, in bytes: what browsers and proxies commonly accept, far more than a callback needs.
pub const URL_BYTES_MAX: usize = 2_048;

/// Names by which clouds serve credentials, whatever they resolve to.
const METADATA_NAMES: [&str; 8] = [
    "metadata",
    "metadata.google.internal",
    "metadata.goog",
    "metadata.azure.internal",
    "metadata.azure.com",
    "metadata.tencentyun.com",
    "instance-data",
    "instance-data.ec2.internal",
];

/// A callback URL that passed [`check_url`], in one canonical spelling (lower-case punycode host, plain IPv4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallbackUrl {
    url: Url,
    port: u16,
}

/// Why a URL is not called. The text is shown to the caller who gave the URL.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AddressError {
    #[error("the callback URL is longer than {URL_BYTES_MAX} bytes")]
    TooLong,
    #[error("the callback URL is malformed: {0}")]
    Malformed(&'static str),
    #[error("the callback URL must begin with http:// or https://")]
    Scheme,
    #[error("the callback URL must not carry a user name or password")]
    UserInfo,
    #[error("the callback URL must not have a fragment")]
    Fragment,
    #[error("{host} is a {} address, which callbacks.allow does not name", class.word())]
    NotAllowed { host: String, class: AddressClass },
    #[error("{host} serves cloud metadata and is never called")]
    Metadata { host: String },
    #[error("{host} is this server itself and is never called")]
    OwnListener { host: String },
    #[error("the name {host} has no address")]
    NoAddress { host: String },
}

impl CallbackUrl {
    /// The canonical text, which is what is stored and called.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.url.as_str()
    }

    /// The host as it stands in the URL (IPv6 in brackets).
    #[must_use]
    pub fn host(&self) -> &str {
        self.url.host_str().unwrap_or_default()
    }

    /// The port that is dialled, given or implied by the scheme.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The address, when the host is written as one.
    #[must_use]
    pub fn literal_address(&self) -> Option<IpAddr> {
        match self.url.host()? {
            Host::Ipv4(address) => Some(address.into()),
            Host::Ipv6(address) => Some(address.into()),
            Host::Domain(_) => None,
        }
    }

    pub(super) fn url(&self) -> &Url {
        &self.url
    }
}

/// Reads a callback URL and judges what can be judged without asking the network: form, literal addresses, names
/// that mean this machine or a metadata service. A name that resolves to a bad address is caught by [`vet`].
///
/// # Errors
/// [`AddressError`], never [`AddressError::NoAddress`].
pub fn check_url(text: &str, policy: &Policy) -> Result<CallbackUrl, AddressError> {
    let url = read(text)?;
    let port = url
        .port_or_known_default()
        .filter(|port| *port > 0)
        .ok_or(AddressError::Malformed("the port is not usable"))?;
    let callback = CallbackUrl { url, port };
    match callback.literal_address() {
        Some(address) => judge(&callback, address, policy, false)?,
        None => check_name(&callback, policy)?,
    }
    Ok(callback)
}

/// Judges every address that the host of `url` resolved to. One bad answer refuses them all: a name with public and
/// inner addresses side by side is how DNS rebinding looks.
///
/// # Errors
/// The reason why the first refused address may not be dialled; [`AddressError::NoAddress`] for an empty list.
pub fn vet(
    url: &CallbackUrl,
    addresses: &[IpAddr],
    policy: &Policy,
) -> Result<Vec<SocketAddr>, AddressError> {
    if addresses.is_empty() {
        return Err(AddressError::NoAddress { host: url.host().to_owned() });
    }
    let named = url.literal_address().is_none() && policy.allows_name(url.host(), url.port());
    let vetted = addresses.iter().map(|address| {
        judge(url, *address, policy, named)?;
        Ok(SocketAddr::new(*address, url.port()))
    });
    vetted.collect()
}

/// The parser forgives a lot (tabs, backslashes, missing slashes) and so do others, each in its own way. What could
/// be read in two ways is refused before it is parsed.
fn read(text: &str) -> Result<Url, AddressError> {
    if text.len() > URL_BYTES_MAX {
        return Err(AddressError::TooLong);
    }
    if text.chars().any(|character| character.is_control() || character.is_whitespace() || character == '\\')
    {
        return Err(AddressError::Malformed("it contains a space, a control character or a backslash"));
    }
    let (scheme, rest) = text.split_once("://").ok_or(AddressError::Scheme)?;
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return Err(AddressError::Scheme);
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.is_empty() {
        return Err(AddressError::Malformed("it has no host"));
    }
    if authority.contains('@') {
        return Err(AddressError::UserInfo);
    }
    if text.contains('#') {
        return Err(AddressError::Fragment);
    }
    let url = Url::parse(text).map_err(|_| AddressError::Malformed("its host or port cannot be read"))?;
    // Punycode can grow the text.
    if url.as_str().len() > URL_BYTES_MAX {
        return Err(AddressError::TooLong);
    }
    match url.host() {
        None => Err(AddressError::Malformed("it has no host")),
        Some(Host::Domain(name))
            if name.split('.').rev().skip(usize::from(name.ends_with('.'))).any(str::is_empty) =>
        {
            Err(AddressError::Malformed("its host name has an empty part"))
        }
        Some(_) => Ok(url),
    }
}

fn check_name(callback: &CallbackUrl, policy: &Policy) -> Result<(), AddressError> {
    let host = || callback.host().to_owned();
    let name = callback.host().trim_end_matches('.');
    if METADATA_NAMES.contains(&name) {
        return Err(AddressError::Metadata { host: host() });
    }
    if name == "localhost" || name.ends_with(".localhost") || name == "localhost.localdomain" {
        // RFC 6761: these names mean loopback everywhere. Which of the two the resolver gives is not known yet.
        let named = policy.allows_name(name, callback.port);
        for address in [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)] {
            judge(callback, address, policy, named)?;
        }
    }
    Ok(())
}

fn judge(callback: &CallbackUrl, address: IpAddr, policy: &Policy, named: bool) -> Result<(), AddressError> {
    let host = match callback.literal_address() {
        Some(_) => callback.host().to_owned(),
        None => format!("{} ({address})", callback.host()),
    };
    policy.judge(address, callback.port, named).map_err(|class| match class {
        None => AddressError::OwnListener { host },
        Some(AddressClass::Metadata) => AddressError::Metadata { host },
        Some(_) => AddressError::NotAllowed { class: classify(address), host },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn whatever_passes_is_stable_plain_and_outside(
            host in r"[0-9a-zA-Zx.:%\[\]@#?/\\①⑦。ü\-]{0,24}",
            path in r"[a-z0-9/?#@%:\\]{0,12}",
        ) {
            let policy = Policy::default();
            if let Ok(url) = check_url(&format!("http://{host}{path}"), &policy) {
                let again = check_url(url.as_str(), &policy);
                prop_assert_eq!(again.as_ref(), Ok(&url));
                prop_assert!(url.as_str().is_ascii() && url.url().username().is_empty());
                if let Some(address) = url.literal_address() {
                    prop_assert_eq!(classify(address), AddressClass::Public);
                    prop_assert!(vet(&url, &[address], &policy).is_ok());
                }
            }
        }

        #[test]
        fn every_spelling_of_an_ipv4_address_gets_the_same_answer(bits in any::<u32>()) {
            let plain = Ipv4Addr::from_bits(bits);
            let [a, b, c, d] = plain.octets();
            let policy = Policy::default();
            let passes = |host: &str| check_url(&format!("http://{host}/"), &policy).is_ok();
            let expected = classify(plain.into()) == AddressClass::Public;
            for host in [
                plain.to_string(),
                bits.to_string(),
                format!("{bits:#x}"),
                format!("0{bits:o}"),
                format!("{a}.{}", bits & 0xff_ffff),
                format!("{a:#x}.0{b:o}.{c}.{d:#x}"),
                format!("[::ffff:{plain}]"),
                format!("[64:ff9b::{plain}]"),
                format!("[2002:{:x}:{:x}::1]", bits >> 16, bits & 0xffff),
            ] {
                prop_assert_eq!(passes(&host), expected, "{}", host);
            }
        }
    }
}
