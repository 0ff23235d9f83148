//! Which callback URLs may be called, as one table of spellings.

use std::net::{IpAddr, SocketAddr};

use offshoot::webhook::{AddressClass, AddressError, Policy, check_url, classify, vet};

use Verdict::{Class, Fine, Fragment, Malformed, Metadata, Own, Scheme, TooLong, UserInfo};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Fine,
    Class(AddressClass),
    Metadata,
    Own,
    Scheme,
    UserInfo,
    Fragment,
    Malformed,
    TooLong,
}

const LOOPBACK: Verdict = Class(AddressClass::Loopback);
const PRIVATE: Verdict = Class(AddressClass::Private);
const LINK: Verdict = Class(AddressClass::LinkLocal);
const TAILNET: Verdict = Class(AddressClass::Tailnet);
const MULTICAST: Verdict = Class(AddressClass::Multicast);
const RESERVED: Verdict = Class(AddressClass::Reserved);

/// Nothing allowed, no tailnet; this server listens on 8.8.4.4:3456 (a public address, so that only the listener
/// rule can refuse it).
pub(crate) const CLOSED: &[(&str, Verdict)] = &[
    // ordinary
    ("https://example.com", Fine),
    ("https://example.com/", Fine),
    ("HTTPS://EXAMPLE.COM/Hook", Fine),
    ("http://example.com:8080/hook?token=a%20b", Fine),
    ("https://example.com./hook", Fine),
    ("https://user-content.example.com/a@b", Fine),
    ("https://example.com/?next=http://127.0.0.1/", Fine),
    ("https://xn--mnchen-3ya.de/", Fine),
    ("https://münchen.de/", Fine),
    ("https://127.0.0.1.nip.io/", Fine),
    ("https://localhost.example.com/", Fine),
    ("https://notlocalhost/", Fine),
    ("https://8.8.8.8/", Fine),
    ("https://1.1.1.1:444/", Fine),
    ("https://134744072/", Fine),
    ("https://[2606:4700:4700::1111]/", Fine),
    ("https://[2a00:1450:4001:80b::200e]:8443/x", Fine),
    ("https://[::ffff:8.8.8.8]/", Fine),
    ("https://[64:ff9b::8.8.8.8]/", Fine),
    ("https://[2002:808:808::1]/", Fine),
    // scheme
    ("", Scheme),
    ("example.com", Scheme),
    ("//example.com/", Scheme),
    ("/hook", Scheme),
    ("file:///etc/passwd", Scheme),
    ("file://example.com/etc/passwd", Scheme),
    ("gopher://example.com/", Scheme),
    ("ftp://example.com/", Scheme),
    ("ws://example.com/", Scheme),
    ("wss://example.com/", Scheme),
    ("data:text/plain,hi", Scheme),
    ("javascript:alert(1)", Scheme),
    ("unix:///run/docker.sock", Scheme),
    ("http:example.com", Scheme),
    ("http:/example.com", Scheme),
    ("https:127.0.0.1", Scheme),
    ("httpx://example.com", Scheme),
    ("httphttp://example.com", Scheme),
    ("url:http://example.com", Scheme),
    ("view-source:http://example.com", Scheme),
    ("ldap://example.com/", Scheme),
    ("dict://example.com:11211/", Scheme),
    ("jar:http://example.com!/", Scheme),
    // form
    ("http://", Malformed),
    ("http:///", Malformed),
    ("http:///example.com", Malformed),
    ("http:////example.com", Malformed),
    ("http://?x", Malformed),
    ("http://:80/", Malformed),
    ("http://example.com:0/", Malformed),
    ("http://example.com:65536/", Malformed),
    ("http://example.com:99999/", Malformed),
    ("http://example.com:-1/", Malformed),
    ("http://example.com:http/", Malformed),
    ("http://example.com:80:80/", Malformed),
    ("http://exa mple.com/", Malformed),
    (" http://example.com/", Malformed),
    ("http://example.com/ ", Malformed),
    ("http://example.com/\n", Malformed),
    ("ht\ntp://example.com/", Malformed),
    ("http://exam\tple.com/", Malformed),
    ("http://example.com/\r\nX-Evil: 1", Malformed),
    ("http://example.com/\0", Malformed),
    ("http://example.com\\@127.0.0.1/", Malformed),
    ("http:\\\\example.com\\", Malformed),
    ("http://example.com/a\\b", Malformed),
    ("http://example.com/\u{85}", Malformed),
    ("http://example.com/\u{2028}", Malformed),
    ("http://example.com/\u{a0}", Malformed),
    ("http://exam<ple.com/", Malformed),
    ("http://exam%00ple.com/", Malformed),
    ("http://exam%2fple.com/", Malformed),
    ("http://exam^ple.com/", Malformed),
    ("http://a..b/", Malformed),
    ("http://.example.com/", Malformed),
    ("http://example.com../", Malformed),
    ("http://./", Malformed),
    ("http://[::1/", Malformed),
    ("http://::1/", Malformed),
    ("http://[::1%25lo]/", Malformed),
    ("http://[::1%lo]/", Malformed),
    ("http://[12345::]/", Malformed),
    ("http://[::127.0.0.256]/", Malformed),
    ("http://[example.com]/", Malformed),
    ("http://256.1.1.1/", Malformed),
    ("http://1.1.1.1.1/", Malformed),
    ("http://127.0.0.0x100/", Malformed),
    ("http://4294967296/", Malformed),
    ("http://0x100000000/", Malformed),
    ("http://xn--/", Malformed),
    // user information, fragments
    ("http://user:pw@example.com/", UserInfo),
    ("http://user@example.com/", UserInfo),
    ("http://@example.com/", UserInfo),
    ("http://:@example.com/", UserInfo),
    ("http://example.com@127.0.0.1/", UserInfo),
    ("http://example.com:80@127.0.0.1/", UserInfo),
    ("http://a@b@127.0.0.1/", UserInfo),
    ("http://example.com%40127.0.0.1@8.8.8.8/", UserInfo),
    ("http://example.com/#", Fragment),
    ("http://example.com/#frag", Fragment),
    ("http://example.com#@127.0.0.1/", Fragment),
    ("http://127.0.0.1#@example.com/", Fragment),
    ("http://example.com?#x", Fragment),
    // loopback in every dress
    ("http://127.0.0.1/", LOOPBACK),
    ("https://127.0.0.1:443/", LOOPBACK),
    ("http://127.0.0.1./", LOOPBACK),
    ("http://127.1/", LOOPBACK),
    ("http://127.0.1/", LOOPBACK),
    ("http://127.255.255.254/", LOOPBACK),
    ("http://2130706433/", LOOPBACK),
    ("http://017700000001/", LOOPBACK),
    ("http://0x7f000001/", LOOPBACK),
    ("http://0X7F000001/", LOOPBACK),
    ("http://0x7f.1/", LOOPBACK),
    ("http://0x7f.0x0.0x0.0x1/", LOOPBACK),
    ("http://0177.0.0.1/", LOOPBACK),
    ("http://0177.0x0.0.1/", LOOPBACK),
    ("http://00000177.0.0.1/", LOOPBACK),
    ("http://127.0x1/", LOOPBACK),
    ("http://%31%32%37.0.0.1/", LOOPBACK),
    ("http://127%2e0%2e0%2e1/", LOOPBACK),
    ("http://127。0。0。1/", LOOPBACK),
    ("http://127.0.0.1/", LOOPBACK),
    ("http://①②⑦.⓪.⓪.①/", LOOPBACK),
    ("http://0/", LOOPBACK),
    ("http://0x0/", LOOPBACK),
    ("http://00/", LOOPBACK),
    ("http://0.0.0.0/", LOOPBACK),
    ("http://0.0.0.0:8080/", LOOPBACK),
    ("http://0.1.2.3/", LOOPBACK),
    ("http://localhost/", LOOPBACK),
    ("http://LOCALHOST/", LOOPBACK),
    ("http://localhost./", LOOPBACK),
    ("http://lOcAlHoSt:80/", LOOPBACK),
    ("http://a.localhost/", LOOPBACK),
    ("http://a.b.localhost./", LOOPBACK),
    ("http://localhost.localdomain/", LOOPBACK),
    ("http://%6cocalhost/", LOOPBACK),
    ("http://localhost/", LOOPBACK),
    ("http://ⓛocalhost/", LOOPBACK),
    ("http://[::1]/", LOOPBACK),
    ("http://[0:0:0:0:0:0:0:1]/", LOOPBACK),
    ("http://[0000::0001]:80/", LOOPBACK),
    ("http://[::]/", LOOPBACK),
    ("http://[::ffff:127.0.0.1]/", LOOPBACK),
    ("http://[::ffff:7f00:1]/", LOOPBACK),
    ("http://[::FFFF:7F00:0001]/", LOOPBACK),
    ("http://[::ffff:0:127.0.0.1]/", LOOPBACK),
    ("http://[::ffff:0.0.0.0]/", LOOPBACK),
    ("http://[::127.0.0.1]/", LOOPBACK),
    ("http://[::7f00:1]/", LOOPBACK),
    ("http://[64:ff9b::7f00:1]/", LOOPBACK),
    ("http://[64:ff9b::127.0.0.1]/", LOOPBACK),
    ("http://[2002:7f00:1::]/", LOOPBACK),
    ("http://[2002:7f00:1::1]/", LOOPBACK),
    ("http://[2001:470::5efe:7f00:1]/", LOOPBACK),
    // private
    ("http://10.0.0.1/", PRIVATE),
    ("http://10.255.255.255/", PRIVATE),
    ("http://10.1/", PRIVATE),
    ("http://167772161/", PRIVATE),
    ("http://0x0a000001/", PRIVATE),
    ("http://012.0.0.1/", PRIVATE),
    ("http://172.16.0.1/", PRIVATE),
    ("http://172.31.255.255/", PRIVATE),
    ("http://172.15.255.255/", Fine),
    ("http://172.32.0.0/", Fine),
    ("http://192.168.0.1/", PRIVATE),
    ("http://192.168.1/", PRIVATE),
    ("http://0xc0a80001/", PRIVATE),
    ("http://192.167.255.255/", Fine),
    ("http://192.169.0.0/", Fine),
    ("http://9.255.255.255/", Fine),
    ("http://11.0.0.0/", Fine),
    ("http://[::ffff:10.0.0.1]/", PRIVATE),
    ("http://[::ffff:c0a8:1]/", PRIVATE),
    ("http://[64:ff9b::a00:1]/", PRIVATE),
    ("http://[2002:a00:1::]/", PRIVATE),
    ("http://[2002:c0a8:101::5]/", PRIVATE),
    // a network that is not public is that, whatever its end spells
    ("http://[fe80::5efe:10.0.0.1]/", LINK),
    ("http://[fe80::5efe:8.8.8.8]/", LINK),
    ("http://[fd12:3456:789a:1:0:5efe:8.8.8.8]/", PRIVATE),
    ("http://[fc00::200:5efe:8.8.8.8]/", PRIVATE),
    ("http://[2001:470::5efe:8.8.8.8]/", Fine),
    ("http://[fd12:3456:789a:1:0:5efe:a9fe:a9fe]/", Metadata),
    ("http://[fc00::1]/", PRIVATE),
    ("http://[fd00::1]/", PRIVATE),
    ("http://[fdff:ffff::1]/", PRIVATE),
    ("http://[fec0::1]/", PRIVATE),
    // link-local
    ("http://169.254.0.1/", LINK),
    ("http://169.254.1.1/", LINK),
    ("http://169.254.255.255/", LINK),
    ("http://169.253.255.255/", Fine),
    ("http://169.255.0.0/", Fine),
    ("http://[fe80::1]/", LINK),
    ("http://[febf::1]/", LINK),
    ("http://[::ffff:169.254.1.1]/", LINK),
    // carrier-grade NAT and tailnet
    ("http://100.64.0.1/", TAILNET),
    ("http://100.100.100.100/", TAILNET),
    ("http://100.127.255.255/", TAILNET),
    ("http://100.63.255.255/", Fine),
    ("http://100.128.0.0/", Fine),
    ("http://[fd7a:115c:a1e0::1]/", TAILNET),
    ("http://[fd7a:115c:a1e1::1]/", PRIVATE),
    ("http://[::ffff:100.64.0.1]/", TAILNET),
    // multicast
    ("http://224.0.0.1/", MULTICAST),
    ("http://239.255.255.250:1900/", MULTICAST),
    ("http://223.255.255.255/", Fine),
    ("http://[ff02::1]/", MULTICAST),
    ("http://[ff00::]/", MULTICAST),
    ("http://[::ffff:224.0.0.1]/", MULTICAST),
    // reserved and documentation
    ("http://192.0.0.1/", RESERVED),
    ("http://192.0.2.1/", RESERVED),
    ("http://192.0.1.1/", Fine),
    ("http://192.88.99.1/", RESERVED),
    ("http://198.18.0.1/", RESERVED),
    ("http://198.19.255.255/", RESERVED),
    ("http://198.20.0.0/", Fine),
    ("http://198.51.100.7/", RESERVED),
    ("http://203.0.113.7/", RESERVED),
    ("http://240.0.0.1/", RESERVED),
    ("http://255.255.255.255/", RESERVED),
    ("http://0xffffffff/", RESERVED),
    ("http://4294967295/", RESERVED),
    ("http://[100::1]/", RESERVED),
    ("http://[2001::1]/", RESERVED),
    ("http://[2001:2::1]/", RESERVED),
    ("http://[2001:20::1]/", RESERVED),
    ("http://[2001:db8::1]/", RESERVED),
    ("http://[2001:200::1]/", Fine),
    ("http://[3fff::1]/", RESERVED),
    ("http://[3ffe::1]/", Fine),
    ("http://[4000::1]/", RESERVED),
    ("http://[5f00::1]/", RESERVED),
    ("http://[64:ff9b:1::1]/", RESERVED),
    ("http://[1::1]/", RESERVED),
    // our own listener
    ("http://8.8.4.4:3456/jobs", Own),
    ("http://8.8.1028:3456/jobs", Own),
    ("http://[::ffff:8.8.4.4]:3456/", Own),
    ("http://[64:ff9b::808:404]:3456/", Own),
    ("http://8.8.4.4:3457/", Fine),
    ("http://8.8.4.4/", Fine),
];

