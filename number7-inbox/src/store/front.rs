//! Where claims begin.

use std::{
    mem,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// The most time that may go into claims from the oldest event: a twentieth.
const SHARE: u32 = 20;

/// The longest that events wait that became ready behind the last claim: 2 seconds, or as long as it takes to pass over the
/// events of paused accounts.
const LONGEST: Duration = Duration::from_secs(2);

/// Where the last claim of an inbox ended.
///
/// On PostgreSQL, each claim leaves dead entries in the index of ready events, and they stay while an older transaction is
/// open. A claim from the oldest event would go through all of them each time, so it begins where the last one ended. Now and
/// then a claim begins at the oldest event, because events may appear before that place: they were rescued, or their acceptance
/// took longer than that of others.
///
/// On every store, while accounts are paused, a claim passes over a limited number of their events, and the next
/// claim begins behind them.
pub(super) struct Front<P>(Mutex<Known<P>>);

struct Known<P> {
    last: Option<P>,
    /// How far the earlier rounds came: if nothing is left before this place, claims continue from there.
    farthest: Option<P>,
    /// Counts the claims from the oldest event. The result of a claim that began before the last of these does not count.
    round: u64,
    round_began: Option<Instant>,
    next_round: Option<Instant>,
    /// The round passed over events of paused accounts.
    has_passed: bool,
}

/// The result of a claim.
pub(super) struct Found<P> {
    /// The last event that was claimed, in the order of their times.
    pub(super) last: Option<P>,
    /// The last event that was examined, if accounts are paused and no more may be examined.
    pub(super) passed: Option<P>,
    pub(super) has_paused_accounts: bool,
    /// Fewer were found than wanted.
    pub(super) is_all: bool,
}

/// The beginning of a claim.
#[derive(Clone, Copy)]
pub(super) struct Start<P> {
    /// The event after which it begins, or the oldest.
    pub(super) after: Option<P>,
    round: u64,
    begun: Instant,
}

impl<P> Default for Front<P> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<P> Default for Known<P> {
    fn default() -> Self {
        let (last, farthest, round_began, next_round) = (None, None, None, None);
        Self { last, farthest, round: 0, round_began, next_round, has_passed: false }
    }
}

impl<P: Copy + Ord> Front<P> {
    pub(super) fn start(&self) -> Start<P> {
        let (mut known, begun) = (self.lock(), Instant::now());
        if known.next_round.is_none_or(|next| next <= begun) {
            let (round, next_round) = (known.round + 1, Some(begun + LONGEST));
            let farthest = known.last.max(known.farthest);
            let has_passed = known.has_passed;
            let round_began = Some(begun);
            *known = Known { last: None, farthest, round, round_began, next_round, has_passed };
        }
        Start { after: known.last, round: known.round, begun }
    }

    /// A claim has ended. Returns when another one may find events that this one did not examine: at once, if it passed over
    /// some or if no account is paused anymore.
    pub(super) fn end(&self, start: Start<P>, found: Found<P>) -> Option<Duration> {
        let Found { last, passed, has_paused_accounts, is_all } = found;
        let mut known = self.lock();
        if !has_paused_accounts && mem::take(&mut known.has_passed) {
            let round = known.round;
            *known = Known { round, ..Known::default() };
            return Some(Duration::ZERO);
        }
        if start.round != known.round {
            return None;
        }
        known.last = known.last.max(last);
        if let Some(passed) = passed.filter(|_| is_all) {
            known.last = known.last.max(Some(passed));
            known.has_passed = true;
            // This round continues to its end. The next one begins after as long as it took.
            let took = known.round_began.map_or(Duration::ZERO, |began| began.elapsed());
            known.next_round = Some(Instant::now() + LONGEST.max(took));
            return Some(Duration::ZERO);
        }
        if is_all {
            known.last = known.last.max(known.farthest);
        }
        if start.after.is_none() {
            let rest = (start.begun.elapsed() * SHARE).min(LONGEST);
            known.next_round = Some(Instant::now() + rest);
        }
        // The next claim from the oldest event finds what became ready before this one's beginning.
        let next = known.next_round.filter(|_| is_all && start.after.is_some())?;
        Some(next.saturating_duration_since(Instant::now()))
    }

    /// Events became ready again behind the last claim: the next one begins at the oldest.
    #[cfg(feature = "postgres")]
    pub(super) fn start_anew(&self) {
        self.lock().next_round = None;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Known<P>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const MILLI: Duration = Duration::from_millis(1);

    fn at(time: i64) -> Option<i64> {
        Some(time)
    }

    fn claimed(last: Option<i64>, is_all: bool) -> Found<i64> {
        Found { last, passed: None, has_paused_accounts: false, is_all }
    }

    #[tokio::test(start_paused = true)]
    async fn a_claim_begins_where_the_last_one_ended_and_now_and_then_at_the_oldest() {
        let front = Front::default();
        let claim = async |takes, end| {
            let start = front.start();
            advance(takes).await;
            front.end(start, claimed(end, end.is_none()));
            start.after
        };
        assert_eq!(claim(MILLI, at(1)).await, None);
        assert_eq!(claim(MILLI, at(2)).await, at(1));
        assert_eq!(claim(MILLI, None).await, at(2));
        assert_eq!(claim(17 * MILLI, at(3)).await, at(2));
        assert_eq!(claim(MILLI, at(4)).await, at(3));
        // 20 times as long as the first one took.
        assert_eq!(claim(500 * MILLI, at(1)).await, None);
        assert_eq!(claim(LONGEST - MILLI, at(2)).await, at(1));
        assert_eq!(claim(MILLI, at(3)).await, at(2));
        assert_eq!(claim(MILLI, at(3)).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_claim_that_began_before_one_from_the_oldest_moves_nothing() {
        let front = Front::default();
        let first = front.start();
        advance(MILLI).await;
        front.end(first, claimed(at(7), false));
        let late = front.start();
        advance(LONGEST).await;
        let whole = front.start();
        advance(MILLI).await;
        assert_eq!((late.after, whole.after), (at(7), None));
        front.end(late, claimed(at(9), false));
        front.end(whole, claimed(at(3), false));
        assert_eq!(front.start().after, at(3));
        // Nothing is left before the place that claims had reached.
        let rest = front.start();
        front.end(rest, claimed(at(4), true));
        assert_eq!(front.start().after, at(7));
    }

    #[tokio::test(start_paused = true)]
    async fn a_round_that_passes_over_events_comes_to_its_end_before_the_next_begins() {
        let front = Front::default();
        let passes_over =
            |passed| Found { passed, has_paused_accounts: true, ..claimed(None, true) };
        for place in 0..10 {
            let start = front.start();
            assert_eq!(start.after, (place > 0).then_some(place));
            advance(LONGEST - MILLI).await;
            let next = front.end(start, passes_over(at(place + 1)));
            assert_eq!(next, Some(Duration::ZERO), "the next claim goes on at once");
        }
        // The rest is as long as the round took.
        let took = 10 * (LONGEST - MILLI);
        assert_eq!(front.end(front.start(), passes_over(None)), Some(took));
        advance(9 * LONGEST).await;
        assert_eq!(front.start().after, at(10));
        advance(LONGEST).await;
        let start = front.start();
        assert_eq!(start.after, None);
        advance(MILLI).await;
        assert_eq!(front.end(start, passes_over(None)), None);
        assert_eq!(front.start().after, at(10));
        // No account is paused anymore.
        assert_eq!(front.end(front.start(), claimed(None, true)), Some(Duration::ZERO));
        assert_eq!(front.start().after, None);
        assert_eq!(front.end(front.start(), claimed(None, true)), None);
    }
}
