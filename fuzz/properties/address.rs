//! Who may be called back: the only door by which a caller could make the server reach somewhere.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr as _;

use offshoot::webhook::{AllowEntry, Policy, URL_BYTES_MAX, check_url, vet};

/// Where the server itself listens: public, so that no other rule can be what refuses it.
const OWN: &str = "8.8.4.4:3456";

fn closed() -> Policy {
    Policy { own_listeners: vec![OWN.parse().expect("an address")], ..Policy::default() }
}

/// Whatever an owner may allow.
fn open() -> Policy {
    let allow = ["0.0.0.0/0", "::/0"].map(|text| AllowEntry::from_str(text).expect("a network"));
    Policy { allow: allow.to_vec(), tailnet: true, ..closed() }
}

/// What is not public by the IANA registries of special-purpose addresses (RFC 6890 and its updates), and 168.63.129.16, which is
/// Azure's host: address and bits.
const INNER_V4: &[([u8; 4], u32)] = &[
    ([0, 0, 0, 0], 8),
    ([10, 0, 0, 0], 8),
    ([100, 64, 0, 0], 10),
    ([127, 0, 0, 0], 8),
    ([168, 63, 129, 16], 32),
    ([169, 254, 0, 0], 16),
    ([172, 16, 0, 0], 12),
    ([192, 0, 0, 0], 24),
    ([192, 0, 2, 0], 24),
    ([192, 88, 99, 0], 24),
    ([192, 168, 0, 0], 16),
    ([198, 18, 0, 0], 15),
    ([198, 51, 100, 0], 24),
    ([203, 0, 113, 0], 24),
    ([224, 0, 0, 0], 3),
];

/// Of 2000::/3, outside of which nothing is public.
const INNER_V6: &[(u128, u32)] = &[(0x2001_0000 << 96, 23), (0x2001_0db8 << 96, 32), (0x3fff_0000 << 96, 20)];

/// Where clouds give away credentials.
const METADATA_V4: &[[u8; 4]] = &[
    [169, 254, 169, 254],
    [169, 254, 170, 2],
    [169, 254, 42, 42],
    [169, 254, 0, 23],
    [100, 100, 100, 200],
    [168, 63, 129, 16],
    [192, 0, 0, 192],
];

fn is_inner_v4(address: Ipv4Addr) -> bool {
    let bits = u32::from(address);
    INNER_V4.iter().any(|(net, length)| (bits ^ u32::from(Ipv4Addr::from(*net))) >> (32 - length) == 0)
}

/// The IPv4 address that stands in it, by the prefix that says so, and whether all of the rest says so too.
fn within(bits: u128) -> Option<Ipv4Addr> {
    let low = Ipv4Addr::from((bits & 0xffff_ffff) as u32);
    match bits >> 32 {
        // mapped, translated (two kinds)
        0xffff | 0xffff_0000 | 0x0064_ff9b_0000_0000_0000_0000 => Some(low),
        0 if bits > 1 => Some(low),
        _ if bits >> 112 == 0x2002 => Some(Ipv4Addr::from((bits >> 80 & 0xffff_ffff) as u32)),
        _ => None,
    }
}

/// ISATAP (RFC 5214) has it behind any network; the network may be an inner one all the same.
fn behind(bits: u128) -> Option<Ipv4Addr> {
    let identifier = bits >> 32 & 0xffff_ffff;
    matches!(identifier, 0x0000_5efe | 0x0200_5efe).then(|| Ipv4Addr::from((bits & 0xffff_ffff) as u32))
}

fn is_inner(address: IpAddr) -> bool {
    let bits = match address {
        IpAddr::V4(address) => return is_inner_v4(address),
        IpAddr::V6(address) => u128::from(address),
    };
    if let Some(address) = within(bits) {
        return is_inner_v4(address);
    }
    let outside =
        bits >> 125 != 1 || INNER_V6.iter().any(|(net, length)| (bits ^ net) >> (128 - length) == 0);
    outside || behind(bits).is_some_and(is_inner_v4)
}

fn is_metadata(address: IpAddr) -> bool {
    let bits = match address {
        IpAddr::V4(address) => return METADATA_V4.contains(&address.octets()),
        IpAddr::V6(address) => u128::from(address),
    };
    let v4 = within(bits).or_else(|| behind(bits));
    v4.is_some_and(|address| METADATA_V4.contains(&address.octets()))
        || [0xfd00_0ec2_0000_0000_0000_0000_0000_0254, 0xfd20_00ce_0000_0000_0000_0000_0000_0254]
            .contains(&bits)
}