/// Refused under every policy.
pub(crate) const NEVER: &[(&str, Verdict)] = &[
    ("http://169.254.169.254/latest/meta-data/", Metadata),
    ("http://169.254.169.254:8080/", Metadata),
    ("http://2852039166/", Metadata),
    ("http://0xa9fea9fe/", Metadata),
    ("http://0251.0376.0251.0376/", Metadata),
    ("http://169.254.43518/", Metadata),
    ("http://169.16689662/", Metadata),
    ("http://[::ffff:169.254.169.254]/", Metadata),
    ("http://[::ffff:a9fe:a9fe]/", Metadata),
    ("http://[::a9fe:a9fe]/", Metadata),
    ("http://[64:ff9b::a9fe:a9fe]/", Metadata),
    ("http://[2002:a9fe:a9fe::]/", Metadata),
    ("http://[64:ff9b:1::a9fe:a9fe]/", Metadata),
    ("http://[64:ff9b:1:a9fe:a9:fe00::]/", Metadata),
    ("http://[64:ff9b:1:a9:fe:a9fe::]/", Metadata),
    ("http://[64:ff9b:1:0:a9:fea9:fe00:0]/", Metadata),
    ("http://[fe80::a9fe:a9fe]/", Metadata),
    ("http://[fe80::5efe:a9fe:a9fe]/", Metadata),
    ("http://169.254.169.253/", Metadata),
    ("http://169.254.170.2/", Metadata),
    ("http://169.254.170.23/", Metadata),
    ("http://169.254.42.42/", Metadata),
    ("http://169.254.0.23/", Metadata),
    ("http://100.100.100.200/", Metadata),
    ("http://[::ffff:100.100.100.200]/", Metadata),
    ("http://168.63.129.16/", Metadata),
    ("http://192.0.0.192/", Metadata),
    ("http://[fd00:ec2::254]/", Metadata),
    ("http://[fd00:ec2::23]/", Metadata),
    ("http://[fd20:ce::254]/", Metadata),
    ("http://[fd00:42::42]/", Metadata),
    ("http://metadata.google.internal/computeMetadata/v1/", Metadata),
    ("http://METADATA.google.INTERNAL./", Metadata),
    ("http://metadata/", Metadata),
    ("http://metadata.goog/", Metadata),
    ("http://metadata.azure.com/", Metadata),
    ("http://instance-data/", Metadata),
    ("http://instance-data.ec2.internal/", Metadata),
    // this server, which listens on all addresses at 3456 under the open policy
    ("http://127.0.0.1:3456/", Own),
    ("http://127.9.9.9:3456/", Own),
    ("http://0.0.0.0:3456/", Own),
    ("http://0:3456/", Own),
    ("http://[::1]:3456/", Own),
    ("http://[::]:3456/", Own),
    ("http://localhost:3456/", Own),
    ("http://x.localhost:3456/", Own),
    ("http://[::ffff:127.0.0.1]:3456/jobs", Own),
];

