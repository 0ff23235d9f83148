//! What the operator allows beyond public addresses.

use std::net::{IpAddr, SocketAddr};

use crate::domain::address_class::{AddressClass, classify, ends_at, unwrap_embedded};
use crate::domain::allow::AllowEntry;

/// Which addresses a callback may reach.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// Exceptions from the refusal of everything that is not public.
    pub allow: Vec<AllowEntry>,
    /// Whether the tailnet class is allowed as a whole.
    pub tailnet: bool,
    /// Where this server itself listens. Never called, even if allowed: a callback must not drive our own API.
    /// An unspecified address (`0.0.0.0`, `::`) stands for every address of this machine.
    pub own_listeners: Vec<SocketAddr>,
}

impl Policy {
    /// Whether an exception names this host at this port.
    pub(super) fn allows_name(&self, name: &str, port: u16) -> bool {
        self.allow.iter().any(|entry| entry.covers_name(name, port))
    }

    /// Whether `address` may be dialled at `port`; `named` says that an exception already names the host.
    /// `Err` carries the class that is in the way, or `None` for a listener of this server.
    pub(super) fn judge(&self, address: IpAddr, port: u16, named: bool) -> Result<(), Option<AddressClass>> {
        let class = classify(address);
        if class == AddressClass::Metadata {
            return Err(Some(class));
        }
        let end = ends_at(address);
        let address = unwrap_embedded(address);
        let is_own = |own: IpAddr| is_own(own, address) || is_own(own, end);
        if self.own_listeners.iter().any(|own| own.port() == port && is_own(own.ip())) {
            return Err(None);
        }
        let allowed = named
            || class == AddressClass::Public
            || (class == AddressClass::Tailnet && self.tailnet)
            || self.allow.iter().any(|entry| entry.covers_address(address, port));
        if allowed { Ok(()) } else { Err(Some(class)) }
    }

    /// Whether a listener on all addresses of this machine uses `port`: then only the operating system can say
    /// whether an address is our own.
    pub(super) fn listens_everywhere_on(&self, port: u16) -> bool {
        self.own_listeners.iter().any(|own| own.port() == port && own.ip().is_unspecified())
    }
}

/// Whether a listener at `own` receives what is sent to `address`.
fn is_own(own: IpAddr, address: IpAddr) -> bool {
    if own == address {
        return true;
    }
    // 0.0.0.0 and :: are answered by whoever listens on loopback, and a listener on all addresses has loopback too.
    let (own_class, class) = (classify(own), classify(address));
    own_class == AddressClass::Loopback
        && class == AddressClass::Loopback
        && (own.is_unspecified() || address.is_unspecified())
}
