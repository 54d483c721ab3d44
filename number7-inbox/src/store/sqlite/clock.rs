//! The clock of a file. All times in the file, and all times that are compared with them, are by this clock.
//!
//! It shows the time of the system. But somebody may set that, so there are two exceptions:
//!
//! - It never goes back. If the system's clock is set back, this one continues at half the speed until the system's clock has
//!   caught up. So ready events stay ready, and scheduled events become ready, although later.
//! - Nothing is forgotten because of a clock that was set. If the system's clock moves by more than an hour against the time
//!   that has passed, nothing is forgotten until it has been steady for an hour.
//!
//! If the system's clock is set forward, this one follows at once, in all processes, because they must agree about the times in
//! the file. For a while after that no worker's events are rescued: see [`Clock::is_even_for`].
//!
//! The file has the latest time, and the latest one that was not in doubt, for the next process.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use crate::model::time::{of_millis, whole_millis};

/// How far the clock may be from the expected time, and how long it must be steady after it was further.
const LEAP: Duration = Duration::from_secs(3_600);

/// How much a steady clock may deviate within that time.
const STEADY: Duration = Duration::from_secs(60);

/// If the clock is set back further than this, it is logged. If the time jumps ahead by more, that is a leap.
const SET_BACK: Duration = Duration::from_secs(5);

/// Clocks are corrected all the time by less than this.
const CORRECTED: Duration = Duration::from_secs(1);

/// How often the time is written into the file.
pub(super) const NOTED_EVERY: Duration = Duration::from_secs(10);

/// The time since the epoch by the system's clock, which can be set; and since some moment by a clock that cannot be set.
pub(super) type Clocks = dyn Fn() -> (Duration, Duration) + Send + Sync;

pub(super) struct Clock {
    clocks: Box<Clocks>,
    state: Mutex<State>,
}

/// A time, and when it was read.
#[derive(Clone, Copy)]
struct Reading {
    time: Duration,
    at: Duration,
}

struct State {
    latest: Reading,
    /// When it last jumped ahead.
    leapt_at: Option<Duration>,
    is_behind: bool,
    /// The last time that was not in doubt.
    believed: Reading,
    /// Since when the clock is in doubt, and what it was then.
    doubt: Option<Reading>,
    noted_at: Option<Duration>,
}

/// The times to write into the file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Note {
    pub(super) latest: i64,
    /// `None` while it is in doubt.
    pub(super) believed: Option<i64>,
}

impl Clock {
    /// The clocks of this machine.
    pub(super) fn of_system() -> Self {
        let begun = Instant::now();
        Self::new(move || (SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default(), begun.elapsed()))
    }

    pub(super) fn new(clocks: impl Fn() -> (Duration, Duration) + Send + Sync + 'static) -> Self {
        let (time, at) = clocks();
        let now = Reading { time, at };
        let state = State {
            latest: now,
            leapt_at: None,
            is_behind: false,
            believed: now,
            doubt: None,
            noted_at: None,
        };
        Self { clocks: Box::new(clocks), state: Mutex::new(state) }
    }

    /// Takes over what the last process wrote into the file.
    pub(super) fn learn(&self, latest: i64, believed: i64) {
        self.goes_on_from(latest);
        let mut state = self.lock();
        state.believed.time = of_millis(believed);
        state.is_believed((self.clocks)());
    }

    /// Takes over the latest time in a file that is opened.
    pub(super) fn goes_on_from(&self, latest: i64) {
        if of_millis(latest) > self.now() + CORRECTED {
            // The clock continued for a while after that was written.
            self.heard_of(latest.saturating_add(whole_millis(NOTED_EVERY)));
        }
        self.heard_of(latest);
    }

    /// Takes over what another process wrote into the file.
    pub(super) fn heard_of(&self, latest: i64) {
        let latest = of_millis(latest);
        let mut state = self.lock();
        let clocks = (self.clocks)();
        if state.now(clocks) < latest {
            state.goes_on(Reading { time: latest, at: clocks.1 });
        }
    }

    /// Since the epoch.
    pub(super) fn now(&self) -> Duration {
        self.lock().now((self.clocks)())
    }

    /// As in the columns.
    pub(super) fn millis(&self) -> i64 {
        whole_millis(self.now())
    }

    /// Whether the time has not leapt for this long. After a leap, what others wrote just before it seems old.
    pub(super) fn is_even_for(&self, long: Duration) -> bool {
        let clocks = (self.clocks)();
        let mut state = self.lock();
        state.now(clocks);
        state.leapt_at.is_none_or(|at| clocks.1.saturating_sub(at) > long)
    }

    /// The time for something that is finished now, which decides how long it is kept. It is by the system's clock,
    /// if that can be believed.
    pub(super) fn finished_at(&self) -> i64 {
        let (system, at) = (self.clocks)();
        let mut state = self.lock();
        let now = state.now((system, at));
        state.is_believed((system, at));
        let expected = state.believed.time + at.saturating_sub(state.believed.at);
        whole_millis(expected.max(system).min(now))
    }

