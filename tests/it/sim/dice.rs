//! Chance from a seed.

use offshoot::clock::Clock;

/// The same seed throws the same numbers.
pub(super) struct Dice(Clock);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(Clock::manual(0, seed))
    }

    /// From 0 up to but without `below`.
    pub(super) fn below(&self, below: u64) -> u64 {
        let mut bytes = [0_u8; 8];
        self.0.fill_random(&mut bytes);
        u64::from_le_bytes(bytes) % below.max(1)
    }

    pub(super) fn between(&self, low: i64, high: i64) -> i64 {
        low + i64::try_from(self.below(u64::try_from(high - low + 1).unwrap())).unwrap()
    }

    pub(super) fn percent(&self, chance: u64) -> bool {
        self.below(100) < chance
    }

    pub(super) fn one_of<T: Copy>(&self, all: &[T]) -> T {
        all[usize::try_from(self.below(all.len() as u64)).unwrap()]
    }
}
