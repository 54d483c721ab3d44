//! The attempts that a worker has in hand.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use crate::{StoredEvent, event::ClaimOf};

/// A task, and which attempt at it.
pub(crate) type AttemptId = (String, u32);

/// The attempts that are going on, or whose end is not recorded.
#[derive(Default)]
pub(crate) struct InHand(Mutex<HashMap<AttemptId, Attempt>>);

/// What a worker keeps of an attempt.
pub(crate) struct Attempt {
    pub(crate) claim: Arc<ClaimOf>,
    pub(crate) key: String,
    pub(crate) stored: StoredEvent,
    pub(crate) begun: Instant,
}

impl InHand {
    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }

    pub(crate) fn insert(&self, id: AttemptId, attempt: Attempt) {
        self.lock().insert(id, attempt);
    }

    pub(crate) fn remove(&self, id: &AttemptId) -> Option<Attempt> {
        self.lock().remove(id)
    }

    pub(crate) fn tasks(&self) -> Vec<String> {
        self.lock().keys().map(|(task, _)| task.clone()).collect()
    }

    /// Tells the handlers of attempts whose lease was lost: those that were begun before and are not
    /// among the tasks that the store says are held.
    pub(crate) fn tell_lost(&self, held: &[String], before: Instant) {
        for ((task, attempt), Attempt { claim, key, begun, .. }) in &*self.lock() {
            let is_lost = *begun < before && !claim.is_in_transaction() && !held.contains(task);
            if is_lost && !claim.lost.is_cancelled() {
                tracing::warn!(
                    target: "number7", key, attempt,
                    "the lease of an attempt was lost while its handler runs"
                );
                claim.lost.cancel();
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<AttemptId, Attempt>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
