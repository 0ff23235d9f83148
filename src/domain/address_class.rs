//! What kind of place an IP address is, after every way of hiding an IPv4 address inside IPv6 is undone.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The kinds of address, by the IANA special-purpose registries (RFC 6890 and its updates).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressClass {
    /// Globally reachable: may be called without further words.
    Public,
    /// This machine: 127/8, `::1`, and "this host" 0/8 and `::`, which connect to it too.
    Loopback,
    /// RFC 1918, unique local and the retired site-local IPv6 addresses.
    Private,
    /// 169.254/16, fe80::/10.
    LinkLocal,
    /// Shared (carrier-grade NAT) space 100.64/10 and the Tailscale prefix fd7a:115c:a1e0::/48.
    Tailnet,
    Multicast,
    /// Documentation, benchmarking, relays, future use, and all IPv6 outside 2000::/3.
    Reserved,
    /// Where clouds hand out credentials to whoever asks from inside.
    Metadata,
}

impl AddressClass {
    /// The word for it in a refusal.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Loopback => "loopback",
            Self::Private => "private",
            Self::LinkLocal => "link-local",
            Self::Tailnet => "tailnet",
            Self::Multicast => "multicast",
            Self::Reserved => "reserved",
            Self::Metadata => "cloud metadata",
        }
    }
}

/// The class of `address`, looked at inside its wrapping (mapped, translated or tunnelled IPv4).
#[must_use]
pub fn classify(address: IpAddr) -> AddressClass {
    match (unwrap_embedded(address), ends_at(address)) {
        (IpAddr::V4(v4), _) => classify_v4(v4),
        (_, IpAddr::V4(v4)) if classify_v4(v4) == AddressClass::Metadata => AddressClass::Metadata,
        (IpAddr::V6(v6), _) if may_be_translated_to_metadata(v6) => AddressClass::Metadata,
        (IpAddr::V6(v6), _) => classify_v6(v6),
    }
}

/// The IPv4 address that `address` stands for: mapped (RFC 4291), NAT64 (RFC 6052), 6to4 (RFC 3056), ISATAP (RFC 5214) and the
/// retired IPv4-compatible form. Anything else is returned as it is. So is ISATAP's form in a network that is not public: a
/// router that knows nothing of it delivers it there, whatever its end spells.
#[must_use]
pub fn unwrap_embedded(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) if behind_a_network(v6).is_none() || classify_v6(v6) == AddressClass::Public => {
            ends_at(address)
        }
        _ => address,
    }
}

/// As [`unwrap_embedded`], and of ISATAP's form always the address at its end: where a tunnel would lead.
#[must_use]
pub fn ends_at(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else { return address };
    let words = v6.segments();
    let v4 = |high: u16, low: u16| IpAddr::V4(joined(high, low));
    match words {
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => v4(high, low),
        // ::ffff:0:a.b.c.d, the stateless translation of RFC 2765
        [0, 0, 0, 0, 0xffff, 0, high, low] => v4(high, low),
        // `::` and `::1` are addresses of their own
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 || low > 1 => v4(high, low),
        [0x2002, high, low, ..] => v4(high, low),
        _ => behind_a_network(v6).map_or(address, IpAddr::V4),
    }
}

/// ISATAP: the IPv4 address is the end of an address of any network.
fn behind_a_network(address: Ipv6Addr) -> Option<Ipv4Addr> {
    match address.segments() {
        [_, _, _, _, 0 | 0x200, 0x5efe, high, low] => Some(joined(high, low)),
        _ => None,
    }
}

/// 64:ff9b:1::/48 is for the translators of a network (RFC 8215), whose prefixes may have any of the lengths of RFC 6052: which one is
/// known to the network alone, so each place in which the IPv4 address may stand is looked at.
fn may_be_translated_to_metadata(address: Ipv6Addr) -> bool {
    let bytes = address.octets();
    if bytes[..6] != [0, 0x64, 0xff, 0x9b, 0, 1] {
        return false;
    }
    // byte 8 is passed over (RFC 6052, section 2.2)
    [[6, 7, 9, 10], [7, 9, 10, 11], [9, 10, 11, 12], [12, 13, 14, 15]].into_iter().any(|at| {
        let inner = Ipv4Addr::from(at.map(|at: usize| bytes[at]));
        classify_v4(inner) == AddressClass::Metadata
    })
}

fn joined(high: u16, low: u16) -> Ipv4Addr {
    let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
    Ipv4Addr::new(a, b, c, d)
}

fn classify_v4(address: Ipv4Addr) -> AddressClass {
    use AddressClass::{LinkLocal, Loopback, Metadata, Multicast, Private, Public, Reserved, Tailnet};
    match address.octets() {
        // 169.254.169.x: AWS, Azure, Google, DigitalOcean, Oracle, OpenStack; 170.x: AWS containers; 42.42: Scaleway;
        // 0.23: Tencent
        [169, 254, 169 | 170, _] | [169, 254, 42, 42] | [169, 254, 0, 23] => Metadata,
        // Alibaba; Azure's host agent; Oracle's classic cloud
        [100, 100, 100, 200] | [168, 63, 129, 16] | [192, 0, 0, 192] => Metadata,
        [0 | 127, ..] => Loopback,
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => Private,
        [169, 254, ..] => LinkLocal,
        [100, 64..=127, ..] => Tailnet,
        [192, 0, 0 | 2, _] | [192, 88, 99, _] | [198, 18 | 19, ..] | [198, 51, 100, _] | [203, 0, 113, _] => {
            Reserved
        }
        [224..=239, ..] => Multicast,
        [240..=255, ..] => Reserved,
        _ => Public,
    }
}

fn classify_v6(address: Ipv6Addr) -> AddressClass {
    use AddressClass::{LinkLocal, Loopback, Metadata, Multicast, Private, Public, Reserved, Tailnet};
    match address.segments() {
        // AWS; Google; Scaleway; OpenStack
        [0xfd00, 0x0ec2, ..]
        | [0xfd20, 0xce, ..]
        | [0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42]
        | [0xfe80, 0, 0, 0, 0, 0, 0xa9fe, 0xa9fe] => Metadata,
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => Loopback,
        [0xfd7a, 0x115c, 0xa1e0, ..] => Tailnet,
        [0xfc00..=0xfdff | 0xfec0..=0xfeff, ..] => Private,
        [0xfe80..=0xfebf, ..] => LinkLocal,
        [0xff00..=0xffff, ..] => Multicast,
        // 2001::/23 holds Teredo, benchmarking and ORCHID; 2001:db8::/32 and 3fff::/20 are documentation
        [0x2001, 0..=0x1ff | 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => Reserved,
        [0x2000..=0x3fff, ..] => Public,
        _ => Reserved,
    }
}
