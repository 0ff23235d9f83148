//! The clocks of the simulated machine.

use std::time::Duration;

use offshoot::clock::Clock;
use tokio::time::Instant;

use crate::store_fixture::NOW_MS;

/// Milliseconds of a day.
pub(super) const DAY_MS: i64 = 86_400_000;

/// Lets the wall clock and the time since the start of the machine follow the runtime's, which stands for awake time.
pub(super) struct Clocks {
    clock: Clock,
    looked_at: Instant,
    left_over: Duration,
    /// How much faster the wall clock goes, in millionths: a leap second that is smeared over a day is 12 of them.
    slew: i64,
    slewed: i64,
    /// Milliseconds that truly have passed, sleep and times off included.
    pub(super) true_ms: i64,
    /// What of that nobody inside could miss: a machine that is stopped from outside knows nothing of it.
    pub(super) sure_ms: i64,
    /// How far the wall clock was set on while the machine was off, where nobody can tell it from time.
    pub(super) unseen_ms: i64,
    /// When somebody last set a clock.
    pub(super) set_at: Option<Instant>,
}

impl Clocks {
    pub(super) fn new(clock: Clock) -> Self {
        Self {
            clock,
            looked_at: Instant::now(),
            left_over: Duration::ZERO,
            slew: 0,
            slewed: 0,
            true_ms: 0,
            sure_ms: 0,
            unseen_ms: 0,
            set_at: None,
        }
    }

    pub(super) fn tick(&mut self) {
        let passed = self.looked_at.elapsed() + self.left_over;
        self.looked_at = Instant::now();
        let ms = i64::try_from(passed.as_millis()).unwrap();
        self.left_over = passed - Duration::from_millis(ms as u64);
        self.pass(ms);
    }

    fn pass(&mut self, ms: i64) {
        self.clock.advance_ms(ms);
        self.true_ms += ms;
        self.sure_ms += ms;
        self.slewed += ms * self.slew;
        let whole = self.slewed / 1_000_000;
        self.slewed -= whole * 1_000_000;
        self.clock.set_by_ms(whole);
    }

    pub(super) fn wall_ms(&self) -> i64 {
        self.clock.now_ms()
    }

    pub(super) fn set_by(&mut self, ms: i64) {
        self.clock.set_by_ms(ms);
        self.set_at = Some(Instant::now());
    }

    pub(super) fn slew(&mut self, millionths: i64) {
        self.slew = millionths;
    }

    /// Somebody sets the wall clock to the true time.
    pub(super) fn set_right(&mut self) {
        self.slew(0);
        self.set_by(NOW_MS + self.true_ms - self.wall_ms());
    }

    /// The machine sleeps: timers stand still, every clock goes on.
    pub(super) fn sleep(&mut self, ms: i64) {
        self.pass(ms);
        self.set_at = Some(Instant::now());
    }

    /// The machine is stopped from outside and corrected afterwards: only the wall clock notices.
    pub(super) fn freeze(&mut self, ms: i64) {
        self.true_ms += ms;
        self.set_by(ms);
    }

    /// The machine is off for a while, and its clock is wrong by `wrong_ms` when it is back.
    pub(super) fn reboot(&mut self, off_ms: i64, wrong_ms: i64) {
        self.clock.reboot();
        self.clock.set_by_ms(off_ms + wrong_ms);
        self.true_ms += off_ms;
        // the clocks are noted once an hour; one that shows less than then tells nothing about the time since
        self.sure_ms += (off_ms + wrong_ms).clamp(0, off_ms) - if wrong_ms < 0 { 3_700_000 } else { 0 };
        self.unseen_ms += wrong_ms.max(0) + 2_000;
        self.set_at = Some(Instant::now());
    }
}