    /// The time by which old events may be forgotten. `None` while the clock is in doubt.
    pub(super) fn believed(&self) -> Option<i64> {
        let clocks = (self.clocks)();
        self.lock().is_believed(clocks).then(|| whole_millis(clocks.0))
    }

    /// What to write into the file. `None` if that is not necessary now. It is returned again until
    /// [`noted`](Self::noted) is called.
    pub(super) fn note(&self) -> Option<Note> {
        let clocks = (self.clocks)();
        let mut state = self.lock();
        let latest = state.now(clocks);
        // If this clock differs from the system's, the processes must agree on it.
        let is_noted = state.noted_at.is_some_and(|at| clocks.1.saturating_sub(at) < NOTED_EVERY);
        if is_noted && !state.is_behind {
            return None;
        }
        let believed = state.is_believed(clocks).then(|| whole_millis(clocks.0));
        Some(Note { latest: whole_millis(latest), believed })
    }

    /// The transaction that wrote the note was committed.
    pub(super) fn noted(&self) {
        self.lock().noted_at = Some((self.clocks)().1);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn now(&mut self, (system, at): (Duration, Duration)) -> Duration {
        let passed = at.saturating_sub(self.latest.at);
        let time = system.max(self.latest.time + passed / 2);
        self.goes_on(Reading { time, at });
        let behind = time - system;
        if behind > SET_BACK && !self.is_behind {
            tracing::warn!(
                target: "number7", ?behind,
                "the clock of this machine was set back; the inbox goes on from the time that it had, at half \
                the speed, until the clock has caught up"
            );
        }
        self.is_behind = behind > if self.is_behind { Duration::ZERO } else { SET_BACK };
        time
    }

    fn goes_on(&mut self, latest: Reading) {
        let passed = latest.at.saturating_sub(self.latest.at);
        if latest.time > self.latest.time + passed + SET_BACK {
            self.leapt_at = Some(latest.at);
        }
        self.latest = latest;
    }

    fn is_believed(&mut self, (time, at): (Duration, Duration)) -> bool {
        let now = Reading { time, at };
        let is_steady = now.deviation_since(self.believed) <= LEAP
            || self.doubt.is_some_and(|doubt| {
                now.deviation_since(doubt) <= STEADY && at.saturating_sub(doubt.at) >= LEAP
            });
        if is_steady {
            (self.believed, self.doubt) = (now, None);
        } else if self.doubt.is_none_or(|doubt| now.deviation_since(doubt) > STEADY) {
            tracing::warn!(
                target: "number7", leap = ?now.deviation_since(self.believed),
                "the clock of this machine is not where it was expected: it was set, or the inbox was not in \
                use; old events are forgotten again when it has gone steadily for an hour"
            );
            self.doubt = Some(now);
        }
        is_steady
    }
}

impl Reading {
    /// How far the clock has moved against the time that has passed.
    fn deviation_since(self, earlier: Self) -> Duration {
        self.time.abs_diff(earlier.time + self.at.saturating_sub(earlier.at))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;

    use super::*;

    pub(in super::super) const SECOND: i64 = 1_000;
    pub(in super::super) const HOUR: i64 = 3_600 * SECOND;
    pub(in super::super) const DAY: i64 = 24 * HOUR;

    /// Clocks that a test sets: the system's time, and the time that has passed.
    #[derive(Clone)]
    pub(in super::super) struct Fake(Arc<Mutex<(Duration, Duration)>>);

    impl Fake {
        pub(in super::super) fn new() -> Self {
            Self(Arc::new(Mutex::new((of_millis(1_000 * DAY), Duration::ZERO))))
        }

        pub(in super::super) fn clock(&self) -> Clock {
            let clocks = Arc::clone(&self.0);
            Clock::new(move || *clocks.lock().unwrap())
        }

        /// Lets this many milliseconds pass.
        pub(in super::super) fn pass(&self, millis: i64) {
            let mut clocks = self.0.lock().unwrap();
            clocks.0 += of_millis(millis);
            clocks.1 += of_millis(millis);
        }

        /// Sets the system's clock forward or back.
        pub(in super::super) fn set(&self, by: i64) {
            let mut clocks = self.0.lock().unwrap();
            clocks.0 = of_millis(whole_millis(clocks.0) + by);
        }

        pub(in super::super) fn system(&self) -> i64 {
            whole_millis(self.0.lock().unwrap().0)
        }
    }

    #[test]
    fn time_never_goes_back_and_never_stands_still() {
        let fake = Fake::new();
        let (clock, begun) = (fake.clock(), fake.system());
        fake.pass(10 * SECOND);
        assert_eq!(clock.millis(), begun + 10 * SECOND);
        fake.set(-1_000 * SECOND);
        assert_eq!(clock.millis(), begun + 10 * SECOND);
        fake.pass(100 * SECOND);
        assert_eq!(clock.millis(), begun + 60 * SECOND);
        // While 1,000 seconds pass by the one clock, 2,000 pass by the other.
        fake.pass(1_900 * SECOND);
        assert_eq!(
            (clock.millis(), fake.system()),
            (begun + 1_010 * SECOND, begun + 1_010 * SECOND)
        );
        fake.pass(10 * SECOND);
        assert_eq!(clock.millis(), fake.system());
    }

    #[test]
    fn a_process_goes_on_from_what_the_last_one_noted() {
        let fake = Fake::new();
        let noted = fake.clock().note().unwrap();
        fake.set(-HOUR);
        let clock = fake.clock();
        clock.learn(noted.latest, noted.believed.unwrap());
        assert_eq!(clock.millis(), noted.latest + 10 * SECOND, "it was not told everything");
        assert_eq!(clock.believed(), Some(fake.system()));
        fake.set(HOUR);
        let clock = fake.clock();
        clock.learn(noted.latest, noted.believed.unwrap());
        assert_eq!(clock.millis(), fake.system());
    }

    #[test]
    fn nothing_is_forgotten_by_a_clock_that_has_leapt() {
        let fake = Fake::new();
        let clock = fake.clock();
        for _ in 0..10 {
            fake.pass(HOUR * 20);
            assert_eq!(clock.believed(), Some(fake.system()), "what has passed is believed");
        }
        fake.set(HOUR);
        assert_eq!(clock.believed(), Some(fake.system()));
        fake.set(8 * DAY);
        assert_eq!(clock.believed(), None);
        fake.pass(HOUR - SECOND);
        assert_eq!(clock.believed(), None);
        // It leaps again, so that the hour begins anew.
        fake.set(-120 * SECOND);
        assert_eq!(clock.believed(), None);
        fake.pass(HOUR - SECOND);
        assert_eq!(clock.believed(), None);
        fake.pass(SECOND);
        assert_eq!(clock.believed(), Some(fake.system()));
        fake.set(-8 * DAY);
        assert_eq!(clock.believed(), None);
        fake.set(8 * DAY);
        assert_eq!(clock.believed(), Some(fake.system()), "it was a slip");
    }

    #[test]
    fn a_time_in_doubt_is_not_handed_on() {
        let fake = Fake::new();
        let noted = fake.clock().note().unwrap();
        fake.set(8 * DAY);
        let ahead = fake.clock();
        ahead.learn(noted.latest, noted.believed.unwrap());
        let of_ahead = ahead.note().unwrap();
        assert_eq!(of_ahead, Note { latest: fake.system(), believed: None });
        fake.set(-8 * DAY);
        let clock = fake.clock();
        clock.learn(of_ahead.latest, noted.believed.unwrap());
        assert_eq!(
            clock.millis(),
            of_ahead.latest + 10 * SECOND,
            "what was written by the other is not to come"
        );
        assert_eq!(clock.believed(), Some(fake.system()));
    }

    #[test]
    fn what_is_done_is_kept_as_long_as_ever_whatever_the_clock_did() {
        let fake = Fake::new();
        let (clock, begun) = (fake.clock(), fake.system());
        // Set back by mistake.
        fake.set(-8 * DAY);
        fake.pass(10 * SECOND);
        assert_eq!(
            clock.finished_at(),
            begun + 5 * SECOND,
            "it is never later than what is written beside it"
        );
        fake.set(8 * DAY);
        // A year ahead for a moment. That was written into the file, so time continues from there.
        fake.set(365 * DAY);
        clock.now();
        fake.set(-365 * DAY);
        assert!(clock.millis() >= fake.system() + 365 * DAY);
        assert_eq!(clock.finished_at(), fake.system());
        // Ahead for hours, so that it is believed, and then also for another hour.
        fake.set(365 * DAY);
        assert_eq!(clock.believed(), None);
        fake.pass(HOUR);
        assert_eq!(clock.finished_at(), fake.system());
        fake.set(-365 * DAY);
        assert!(clock.finished_at() > fake.system());
        fake.pass(HOUR);
        assert_eq!(clock.finished_at(), fake.system());
        // Not in use for a week.
        let clock = fake.clock();
        clock.learn(fake.system() - 7 * DAY, fake.system() - 7 * DAY);
        assert_eq!((clock.believed(), clock.finished_at()), (None, fake.system()));
    }

    #[test]
    fn the_file_is_told_now_and_then_and_always_while_the_clock_is_behind() {
        let fake = Fake::new();
        let clock = fake.clock();
        assert!(clock.note().is_some() && clock.note().is_some(), "it was not committed");
        clock.noted();
        assert!(clock.note().is_none());
        fake.pass(9 * SECOND);
        assert!(clock.note().is_none());
        fake.pass(SECOND);
        assert!(clock.note().is_some());
        clock.noted();
        assert!(clock.note().is_none());
        fake.set(-6 * SECOND);
        assert!(clock.note().is_some());
        clock.noted();
        assert!(clock.note().is_some());
    }
}
