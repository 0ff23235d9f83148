//! Notices that the machine slept: then wall time has outrun awake time.

/// Corrections of the clock also move wall time; more than a minute at once is sleep.
const SLEPT_MS_MIN: i64 = 60_000;

/// Wall minus awake time, as far as it was told.
#[derive(Debug)]
pub(super) struct SleepWatch {
    ahead_ms: i64,
}

impl SleepWatch {
    pub(super) fn begin(wall_ms: i64, awake_ms: u64) -> Self {
        Self { ahead_ms: ahead(wall_ms, awake_ms) }
    }

    /// Milliseconds slept since the last time that this told any. A wall clock that was set back is believed.
    pub(super) fn look(&mut self, wall_ms: i64, awake_ms: u64) -> Option<u64> {
        let now = ahead(wall_ms, awake_ms);
        let slept = now - self.ahead_ms;
        if (0..=SLEPT_MS_MIN).contains(&slept) {
            return None;
        }
        self.ahead_ms = now;
        u64::try_from(slept).ok()
    }
}

fn ahead(wall_ms: i64, awake_ms: u64) -> i64 {
    wall_ms.saturating_sub(i64::try_from(awake_ms).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sleep_is_told_once_and_small_corrections_or_a_clock_set_back_are_not_sleep() {
        let mut watch = SleepWatch::begin(1_000_000, 500);
        assert_eq!(watch.look(1_010_000, 10_500), None, "time passes");
        assert_eq!(watch.look(1_069_000, 10_500), None, "a correction by 59 s");
        assert_eq!(watch.look(29_810_000, 10_500), Some(28_800_000), "eight hours");
        assert_eq!(watch.look(29_811_000, 11_500), None, "told already");
        assert_eq!(watch.look(10_000, 12_500), None, "set back");
        assert_eq!(watch.look(11_000, 13_500), None);
        assert_eq!(watch.look(100_000, 14_500), Some(88_000), "counted from where it was set back to");
    }
}
