//! What the owner excepts from the refusal of everything that is not public: hosts, addresses and networks.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use thiserror::Error;

use super::address_class::unwrap_embedded;

/// One exception: a host name, an address or a network, each with or without a port.
///
/// Written `name`, `name:port`, `10.0.0.7`, `10.0.0.7:8080`, `10.0.0.0/8`, `10.0.0.0/8:8080`, `fd00::1`,
/// `[fd00::1]:8080`, `fd00::/8`, `fd00::/8:8080`. A name stands for itself, not for the names below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowEntry {
    target: Target,
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Target {
    /// Lower case, punycode, no final dot.
    Name(String),
    Network {
        address: IpAddr,
        prefix_bits: u8,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{entry:?} is neither a host name, an address nor a network, with an optional port")]
pub struct AllowEntryError {
    entry: String,
}

impl AllowEntry {
    /// Whether it is the host `name`, lower case and punycode, at this port.
    #[must_use]
    pub fn covers_name(&self, name: &str, port: u16) -> bool {
        let name = name.trim_end_matches('.');
        self.covers_port(port) && matches!(&self.target, Target::Name(allowed) if allowed == name)
    }

    /// Whether it is `address`, or a network with it, at this port.
    #[must_use]
    pub fn covers_address(&self, address: IpAddr, port: u16) -> bool {
        let Target::Network { address: network, prefix_bits } = &self.target else { return false };
        if !self.covers_port(port) {
            return false;
        }
        match (*network, address) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let shift = 32 - u32::from(*prefix_bits);
                u32::from(network).checked_shr(shift) == u32::from(address).checked_shr(shift)
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let shift = 128 - u32::from(*prefix_bits);
                u128::from(network).checked_shr(shift) == u128::from(address).checked_shr(shift)
            }
            _ => false,
        }
    }

    fn covers_port(&self, port: u16) -> bool {
        self.port.is_none_or(|own| own == port)
    }
}

impl FromStr for AllowEntry {
    type Err = AllowEntryError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse_entry(text.trim()).ok_or_else(|| AllowEntryError { entry: text.to_owned() })
    }
}

fn parse_entry(text: &str) -> Option<AllowEntry> {
    if let Some((address, rest)) = text.split_once('/') {
        let address: IpAddr = unbracket(address).parse().ok()?;
        let (bits, port) = match rest.split_once(':') {
            Some((bits, port)) => (bits, Some(parse_port(port)?)),
            None => (rest, None),
        };
        let bits_max = if address.is_ipv4() { 32 } else { 128 };
        let prefix_bits = bits.parse().ok().filter(|bits: &u8| *bits <= bits_max)?;
        return Some(AllowEntry { target: Target::Network { address, prefix_bits }, port });
    }
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(AllowEntry { target: single(address), port: None });
    }
    if let Ok(socket) = text.parse::<SocketAddr>() {
        let port = Some(socket.port()).filter(|port| *port > 0)?;
        return Some(AllowEntry { target: single(socket.ip()), port: Some(port) });
    }
    let (name, port) = match text.split_once(':') {
        Some((name, port)) => (name, Some(parse_port(port)?)),
        None => (text, None),
    };
    match url::Host::parse(name).ok()? {
        url::Host::Domain(name) => {
            let name = name.trim_end_matches('.').to_owned();
            (!name.is_empty()).then_some(AllowEntry { target: Target::Name(name), port })
        }
        url::Host::Ipv4(address) => Some(AllowEntry { target: single(address.into()), port }),
        url::Host::Ipv6(address) => Some(AllowEntry { target: single(address.into()), port }),
    }
}

fn single(address: IpAddr) -> Target {
    let address = unwrap_embedded(address);
    Target::Network { address, prefix_bits: if address.is_ipv4() { 32 } else { 128 } }
}

fn unbracket(text: &str) -> &str {
    text.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).unwrap_or(text)
}

fn parse_port(text: &str) -> Option<u16> {
    text.parse().ok().filter(|port| *port > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exceptions_are_read_strictly() {
        for bad in [
            "",
            "a b",
            "10.0.0.0/33",
            "fd00::/129",
            "10.0.0.0/8:0",
            "10.0.0.0/8:x",
            "host:0",
            "10.0.0.7:0",
            "[fd00::1]:0",
            "host:70000",
            "http://x",
            "/8",
            "a/8",
            ".",
        ] {
            assert!(bad.parse::<AllowEntry>().is_err(), "{bad:?}");
        }
        for same in [
            ("Receiver.LAN.", "receiver.lan"),
            ("0x7f.1", "127.0.0.1"),
            ("[::1]:80", "[0::1]:80"),
            ("::ffff:1.2.3.4", "1.2.3.4"),
        ] {
            assert_eq!(same.0.parse::<AllowEntry>(), same.1.parse::<AllowEntry>());
            assert!(same.0.parse::<AllowEntry>().is_ok(), "{same:?}");
        }
    }
}
