//! The only source of the present time, of ids and of randomness.
//!
//! Everything else receives a [`Clock`] through its constructor, so that a test can stop or move time and
//! replay a seed. Fails: never; an operating system without randomness ends the process at start.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use nix::time::{ClockId, clock_gettime};

/// Where "now" and random bytes come from. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Clock(Arc<Source>);

#[derive(Debug)]
enum Source {
    System,
    /// Moves only when told to; random bytes are a counted sequence from a seed.
    Manual {
        now_ms: AtomicI64,
        since_boot_ms: AtomicI64,
        boots: AtomicU64,
        random_state: AtomicU64,
    },
}

impl Clock {
    /// The real clock and the operating system's randomness.
    #[must_use]
    pub fn system() -> Self {
        Self(Arc::new(Source::System))
    }

    /// A clock that stands still at `now_ms` (Unix milliseconds) and draws its randomness from `seed`.
    #[must_use]
    pub fn manual(now_ms: i64, seed: u64) -> Self {
        Self(Arc::new(Source::Manual {
            now_ms: AtomicI64::new(now_ms),
            since_boot_ms: AtomicI64::new(0),
            boots: AtomicU64::new(0),
            random_state: AtomicU64::new(seed),
        }))
    }

    /// Unix time in milliseconds. May jump in either direction: order things by id, not by this.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the one place where the system clock is read")]
    pub fn now_ms(&self) -> i64 {
        match &*self.0 {
            Source::System => match SystemTime::now().duration_since(UNIX_EPOCH) {
                Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
                Err(before) => -i64::try_from(before.duration().as_millis()).unwrap_or(i64::MAX),
            },
            Source::Manual { now_ms, .. } => now_ms.load(Ordering::SeqCst),
        }
    }

    /// Milliseconds since the machine was started, those that it slept too. Nobody sets this clock, so it tells how much
    /// time has passed whatever became of [`Self::now_ms`]; two values compare only within one [`Self::boot`].
    #[must_use]
    pub fn since_boot_ms(&self) -> i64 {
        #[cfg(target_os = "linux")]
        let clock = ClockId::CLOCK_BOOTTIME;
        // counts on during sleep, and is not slewed either
        #[cfg(not(target_os = "linux"))]
        let clock = ClockId::from_raw(nix::libc::CLOCK_MONOTONIC_RAW);
        match &*self.0 {
            Source::System => {
                clock_gettime(clock).map_or(0, |time| time.tv_sec() * 1_000 + time.tv_nsec() / 1_000_000)
            }
            Source::Manual { since_boot_ms, .. } => since_boot_ms.load(Ordering::SeqCst),
        }
    }

    /// Names this start of the machine; empty where the system has no plain name for it.
    #[must_use]
    pub fn boot(&self) -> String {
        match &*self.0 {
            Source::System => std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
                .map_or_else(|_| String::new(), |id| id.trim().to_owned()),
            Source::Manual { boots, .. } => boots.load(Ordering::SeqCst).to_string(),
        }
    }

    /// Lets time pass on a manual clock. Time does not pass backwards: a negative `by_ms` is somebody who sets the clock
    /// back. Does nothing to the system clock.
    pub fn advance_ms(&self, by_ms: i64) {
        self.set_by_ms(by_ms);
        if let Source::Manual { since_boot_ms, .. } = &*self.0 {
            since_boot_ms.fetch_add(by_ms.max(0), Ordering::SeqCst);
        }
    }

    /// Sets the wall clock of a manual clock on by `by_ms`, or back; no time passes. Does nothing to the system clock.
    pub fn set_by_ms(&self, by_ms: i64) {
        if let Source::Manual { now_ms, .. } = &*self.0 {
            now_ms.fetch_add(by_ms, Ordering::SeqCst);
        }
    }

    /// Starts the machine of a manual clock anew.
    pub fn reboot(&self) {
        if let Source::Manual { since_boot_ms, boots, .. } = &*self.0 {
            boots.fetch_add(1, Ordering::SeqCst);
            since_boot_ms.store(0, Ordering::SeqCst);
        }
    }

    /// Fills `buffer` with random bytes.
    ///
    /// # Panics
    /// When the operating system has no randomness to give: no id and no secret could be trusted then.
    #[expect(clippy::disallowed_methods, reason = "the one place where randomness is drawn")]
    pub fn fill_random(&self, buffer: &mut [u8]) {
        match &*self.0 {
            Source::System => getrandom::fill(buffer).expect("the operating system provides randomness"),
            Source::Manual { random_state, .. } => {
                for chunk in buffer.chunks_mut(8) {
                    let state = random_state.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::SeqCst);
                    chunk.copy_from_slice(&split_mix(state).to_le_bytes()[..chunk.len()]);
                }
            }
        }
    }

    /// A random text of `length` characters from `[a-z0-9]` without look-alikes (5 bits each).
    #[must_use]
    pub fn random_text(&self, length: usize) -> String {
        const ALPHABET: &[u8; 32] = b"abcdefghjkmnpqrstuvwxyz023456789";
        let mut bytes = vec![0_u8; length];
        self.fill_random(&mut bytes);
        bytes.iter().map(|byte| char::from(ALPHABET[usize::from(byte & 31)])).collect()
    }

    /// A random (version 4) UUID in its usual text form, as agents demand it for session ids.
    #[must_use]
    pub fn random_uuid(&self) -> String {
        let mut bytes = [0_u8; 16];
        self.fill_random(&mut bytes);
        bytes[6] = (bytes[6] & 0x0f) | 0x40;
        bytes[8] = (bytes[8] & 0x3f) | 0x80;
        let text = hex::encode(bytes);
        format!("{}-{}-{}-{}-{}", &text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..])
    }
}

/// The output function of the SplitMix64 generator (Steele, Lea, Flood 2014).
fn split_mix(state: u64) -> u64 {
    let mut z = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_moves_only_when_told() {
        let clock = Clock::manual(1_000, 7);
        assert_eq!(clock.now_ms(), 1_000);
        clock.advance_ms(50);
        assert_eq!((clock.now_ms(), clock.since_boot_ms()), (1_050, 50));
        clock.set_by_ms(-400);
        clock.set_by_ms(5);
        clock.advance_ms(-5);
        assert_eq!((clock.now_ms(), clock.since_boot_ms()), (650, 50));
        let boot = clock.boot();
        clock.reboot();
        assert_eq!((clock.now_ms(), clock.since_boot_ms()), (650, 0));
        assert_ne!(clock.boot(), boot);
    }

    #[test]
    fn the_time_since_the_start_of_the_machine_goes_on() {
        let clock = Clock::system();
        let (before, boot) = (clock.since_boot_ms(), clock.boot());
        assert!(before > 0 && clock.since_boot_ms() >= before);
        assert_eq!(Clock::system().boot(), boot);
    }

    #[test]
    fn the_same_seed_gives_the_same_ids() {
        assert_eq!(Clock::manual(0, 7).random_text(16), Clock::manual(0, 7).random_text(16));
        assert_ne!(Clock::manual(0, 7).random_text(16), Clock::manual(0, 8).random_text(16));
    }

    #[test]
    fn a_uuid_is_of_version_4() {
        let uuid = Clock::system().random_uuid();
        assert_eq!((uuid.len(), &uuid[14..15]), (36, "4"));
        assert!("89ab".contains(&uuid[19..20]));
    }
}
