//! The attempts that a worker has in hand.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::{Origin, STORE_TIMEOUT, StoredEvent, engine::Held, event::ClaimOf};

/// How long a claim has to be unknown until it is a stray: longer than a worker waits for the answer that
/// tells it of one.
const STRAY_AFTER: Duration = STORE_TIMEOUT.saturating_add(Duration::from_secs(1));

/// A task, and the number of an attempt among all attempts at it.
pub(crate) type AttemptId = (String, u32);

/// The attempts that are going on, or whose end is not recorded.
#[derive(Default)]
pub(crate) struct InHand(Mutex<State>);

#[derive(Default)]
struct State {
    attempts: HashMap<AttemptId, Attempt>,
    /// Tasks whose end the store refused, or could not take in time. They stay claimed while the worker
    /// lives; otherwise they would be begun again and again.
    given_up: HashSet<String>,
    /// What the store says is claimed and nobody knows of, and since when.
    unknown: HashMap<Held, tokio::time::Instant>,
}

/// What a worker keeps of an attempt.
pub(crate) struct Attempt {
    pub(crate) claim: Arc<ClaimOf>,
    pub(crate) key: String,
    pub(crate) stored: StoredEvent,
    pub(crate) origin: Origin,
    pub(crate) begun: Instant,
    /// Its handler has not returned.
    pub(crate) is_running: bool,
}

impl InHand {
    pub(crate) fn len(&self) -> usize {
        self.lock().attempts.len()
    }

    /// If the worker has the event again, its earlier attempts have lost their lease.
    pub(crate) fn insert(&self, id: AttemptId, attempt: Attempt) {
        let attempts = &mut self.lock().attempts;
        if id.1 > 1 {
            let earlier = attempts.iter().filter(|((task, _), _)| *task == id.0);
            earlier.for_each(|(_, lost)| lost.tell_lost());
        }
        attempts.insert(id, attempt);
    }

    /// Its handler has returned, and its end is on its way to the store.
    pub(crate) fn has_returned(&self, id: &AttemptId) {
        if let Some(attempt) = self.lock().attempts.get_mut(id) {
            attempt.is_running = false;
        }
    }

    pub(crate) fn remove(&self, id: &AttemptId) -> Option<Attempt> {
        self.lock().attempts.remove(id)
    }

    /// The end of an attempt at it will not be recorded.
    pub(crate) fn give_up(&self, task: &str) {
        self.lock().given_up.insert(task.to_owned());
    }

    /// Of what the store says is held, that which the worker does not know of.
    pub(crate) fn unknown(&self, mut held: Vec<Held>) -> Vec<Held> {
        let state = self.lock();
        let known: HashSet<&String> =
            state.attempts.keys().map(|(task, _)| task).chain(&state.given_up).collect();
        held.retain(|(task, _)| !known.contains(task));
        held
    }

    /// Of what the store says is held now, that which the worker has not known of for so long that it never
    /// will: the answer that named it is lost.
    pub(crate) fn strays(&self, held: Vec<Held>) -> Vec<Held> {
        let (unknown, now) = (self.unknown(held), tokio::time::Instant::now());
        let since = &mut self.lock().unknown;
        since.retain(|held, _| unknown.contains(held));
        let is_stray = |held: &Held| now - *since.entry(held.clone()).or_insert(now) >= STRAY_AFTER;
        unknown.into_iter().filter(is_stray).collect()
    }

    /// Tells the handlers of attempts whose lease was lost: those that were begun before and are not
    /// among the tasks that the store says are held.
    pub(crate) fn tell_lost(&self, held: &[Held], before: Instant) {
        for ((task, _), attempt) in &self.lock().attempts {
            if attempt.begun < before && !held.iter().any(|(held, _)| held == task) {
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
    use crate::engine::Number;

    /// Whether the handler of an attempt, begun so long before the store was asked, is told that its lease
    /// was lost.
    fn is_told(before_it: Duration, held: &str, then: impl Fn(&InHand, &ClaimOf)) -> bool {
        let (in_hand, begun) = (InHand::default(), Instant::now());
        let number = Number { of_all: 1, uncounted: 0 };
        let claim = Arc::new(ClaimOf::new("worker".into(), "task".into(), number));
        let (stored, origin) = (StoredEvent::new("{}".into()), Origin::Signed);
        let id = ("task".to_owned(), 1);
        let attempt = Attempt {
            claim: Arc::clone(&claim),
            key: "key".into(),
            stored,
            origin,
            begun,
            is_running: true,
        };
        in_hand.insert(id, attempt);
        then(&in_hand, &claim);
        in_hand.tell_lost(&[(held.into(), "since".into())], begun + before_it);
        claim.lost.is_cancelled()
    }

    #[test]
    fn a_handler_is_told_that_its_lease_was_lost() {
        let second = Duration::from_secs(1);
        let nothing = |_: &InHand, _: &ClaimOf| {};
        assert!(is_told(second, "another task", nothing));
        assert!(!is_told(second, "task", nothing), "it is held");
        assert!(!is_told(Duration::ZERO, "another task", nothing), "it was claimed since then");
        let returns = |in_hand: &InHand, _: &ClaimOf| in_hand.has_returned(&("task".into(), 1));
        assert!(!is_told(second, "another task", returns));
        let finishes = |_: &InHand, claim: &ClaimOf| claim.set_in_transaction();
        assert!(!is_told(second, "another task", finishes), "the transaction says so itself");
    }

    #[tokio::test(start_paused = true)]
    async fn a_claim_is_a_stray_when_its_answer_cannot_come_any_more() {
        let (in_hand, second) = (InHand::default(), Duration::from_secs(1));
        let held = |since: &str| vec![("task".to_owned(), since.to_owned())];
        for _ in 0..5 {
            assert!(in_hand.strays(held("1")).is_empty());
            tokio::time::advance(second).await;
        }
        assert_eq!(in_hand.strays(held("1")), held("1"));
        assert!(in_hand.strays(held("2")).is_empty(), "it was claimed again");
        tokio::time::advance(STRAY_AFTER).await;
        in_hand.give_up("task");
        assert!(in_hand.strays(held("2")).is_empty(), "it is to stay claimed");
    }
}