/// With exceptions: `receiver.lan`, `hooks.lan:9000`, `127.0.0.1:8080`, `[::1]:8080`, `10.0.0.0/8:9000`,
/// `192.168.7.0/24`, `fd00::/8`, `localhost:7777`; no tailnet.
pub(crate) const EXCEPTIONS: &[(&str, Verdict)] = &[
    ("http://127.0.0.1:8080/", Fine),
    ("http://2130706433:8080/", Fine),
    ("http://[::ffff:127.0.0.1]:8080/", Fine),
    ("http://127.0.0.1:8081/", LOOPBACK),
    ("http://127.0.0.1/", LOOPBACK),
    ("http://127.0.0.2:8080/", LOOPBACK),
    ("http://[::1]:8080/", Fine),
    ("http://[::1]:8081/", LOOPBACK),
    ("http://localhost:8080/", Fine),
    ("http://localhost:7777/", Fine),
    ("http://x.localhost:7777/", LOOPBACK),
    ("http://localhost:8081/", LOOPBACK),
    ("http://10.1.2.3:9000/", Fine),
    ("http://10.1.2.3:9001/", PRIVATE),
    ("http://11.1.2.3:9000/", Fine),
    ("http://192.168.7.255/", Fine),
    ("http://192.168.8.0/", PRIVATE),
    ("http://192.168.6.255:9000/", PRIVATE),
    ("http://[fd12::1]/", Fine),
    ("http://[fc12::1]/", PRIVATE),
    ("http://100.64.0.1/", TAILNET),
    ("http://receiver.lan/", Fine),
    ("http://hooks.lan:9000/", Fine),
];

