//! The attempts that a worker has in hand.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use crate::{Origin, StoredEvent, engine::Held, event::ClaimOf};

/// A task, and the number of an attempt among all attempts at it.
pub(crate) type AttemptId = (String, u32);

/// The attempts that are going on, or whose end is not recorded.
#[derive(Default)]
pub(crate) struct InHand(Mutex<HashMap<AttemptId, Attempt>>);

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
        self.lock().len()
    }

    pub(crate) fn insert(&self, id: AttemptId, attempt: Attempt) {
        self.lock().insert(id, attempt);
    }

    /// Its handler has returned, and its end is on its way to the store.
    pub(crate) fn has_returned(&self, id: &AttemptId) {
        if let Some(attempt) = self.lock().get_mut(id) {
            attempt.is_running = false;
        }
    }

    pub(crate) fn remove(&self, id: &AttemptId) -> Option<Attempt> {
        self.lock().remove(id)
    }

    pub(crate) fn tasks(&self) -> Vec<String> {
        self.lock().keys().map(|(task, _)| task.clone()).collect()
    }

    /// Tells the handlers of attempts whose lease was lost: those that were begun before and are not
    /// among the tasks that the store says are held.
    pub(crate) fn tell_lost(&self, held: &[Held], before: Instant) {
        for ((task, _), Attempt { claim, key, begun, is_running, .. }) in &*self.lock() {
            let is_held = held.iter().any(|(held, _)| held == task) || claim.is_in_transaction();
            if *is_running && *begun < before && !is_held && !claim.lost.is_cancelled() {
                let attempt = claim.number.counted();
                tracing::warn!(
                    target: "number7", key, attempt,
                    "the lease of an attempt was lost while its handler ran"
                );
                claim.lost.cancel();
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<AttemptId, Attempt>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::engine::Number;

    /// Whether the handler of an attempt, begun so long before the store was asked, is told that its lease
    /// was lost.
    fn is_told(before_it: Duration, held: &str, has_returned: bool) -> bool {
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
        in_hand.insert(id.clone(), attempt);
        if has_returned {
            in_hand.has_returned(&id);
        }
        in_hand.tell_lost(&[(held.into(), "since".into())], begun + before_it);
        claim.lost.is_cancelled()
    }

    #[test]
    fn a_handler_is_told_that_its_lease_was_lost() {
        let second = Duration::from_secs(1);
        assert!(is_told(second, "another task", false));
        assert!(!is_told(second, "task", false), "it is held");
        assert!(!is_told(Duration::ZERO, "another task", false), "it was claimed since then");
        assert!(!is_told(second, "another task", true), "it has returned");
    }
}
