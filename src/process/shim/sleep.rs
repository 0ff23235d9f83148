//! Time as a step counts it: awake time against the wall limit, and the notice that the machine slept in between.
//!
//! Both clocks come in as numbers, so that eight hours of sleep take no time to test.

/// Corrections of the clock also move wall time; more than a minute at once is sleep.
const SLEPT_MS_MIN: i64 = 60_000;

/// What a look at the clocks has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Looked {
    /// Milliseconds slept since the last look that told any.
    pub(super) slept_ms: Option<u64>,
    /// The wall limit is reached.
    pub(super) is_over: bool,
}

#[derive(Debug)]
pub(super) struct StepTime {
    /// Awake time at which the step has had its limit.
    until_awake_ms: u64,
    /// Wall minus awake time, as far as it was told.
    ahead_ms: i64,
}

impl StepTime {
    /// Begins now. The limit counts time in which the machine is awake.
    pub(super) fn begin(limit_ms: u64, wall_ms: i64, awake_ms: u64) -> Self {
        Self { until_awake_ms: awake_ms.saturating_add(limit_ms), ahead_ms: ahead(wall_ms, awake_ms) }
    }

    /// Awake milliseconds until the limit.
    pub(super) fn left_ms(&self, awake_ms: u64) -> u64 {
        self.until_awake_ms.saturating_sub(awake_ms)
    }

    /// A wall clock that was set back is believed.
    pub(super) fn look(&mut self, wall_ms: i64, awake_ms: u64) -> Looked {
        let now = ahead(wall_ms, awake_ms);
        let slept = now - self.ahead_ms;
        let mut looked = Looked { slept_ms: None, is_over: self.left_ms(awake_ms) == 0 };
        if !(0..=SLEPT_MS_MIN).contains(&slept) {
            self.ahead_ms = now;
            looked.slept_ms = u64::try_from(slept).ok();
        }
        looked
    }
}

fn ahead(wall_ms: i64, awake_ms: u64) -> i64 {
    wall_ms.saturating_sub(i64::try_from(awake_ms).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: u64 = 60_000;
    const HOUR: u64 = 60 * MINUTE;

    #[test]
    fn sleep_is_told_once_and_small_corrections_or_a_clock_set_back_are_not_sleep() {
        let mut time = StepTime::begin(HOUR, 1_000_000, 500);
        let mut slept = |wall_ms, awake_ms| time.look(wall_ms, awake_ms).slept_ms;
        assert_eq!(slept(1_010_000, 10_500), None, "time passes");
        assert_eq!(slept(1_069_000, 10_500), None, "a correction by 59 s");
        assert_eq!(slept(29_810_000, 10_500), Some(28_800_000), "eight hours");
        assert_eq!(slept(29_811_000, 11_500), None, "told already");
        assert_eq!(slept(10_000, 12_500), None, "set back");
        assert_eq!(slept(11_000, 13_500), None);
        assert_eq!(slept(100_000, 14_500), Some(88_000), "counted from where it was set back to");
    }

    #[test]
    fn eight_hours_of_sleep_in_an_hour_of_work_are_no_timeout() {
        let mut time = StepTime::begin(HOUR, 0, 0);
        let at = |awake: u64, slept: u64| (i64::try_from(awake + slept).unwrap(), awake);
        let look = |time: &mut StepTime, (wall, awake)| time.look(wall, awake);
        assert_eq!(look(&mut time, at(10 * MINUTE, 0)), Looked { slept_ms: None, is_over: false });
        let woken = look(&mut time, at(10 * MINUTE, 8 * HOUR));
        assert_eq!(woken, Looked { slept_ms: Some(8 * HOUR), is_over: false });
        assert_eq!(time.left_ms(10 * MINUTE), 50 * MINUTE, "what was left before is left after");
        let late = look(&mut time, at(HOUR - 1, 8 * HOUR));
        assert_eq!(late, Looked { slept_ms: None, is_over: false });
        assert!(look(&mut time, at(HOUR, 8 * HOUR)).is_over);
    }

    #[test]
    fn a_day_on_the_wall_clock_either_way_moves_no_limit() {
        for day in [24 * 3_600_000_i64, -24 * 3_600_000] {
            let mut time = StepTime::begin(HOUR, 0, 0);
            assert!(!time.look(day, MINUTE).is_over);
            assert!(!time.look(day, HOUR - 1).is_over);
            assert!(time.look(day, HOUR).is_over);
        }
    }
}