pub(crate) const ALLOWED: [&str; 8] = [
    "receiver.lan",
    "hooks.lan:9000",
    "127.0.0.1:8080",
    "[::1]:8080",
    "10.0.0.0/8:9000",
    "192.168.7.0/24",
    "fd00::/8",
    "localhost:7777",
];

fn verdict(text: &str, policy: &Policy) -> Verdict {
    match check_url(text, policy) {
        Ok(_) => Fine,
        Err(AddressError::NotAllowed { class, .. }) => Class(class),
        Err(AddressError::Metadata { .. }) => Metadata,
        Err(AddressError::OwnListener { .. }) => Own,
        Err(AddressError::Scheme) => Scheme,
        Err(AddressError::UserInfo) => UserInfo,
        Err(AddressError::Fragment) => Fragment,
        Err(AddressError::Malformed(_)) => Malformed,
        Err(AddressError::TooLong) => TooLong,
        Err(AddressError::NoAddress { host }) => panic!("{host}: nothing is looked up here"),
    }
}

pub(crate) fn policy(allow: &[&str], own: &[&str]) -> Policy {
    Policy {
        allow: allow.iter().map(|entry| entry.parse().unwrap()).collect(),
        tailnet: false,
        own_listeners: own.iter().map(|own| own.parse::<SocketAddr>().unwrap()).collect(),
    }
}