/// A URL as a caller gives it.
pub(super) fn callback_url(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let Ok(url) = check_url(&text, &closed()) else {
        let ordinary = text.strip_prefix("https://example.com/");
        let is_ordinary = ordinary.is_some_and(|path| path.bytes().all(|byte| byte.is_ascii_alphanumeric()));
        assert!(!is_ordinary || text.len() > URL_BYTES_MAX, "{text:?} is ordinary");
        return;
    };
    assert_eq!(
        check_url(url.as_str(), &closed()).as_ref(),
        Ok(&url),
        "{text:?}: what is stored is read alike"
    );
    assert!(text.len() <= URL_BYTES_MAX && url.as_str().len() <= URL_BYTES_MAX);
    let (scheme, rest) = url.as_str().split_once("://").expect("a scheme");
    assert!(["http", "https"].contains(&scheme), "{text:?}");
    assert!(url.as_str().bytes().all(|byte| byte.is_ascii_graphic()) && !url.as_str().contains(['#', '\\']));
    let authority = rest.split(['/', '?']).next().expect("an authority");
    assert!(!authority.contains('@') && !authority.is_empty(), "{text:?}");
    // the same host and port, by hand
    let (host, port) = match authority.rsplit_once(':').filter(|(_, port)| !port.ends_with(']')) {
        Some((host, port)) => (host, port.parse::<u16>().expect("a port")),
        None => (authority, if scheme == "https" { 443 } else { 80 }),
    };
    assert_eq!((url.host(), url.port()), (host, port), "{text:?}");
    assert_ne!(port, 0);
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    match bare.parse::<IpAddr>() {
        Ok(address) => {
            assert_eq!(url.literal_address(), Some(address), "{text:?}");
            assert!(!is_inner(address) && !is_metadata(address), "{text:?} is {address}");
            assert_ne!(format!("{address}:{port}"), OWN, "{text:?}");
        }
        Err(_) => is_name(&text, host.trim_end_matches('.')),
    }
    assert_eq!(url.literal_address().is_some(), bare.parse::<IpAddr>().is_ok(), "{text:?}");
}

/// What other readers of names would take for an address is none.
fn is_name(text: &str, name: &str) {
    let number = |part: &str| match part.strip_prefix("0x").or_else(|| part.strip_prefix("0X")) {
        Some(hex) => hex.bytes().all(|byte| byte.is_ascii_hexdigit()),
        None => !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()),
    };
    assert!(!name.split('.').all(number), "{text:?} is an address to inet_aton");
    assert!(!name.rsplit('.').next().is_some_and(number), "{text:?} ends in a number");
    let lower = name.to_ascii_lowercase();
    assert!(lower != "localhost" && !lower.ends_with(".localhost"), "{text:?}");
    assert!(!["metadata", "metadata.google.internal", "instance-data"].contains(&lower.as_str()), "{text:?}");
    assert!(!name.split('.').any(str::is_empty), "{text:?}");
}

/// Answers of a name service, 16 bytes each; those of which the first is 4 are the IPv4 address in the last four.
pub(super) fn vetting(data: &[u8]) {
    let addresses: Vec<IpAddr> = data
        .chunks_exact(16)
        .map(|chunk| match chunk[0] {
            4 => IpAddr::from([chunk[12], chunk[13], chunk[14], chunk[15]]),
            _ => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(chunk).expect("16 bytes"))),
        })
        .collect();
    for port in [443, 3456] {
        let url = format!("https://hooks.example:{port}/");
        let own = |address: &IpAddr| {
            let plain = match address {
                IpAddr::V6(v6) => {
                    within(u128::from(*v6)).or_else(|| behind(u128::from(*v6))).map_or(*address, IpAddr::V4)
                }
                IpAddr::V4(_) => *address,
            };
            port == 3456 && plain == IpAddr::from([8, 8, 4, 4])
        };
        for (policy, refuses) in
            [(closed(), is_inner as fn(IpAddr) -> bool), (open(), is_metadata as fn(IpAddr) -> bool)]
        {
            let url = check_url(&url, &policy).expect("a name");
            let vetted = vet(&url, &addresses, &policy);
            let bad = addresses.iter().find(|address| refuses(**address) || own(address));
            match vetted {
                Ok(dialled) => {
                    assert_eq!(bad, None, "is dialled at {port}");
                    let asked: Vec<_> = addresses.iter().map(|address| (*address, port)).collect();
                    let dialled: Vec<_> = dialled.iter().map(|to| (to.ip(), to.port())).collect();
                    assert_eq!(dialled, asked, "what was vetted is what is dialled");
                }
                // the program knows more metadata services than this table
                Err(_) => assert!(
                    bad.is_some()
                        || addresses.is_empty()
                        || addresses.iter().any(|address| is_inner(*address)),
                    "{addresses:?} at {port}"
                ),
            }
        }
    }
}

/// An exception as an owner writes it: what is read names a place, and no exception opens metadata or our own door.
pub(super) fn allow_entry(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let Ok(entry) = AllowEntry::from_str(&text) else { return };
    assert!(!text.trim().is_empty() && !text.contains("://"), "{text:?}");
    let policy = Policy { allow: vec![entry], tailnet: true, ..closed() };
    for address in METADATA_V4.iter().map(|octets| Ipv4Addr::from(*octets)) {
        for host in [address.to_string(), format!("[::ffff:{address}]"), format!("[64:ff9b::{address}]")] {
            assert!(check_url(&format!("http://{host}/"), &policy).is_err(), "{host} by {text:?}");
        }
    }
    for host in ["metadata.google.internal", "[fd00:ec2::254]"] {
        assert!(check_url(&format!("http://{host}/"), &policy).is_err(), "{host} by {text:?}");
    }
    for host in ["8.8.4.4", "[::ffff:8.8.4.4]", "0x08080404"] {
        assert!(check_url(&format!("http://{host}:3456/"), &policy).is_err(), "{host} by {text:?}");
    }
}
