//! The attempts that a worker is making, and the claims that it must keep.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::{
    model::{
        claim::{ClaimId, EventId},
        event::{Origin, StoredEvent},
    },
    store::STORE_TIMEOUT,
    worker::held_claim::HeldClaim,
};

/// How long a claim has to be unknown until it is a stray: longer than a worker waits for the answer that
/// tells it of one.
const STRAY_AFTER: Duration = STORE_TIMEOUT.saturating_add(Duration::from_secs(1));

/// The attempts that are going on, or whose end is not recorded.
#[derive(Default)]
pub(crate) struct Running(Mutex<State>);

#[derive(Default)]
struct State {
    attempts: HashMap<ClaimId, Attempt>,
    /// Events whose end the store refused, or could not take in time. They stay claimed while the worker
    /// lives; otherwise they would be begun again and again.
    given_up: HashSet<EventId>,
    /// The claims that the store has and the worker does not know of, and since when.
    unknown: HashMap<ClaimId, tokio::time::Instant>,
}

/// What a worker keeps of an attempt.
pub(crate) struct Attempt {
    pub(crate) claim: Arc<HeldClaim>,
    pub(crate) key: String,
    pub(crate) stored: StoredEvent,
    pub(crate) origin: Origin,
    pub(crate) begun: Instant,
    /// Its handler has not returned.
    pub(crate) is_running: bool,
}

impl Running {
    pub(crate) fn len(&self) -> usize {
        self.lock().attempts.len()
    }

    /// If the worker has the event again, its earlier attempts have lost their lease.
    pub(crate) fn insert(&self, id: ClaimId, attempt: Attempt) {
        let attempts = &mut self.lock().attempts;
        if id.attempt > 1 {
            let earlier = attempts.iter().filter(|(earlier, _)| earlier.event == id.event);
            earlier.for_each(|(_, lost)| lost.tell_lost());
        }
        attempts.insert(id, attempt);
    }

    /// Its handler has returned, and its end is on its way to the store.
    pub(crate) fn has_returned(&self, id: ClaimId) {
        if let Some(attempt) = self.lock().attempts.get_mut(&id) {
            attempt.is_running = false;
        }
    }

    pub(crate) fn remove(&self, id: ClaimId) -> Option<Attempt> {
        self.lock().attempts.remove(&id)
    }

    /// The end of an attempt at it will not be recorded.
    pub(crate) fn give_up(&self, event: EventId) {
        self.lock().given_up.insert(event);
    }

    /// Of the claims that the store has, those that the worker does not know of.
    pub(crate) fn unknown(&self, mut held: Vec<ClaimId>) -> Vec<ClaimId> {
        let state = self.lock();
        let known: HashSet<EventId> = state
            .attempts
            .keys()
            .map(|id| id.event)
            .chain(state.given_up.iter().copied())
            .collect();
        held.retain(|id| !known.contains(&id.event));
        held
    }

    /// Of the claims that the store has now, those that the worker has not known of for so long that it never
    /// will: the answer that named them is lost.
    pub(crate) fn strays(&self, held: Vec<ClaimId>) -> Vec<ClaimId> {
        let (unknown, now) = (self.unknown(held), tokio::time::Instant::now());
        let since = &mut self.lock().unknown;
        since.retain(|held, _| unknown.contains(held));
        let is_stray = |held: &ClaimId| now - *since.entry(*held).or_insert(now) >= STRAY_AFTER;
        unknown.into_iter().filter(is_stray).collect()
    }

    /// Tells the handlers of attempts whose lease was lost: those that were begun before and are not
    /// among the claims that the store has.
    pub(crate) fn tell_lost(&self, held: &[ClaimId], before: Instant) {
        for (id, attempt) in &self.lock().attempts {
            if attempt.begun < before && !held.contains(id) {
                attempt.tell_lost();
            }
        }
    }

    /// Warns of handlers that block their threads for longer than a limit.
    pub(crate) fn warn_of_blocked(&self, limit: Duration) {
        let attempts = &self.lock().attempts;
        attempts.values().for_each(|attempt| attempt.claim.warn_if_blocked(&attempt.key, limit));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Attempt {
    /// Tells its handler that the lease was lost, unless the handler has returned, or has begun to finish in
    /// a transaction, which says so itself.
    fn tell_lost(&self) {
        let Self { claim, key, is_running, .. } = self;
        if *is_running && !claim.is_in_transaction() && !claim.lost.is_cancelled() {
            let attempt = claim.number.counted();
            tracing::warn!(
                target: "number7", key, attempt,
                "the lease of an attempt was lost while its handler ran"
            );
            claim.lost.cancel();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::claim::{Claim, Number};

    const HELD: ClaimId = ClaimId { event: EventId(7), attempt: 1 };

    /// Whether the handler of an attempt, begun so long before the store was asked, is told that its lease
    /// was lost.
    fn is_told(before_it: Duration, held: i64, then: impl Fn(&Running, &HeldClaim)) -> bool {
        let (running, begun) = (Running::default(), Instant::now());
        let stored = StoredEvent::new("{}".into());
        let claim = Claim::of_test(HELD.event, Number { of_all: 1, uncounted: 0 });
        let claim = Arc::new(HeldClaim::new("worker".into(), "".into(), &claim));
        let attempt = Attempt {
            claim: Arc::clone(&claim),
            key: "key".into(),
            stored,
            origin: Origin::Signed,
            begun,
            is_running: true,
        };
        running.insert(HELD, attempt);
        then(&running, &claim);
        running.tell_lost(&[ClaimId { event: EventId(held), attempt: 1 }], begun + before_it);
        claim.lost.is_cancelled()
    }

    #[test]
    fn a_handler_is_told_that_its_lease_was_lost() {
        let second = Duration::from_secs(1);
        let nothing = |_: &Running, _: &HeldClaim| {};
        assert!(is_told(second, 8, nothing));
        assert!(!is_told(second, 7, nothing), "it is held");
        assert!(!is_told(Duration::ZERO, 8, nothing), "it was claimed since then");
        let returns = |running: &Running, _: &HeldClaim| running.has_returned(HELD);
        assert!(!is_told(second, 8, returns));
        let finishes = |_: &Running, claim: &HeldClaim| claim.set_in_transaction();
        assert!(!is_told(second, 8, finishes), "the transaction says so itself");
    }

    #[tokio::test(start_paused = true)]
    async fn a_claim_is_a_stray_when_its_answer_cannot_come_any_more() {
        let (running, second) = (Running::default(), Duration::from_secs(1));
        let held = |attempt| vec![ClaimId { event: EventId(7), attempt }];
        for _ in 0..5 {
            assert!(running.strays(held(1)).is_empty());
            tokio::time::advance(second).await;
        }
        assert_eq!(running.strays(held(1)), held(1));
        assert!(running.strays(held(2)).is_empty(), "it was claimed again");
        tokio::time::advance(STRAY_AFTER).await;
        running.give_up(EventId(7));
        assert!(running.strays(held(2)).is_empty(), "it is to stay claimed");
    }
}