pub(crate) fn open() -> Policy {
    let everything =
        ["0.0.0.0/0", "::/0", "metadata", "metadata.google.internal", "localhost", "x.localhost"];
    Policy { tailnet: true, ..policy(&everything, &["0.0.0.0:3456", "[::]:3456"]) }
}

fn check(rows: &[(&str, Verdict)], policy: &Policy) {
    let wrong: Vec<_> = rows
        .iter()
        .map(|(text, expected)| (text, expected, verdict(text, policy)))
        .filter(|(_, expected, got)| *expected != got)
        .collect();
    assert!(wrong.is_empty(), "(url, expected, got): {wrong:#?}");
}

#[test]
fn the_table_holds() {
    assert!(CLOSED.len() + NEVER.len() + EXCEPTIONS.len() >= 200);
    check(CLOSED, &policy(&[], &["8.8.4.4:3456"]));
    check(EXCEPTIONS, &policy(&ALLOWED, &[]));
}

#[test]
fn metadata_and_our_own_listener_are_refused_under_any_policy() {
    check(NEVER, &open());
    check(&NEVER[..33], &policy(&[], &[]));
}

#[test]
fn tailnet_is_a_switch() {
    let open = Policy { tailnet: true, ..Policy::default() };
    for text in ["http://100.64.0.1/", "http://[fd7a:115c:a1e0::7]/", "http://[::ffff:100.99.0.1]/"] {
        assert_eq!(verdict(text, &open), Fine, "{text}");
        assert_eq!(verdict(text, &Policy::default()), TAILNET, "{text}");
    }
    assert_eq!(verdict("http://10.0.0.1/", &open), PRIVATE);
    assert_eq!(verdict("http://100.100.100.200/", &open), Metadata);
}

