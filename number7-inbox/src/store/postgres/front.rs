//! Where claims begin.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::store::sql::Place;

/// The most time that may go into claims from the oldest event: a twentieth.
const SHARE: u32 = 20;

/// The longest that events wait that became ready behind the last claim: 2 seconds.
const LONGEST: Duration = Duration::from_secs(2);

/// Where the last claim of an inbox ended.
///
/// Each claim leaves dead entries in the index of ready events, and they stay while an older transaction is open. A
/// claim from the oldest event would go through all of them each time, so it begins where the last one ended. Now
/// and then a claim begins at the oldest event, because events may appear before that place: they were rescued, or
/// their acceptance took longer than that of others.
#[derive(Default)]
pub(super) struct Front(Mutex<Known>);

#[derive(Default)]
struct Known {
    last: Option<Place>,
    /// How far the earlier rounds came: if nothing is left before this place, claims continue from there.
    farthest: Option<Place>,
    /// Counts the claims from the oldest event. The result of a claim that began before the last of these does not count.
    round: u64,
    next_round: Option<Instant>,
}

/// The beginning of a claim.
#[derive(Clone, Copy)]
pub(super) struct Start {
    /// The event after which it begins, or the oldest.
    pub(super) after: Option<Place>,
    round: u64,
    begun: Instant,
}

impl Front {
    pub(super) fn start(&self) -> Start {
        let (mut known, begun) = (self.lock(), Instant::now());
        if known.next_round.is_none_or(|next| next <= begun) {
            let (round, next_round) = (known.round + 1, Some(begun + LONGEST));
            let farthest = known.last.max(known.farthest);
            *known = Known { last: None, farthest, round, next_round };
        }
        Start { after: known.last, round: known.round, begun }
    }

    /// A claim has ended at an event, unless it found none. `is_all` means that it found fewer than wanted.
    pub(super) fn end(&self, start: Start, at: Option<Place>, is_all: bool) {
        let mut known = self.lock();
        if start.round == known.round {
            known.last = known.last.max(at);
            if is_all {
                known.last = known.last.max(known.farthest);
            }
            if start.after.is_none() {
                let rest = (start.begun.elapsed() * SHARE).min(LONGEST);
                known.next_round = Some(Instant::now() + rest);
            }
        }
    }

    /// The time until the next claim from the oldest event.
    pub(super) fn next_round_in(&self) -> Duration {
        let next = self.lock().next_round;
        next.map_or(Duration::ZERO, |next| next.saturating_duration_since(Instant::now()))
    }

    /// Events became ready again behind the last claim: the next one begins at the oldest.
    pub(super) fn start_anew(&self) {
        self.lock().next_round = None;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const MILLI: Duration = Duration::from_millis(1);

    fn at(time: i64) -> Option<Place> {
        Some(Place { time, id: 1 })
    }

    #[tokio::test(start_paused = true)]
    async fn a_claim_begins_where_the_last_one_ended_and_now_and_then_at_the_oldest() {
        let front = Front::default();
        let claim = async |takes, end| {
            let start = front.start();
            advance(takes).await;
            front.end(start, end, end.is_none());
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
        front.end(first, at(7), false);
        let late = front.start();
        advance(LONGEST).await;
        let whole = front.start();
        advance(MILLI).await;
        assert_eq!((late.after, whole.after), (at(7), None));
        front.end(late, at(9), false);
        front.end(whole, at(3), false);
        assert_eq!(front.start().after, at(3));
        // Nothing is left before the place that claims had reached.
        let rest = front.start();
        front.end(rest, at(4), true);
        assert_eq!(front.start().after, at(7));
    }
}
