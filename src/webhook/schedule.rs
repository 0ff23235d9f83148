//! When an undelivered callback is tried again. Pure: no clock, no randomness.

use std::time::Duration;

/// The wait before each try, counted from the end of the one before, in seconds; the first is immediate.
///
/// The steps span a bit more than three days, so that a receiver may be away over a weekend; they follow the
/// example in the Standard Webhooks specification ("Retry schedule and delivery deadlines").
pub const DELAYS_SECONDS: [u64; 10] = [0, 5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400];

/// How far `jitter` moves a delay: a fifth in both directions, so that callbacks which failed together in an
/// outage do not all come back together.
const SPREAD: f64 = 0.2;

/// When a delivery is tried; by default [`DELAYS_SECONDS`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule(Vec<Duration>);

impl Default for Schedule {
    fn default() -> Self {
        Self::after(DELAYS_SECONDS[1..].iter().map(|seconds| Duration::from_secs(*seconds)))
    }
}

impl Schedule {
    /// The first try at once, then one after each of these waits.
    #[must_use]
    pub fn after(delays: impl IntoIterator<Item = Duration>) -> Self {
        Self(std::iter::once(Duration::ZERO).chain(delays).collect())
    }

    /// The wait before the next try after `tries_done` tries, or `None` when the delivery is dead.
    ///
    /// `jitter` is a random number in `0.0..=1.0` (others are clamped): 0 shortens by a fifth, 1 lengthens by a fifth.
    /// A receiver's `retry_after` can lengthen the wait to at most twice the delay and never shortens it: nobody can
    /// park a delivery for a year, and nobody can ask for a flood.
    #[must_use]
    pub fn next_delay(
        &self,
        tries_done: u32,
        retry_after: Option<Duration>,
        jitter: f64,
    ) -> Option<Duration> {
        let nominal = *self.0.get(usize::try_from(tries_done).ok()?)?;
        let jitter = if jitter.is_finite() { jitter.clamp(0.0, 1.0) } else { 0.5 };
        let delay = nominal.mul_f64(1.0 - SPREAD + 2.0 * SPREAD * jitter);
        Some(retry_after.map_or(delay, |asked| asked.clamp(delay, delay * 2)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn next_delay(done: u32, asked: Option<Duration>, jitter: f64) -> Option<Duration> {
        Schedule::default().next_delay(done, asked, jitter)
    }

    #[test]
    fn ten_tries_and_then_dead() {
        let waits: Vec<_> =
            (0..12).map(|done| next_delay(done, None, 0.5).map(|wait| wait.as_secs_f64().round())).collect();
        const HOUR: f64 = 3_600.0;
        let promised = [
            0.0,
            5.0,
            300.0,
            1_800.0,
            2.0 * HOUR,
            5.0 * HOUR,
            10.0 * HOUR,
            14.0 * HOUR,
            20.0 * HOUR,
            24.0 * HOUR,
        ];
        let expected: Vec<_> = promised.map(Some).into_iter().chain([None, None]).collect();
        assert_eq!(waits, expected);
    }

    #[test]
    fn jitter_moves_by_a_fifth_both_ways() {
        assert_eq!(next_delay(2, None, 0.0), Some(Duration::from_secs(240)));
        assert_eq!(next_delay(2, None, 1.0), Some(Duration::from_secs(360)));
        assert_eq!(next_delay(2, None, 7.0), Some(Duration::from_secs(360)));
        assert_eq!(next_delay(2, None, f64::NAN), Some(Duration::from_secs(300)));
    }

    #[test]
    fn a_receiver_may_ask_for_up_to_twice_the_delay() {
        let asked =
            |seconds| next_delay(2, Some(Duration::from_secs(seconds)), 0.5).map(|wait| wait.as_secs());
        assert_eq!(asked(0), Some(300));
        assert_eq!(asked(450), Some(450));
        assert_eq!(asked(u64::MAX), Some(600));
    }

    proptest! {
        #[test]
        fn every_wait_stays_in_its_band(done in 0_u32..20, asked in proptest::option::of(0_u64..1_000_000), jitter in 0.0_f64..=1.0) {
            let wait = next_delay(done, asked.map(Duration::from_secs), jitter);
            match DELAYS_SECONDS.get(done as usize) {
                None => prop_assert_eq!(wait, None),
                Some(&nominal) => {
                    let wait = wait.expect("a delay for each of the first ten tries").as_secs_f64();
                    prop_assert!(wait >= nominal as f64 * 0.8 - 1e-6);
                    prop_assert!(wait <= nominal as f64 * 2.4 + 1e-6);
                }
            }
        }
    }
}