#[test]
fn length_is_bounded_before_and_after_punycode() {
    let of_length = |length: usize| format!("https://example.com/{}", "a".repeat(length - 20));
    assert_eq!(verdict(&of_length(2_048), &Policy::default()), Fine);
    assert_eq!(verdict(&of_length(2_049), &Policy::default()), TooLong);
    assert_eq!(verdict(&of_length(9_000), &Policy::default()), TooLong);
    let grows = format!("https://example.com/{}", "ü".repeat(1_000));
    assert!(grows.len() <= 2_048);
    assert_eq!(verdict(&grows, &Policy::default()), TooLong);
}

#[test]
fn the_canonical_spelling_is_kept() {
    let canonical = |text| check_url(text, &open()).unwrap().as_str().to_owned();
    assert_eq!(canonical("HTTP://0x7f.1:80/A"), "http://127.0.0.1/A");
    assert_eq!(canonical("https://аррӏе.com/"), "https://xn--80ak6aa92e.com/");
    assert_eq!(canonical("https://Example.com:443"), "https://example.com/");
}

#[test]
fn every_answer_of_a_look_up_is_vetted() {
    let addresses = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<IpAddr>>();
    let closed = policy(&ALLOWED, &["8.8.4.4:443"]);
    let judge = |url: &str, texts: &[&str]| {
        vet(&check_url(url, &closed).unwrap(), &addresses(texts), &closed).map(|vetted| vetted.len())
    };
    assert_eq!(judge("https://example.com/", &["8.8.8.8", "2606:4700::1"]), Ok(2));
    for bad in
        ["127.0.0.1", "10.0.0.1", "::ffff:10.0.0.1", "169.254.169.254", "fe80::1", "8.8.4.4", "0.0.0.0"]
    {
        assert!(judge("https://example.com/", &["8.8.8.8", bad]).is_err(), "{bad}");
        assert!(judge("https://example.com/", &[bad, "8.8.8.8"]).is_err(), "{bad}");
    }
    assert!(matches!(judge("https://example.com/", &[]), Err(AddressError::NoAddress { .. })));
    // A named host may live on an inner address, but not on these.
    assert_eq!(judge("http://receiver.lan/", &["192.168.50.1", "127.0.0.1"]), Ok(2));
    assert_eq!(judge("http://receiver.lan./", &["192.168.50.1"]), Ok(1));
    assert_eq!(judge("http://hooks.lan:9000/", &["172.16.0.1"]), Ok(1));
    assert!(judge("http://hooks.lan:9001/", &["172.16.0.1"]).is_err());
    assert!(judge("http://sub.receiver.lan/", &["172.16.0.1"]).is_err());
    assert!(judge("http://receiver.lan/", &["169.254.169.254"]).is_err());
    assert!(judge("https://receiver.lan/", &["8.8.4.4"]).is_err());
    assert_eq!(judge("http://10.9.9.9:9000/", &["10.9.9.9"]), Ok(1));
}

#[test]
fn the_message_names_the_class_and_the_key() {
    let error = check_url("http://10.0.0.1/", &Policy::default()).unwrap_err();
    assert_eq!(error.to_string(), "10.0.0.1 is a private address, which callbacks.allow does not name");
    assert_eq!(classify("::ffff:10.0.0.1".parse().unwrap()), AddressClass::Private);
}
