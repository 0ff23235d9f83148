//! How often: requests with one token, and wrong tokens from one peer.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

const MINUTE: Duration = Duration::from_secs(60);
/// Wrong tokens of one peer within a minute: a person mistypes a few times, a guesser needs as many as there are numbers.
const WRONG_PER_MINUTE: u32 = 10;
/// Peers that are remembered. Each is some 40 bytes; with more than these at once nobody's wrong token is looked at further.
const PEERS_MAX: usize = 4_096;
/// As many tokens as there are, and those that went meanwhile: old ones are dropped at this number.
const TOKENS_REMEMBERED: usize = 512;

/// What is told to somebody who comes too often: after how long he may come again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooOften {
    pub(super) seconds: u64,
}

impl TooOften {
    fn until(wait: Duration) -> Self {
        Self { seconds: wait.as_secs() + u64::from(wait.subsec_nanos() > 0) }
    }
}

/// Requests of each token: as many at once as in a minute, then one each time a place is free again.
pub(super) struct Rates {
    per_minute: u32,
    /// When the minute of a token would be empty again (the generic cell rate algorithm, ITU-T I.371).
    full_until: Mutex<HashMap<String, Instant>>,
}

impl Rates {
    pub(super) fn new(per_minute: u32) -> Self {
        Self { per_minute: per_minute.max(1), full_until: Mutex::default() }
    }

    pub(super) fn take(&self, token: &str, now: Instant) -> Result<(), TooOften> {
        let each = MINUTE / self.per_minute;
        let mut all = self.full_until.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= TOKENS_REMEMBERED {
            all.retain(|_, until| *until > now);
        }
        let until = all.get(token).copied().unwrap_or(now).max(now);
        let wait = (until + each).saturating_duration_since(now + MINUTE);
        if !wait.is_zero() {
            return Err(TooOften::until(wait));
        }
        all.insert(token.to_owned(), until + each);
        Ok(())
    }
}

/// Wrong tokens of each peer in the minute that began with the first one. Who has the right one is let in all the same: another
/// program behind the same address must not lock him out.
#[derive(Default)]
pub(super) struct WrongTokens(Mutex<HashMap<IpAddr, (Instant, u32)>>);

impl WrongTokens {
    /// Counts one; the answer is for its sender.
    pub(super) fn count(&self, peer: IpAddr, now: Instant) -> Result<(), TooOften> {
        let mut peers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let peer = network(peer);
        let is_new = !peers.contains_key(&peer);
        if is_new && peers.len() >= PEERS_MAX {
            peers.retain(|_, (began, _)| now < *began + MINUTE);
            if peers.len() >= PEERS_MAX {
                return Err(TooOften::until(MINUTE));
            }
        }
        let (began, count) = peers.entry(peer).or_insert((now, 0));
        if now >= *began + MINUTE {
            (*began, *count) = (now, 0);
        }
        *count = count.saturating_add(1);
        if *count <= WRONG_PER_MINUTE { Ok(()) } else { Err(TooOften::until(*began + MINUTE - now)) }
    }
}

/// Whom an address stands for: whoever has one IPv6 address has a network of them, and whoever is on this machine all of its loopback.
pub(super) fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        own if own.is_loopback() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        other => other,
    }
}

/// Of a request that came through no connection, in tests.
pub(super) const NO_PEER: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_of_requests_may_come_at_once_and_then_one_at_a_time() {
        let (rates, start) = (Rates::new(60), Instant::now());
        for _ in 0..60 {
            assert_eq!(rates.take("a", start), Ok(()));
        }
        assert_eq!(rates.take("a", start), Err(TooOften { seconds: 1 }));
        assert_eq!(rates.take("b", start), Ok(()), "each for itself");
        let later = start + Duration::from_secs(1);
        assert_eq!(rates.take("a", later), Ok(()));
        assert_eq!(rates.take("a", later), Err(TooOften { seconds: 1 }));
        for _ in 0..60 {
            assert_eq!(rates.take("a", later + MINUTE), Ok(()));
        }
        for number in 0..2 * TOKENS_REMEMBERED {
            assert_eq!(
                rates.take(&number.to_string(), later + 3 * MINUTE * u32::try_from(number).unwrap()),
                Ok(())
            );
        }
        assert!(rates.full_until.lock().unwrap().len() <= TOKENS_REMEMBERED);
    }

    #[test]
    fn an_address_stands_for_its_network_and_loopback_for_this_machine() {
        let of = |text: &str| network(text.parse().unwrap()).to_string();
        for own in ["127.0.0.1", "127.9.8.7", "::1", "::ffff:127.0.0.5"] {
            assert_eq!(of(own), "127.0.0.1", "{own}");
        }
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!((of("10.0.0.1"), of("::ffff:10.0.0.2")), ("10.0.0.1".to_owned(), "10.0.0.2".to_owned()));
    }

    #[test]
    fn the_eleventh_wrong_token_of_a_minute_is_too_many() {
        let (wrong, start) = (WrongTokens::default(), Instant::now());
        let peer = |text: &str| text.parse::<IpAddr>().unwrap();
        for _ in 0..10 {
            assert_eq!(wrong.count(peer("192.0.2.1"), start), Ok(()));
        }
        let middle = start + Duration::from_secs(20);
        assert_eq!(wrong.count(peer("192.0.2.1"), middle), Err(TooOften { seconds: 40 }));
        assert_eq!(
            wrong.count(peer("::ffff:192.0.2.1"), middle),
            Err(TooOften { seconds: 40 }),
            "the same one"
        );
        assert_eq!(wrong.count(peer("192.0.2.2"), middle), Ok(()));
        assert_eq!(wrong.count(peer("192.0.2.1"), start + MINUTE), Ok(()));
        for host in 0..10 {
            assert_eq!(wrong.count(peer(&format!("2001:db8::{host}")), start), Ok(()));
        }
        assert!(wrong.count(peer("2001:db8::ffff"), start).is_err(), "one network");
        assert_eq!(wrong.count(peer("2001:db8:0:1::1"), start), Ok(()));
    }

    #[test]
    fn more_peers_than_can_be_remembered_cost_no_memory() {
        let (wrong, start) = (WrongTokens::default(), Instant::now());
        for number in 0..u32::try_from(PEERS_MAX).unwrap() {
            assert_eq!(wrong.count(Ipv4Addr::from_bits(number).into(), start), Ok(()));
        }
        let more = || Ipv4Addr::from_bits(u32::MAX).into();
        assert!(wrong.count(more(), start).is_err());
        assert_eq!(wrong.count(more(), start + MINUTE), Ok(()));
        assert_eq!(wrong.0.lock().unwrap().len(), 1);
    }
}
