//! The attempts that a worker is making, and the claims that it must keep.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    model::{
        claim::{ClaimId, EventId},
        event::{Origin, StoredEvent},
    },
    worker::{held_claim::HeldClaim, moment::Moment},
};

/// The attempts that are running, or whose end is not recorded yet.
#[derive(Default)]
pub(crate) struct Running(Mutex<State>);

#[derive(Default)]
struct State {
    attempts: HashMap<ClaimId, Attempt>,
    /// How many of their handlers have not returned.
    handlers: usize,
    /// Claims whose attempts have not begun, and when they were claimed.
    waiting: HashMap<ClaimId, Instant>,
    /// When the last successful heartbeat was sent.
    renewed: Option<Moment>,
    /// Events whose end the store refused, or could not record in time. They stay claimed as long as the worker lives, because
    /// otherwise they would be begun again and again.
    given_up: HashSet<EventId>,
    /// Whether an exchange is running, and how many have ended.
    is_exchanging: bool,
    exchanges: u64,
    /// Claims in the store that the worker does not know, and how many exchanges must end until no answer can
    /// contain them anymore.
    unknown: HashMap<ClaimId, u64>,
}

/// What a worker knows about an attempt.
pub(crate) struct Attempt {
    pub(crate) claim: Arc<HeldClaim>,
    pub(crate) key: String,
    pub(crate) stored: StoredEvent,
    pub(crate) origin: Origin,
    pub(crate) begun: Instant,
    /// Its handler has not returned yet.
    pub(crate) is_running: bool,
}

impl Running {
    /// How many attempts are running, or have an end that is not recorded yet.
    pub(crate) fn len(&self) -> usize {
        self.lock().attempts.len()
    }

    /// How many handlers have not returned yet.
    pub(crate) fn handlers(&self) -> usize {
        self.lock().handlers
    }

    /// An event was claimed, and its attempt has not begun.
    pub(crate) fn wait(&self, id: ClaimId) {
        self.lock().waiting.insert(id, Instant::now());
    }

    /// Forgets the claims whose attempts have not begun: they are to be released.
    pub(crate) fn stop_waiting(&self) {
        self.lock().waiting.clear();
    }

    /// Begins the attempt of a waiting claim. False if its lease was lost, as far as the worker knows, or may have been.
    ///
    /// This is one step, because a claim that neither waits nor runs would be released. If the worker claimed the event again,
    /// the lease of its earlier attempts is lost.
    pub(crate) fn begin(&self, id: ClaimId, attempt: Attempt, lease: Duration) -> bool {
        let State { attempts, handlers, waiting, renewed, .. } = &mut *self.lock();
        let is_live = renewed.is_some_and(|renewed| Moment::now().since(&renewed) <= lease);
        if waiting.remove(&id).is_none() || !is_live {
            return false;
        }
        *handlers += 1;
        if id.attempt > 1 {
            let earlier = attempts.iter().filter(|(earlier, _)| earlier.event == id.event);
            earlier.for_each(|(_, lost)| lost.tell_lost());
        }
        attempts.insert(id, attempt);
        true
    }

    /// Its handler has returned, and its end will be sent to the store.
    pub(crate) fn has_returned(&self, id: ClaimId) {
        let State { attempts, handlers, .. } = &mut *self.lock();
        if let Some(attempt) = attempts.get_mut(&id) {
            attempt.is_running = false;
            *handlers -= 1;
        }
    }

    pub(crate) fn remove(&self, id: ClaimId) -> Option<Attempt> {
        self.lock().attempts.remove(&id)
    }

    /// The end of its attempt will not be recorded.
    pub(crate) fn give_up(&self, event: EventId) {
        self.lock().given_up.insert(event);
    }

    /// The claims in the store that the worker does not know.
    pub(crate) fn unknown(&self, mut held: Vec<ClaimId>) -> Vec<ClaimId> {
        let state = self.lock();
        let attempts = state.attempts.keys().map(|id| id.event);
        let known: HashSet<EventId> = attempts.chain(state.given_up.iter().copied()).collect();
        held.retain(|id| !known.contains(&id.event) && !state.waiting.contains_key(id));
        held
    }

    /// The claims in the store that the worker will never know, because the answer of the exchange that made them is lost.
    pub(crate) fn strays(&self, held: Vec<ClaimId>) -> Vec<ClaimId> {
        let unknown = self.unknown(held);
        let State { is_exchanging, exchanges, unknown: until, .. } = &mut *self.lock();
        until.retain(|held, _| unknown.contains(held));
        let when_answered = *exchanges + u64::from(*is_exchanging);
        let is_stray = |held: &ClaimId| *until.entry(*held).or_insert(when_answered) <= *exchanges;
        unknown.into_iter().filter(is_stray).collect()
    }

    /// An exchange begins. It ends when the returned guard is dropped. By then the worker knows its claims, or never will.
    pub(crate) fn exchange(&self) -> impl Drop + use<'_> {
        self.lock().is_exchanging = true;
        Exchanging(self)
    }

    /// A heartbeat that was sent at this moment has succeeded, and the store has these claims.
    pub(crate) fn renewed(&self, asked: Moment, held: &[ClaimId]) {
        let mut state = self.lock();
        state.renewed = Some(asked);
        state.tell_lost(held, asked.instant);
    }

    /// Notifies the handlers of attempts whose lease was lost: those that were begun before this moment, and that are not among
    /// the claims in the store. Waiting claims that are not among them will not be begun.
    pub(crate) fn tell_lost(&self, held: &[ClaimId], before: Instant) {
        self.lock().tell_lost(held, before);
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

impl State {
    fn tell_lost(&mut self, held: &[ClaimId], before: Instant) {
        for (id, attempt) in &self.attempts {
            if attempt.begun < before && !held.contains(id) {
                attempt.tell_lost();
            }
        }
        self.waiting.retain(|id, since| *since >= before || held.contains(id));
    }
}

struct Exchanging<'a>(&'a Running);

impl Drop for Exchanging<'_> {
    fn drop(&mut self) {
        let State { is_exchanging, exchanges, .. } = &mut *self.0.lock();
        (*is_exchanging, *exchanges) = (false, *exchanges + 1);
    }
}

impl Attempt {
    /// Notifies the handler that the lease was lost, unless the handler has returned, or is finishing in a
    /// transaction, which reports that itself.
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

    /// Whether the handler of an attempt is notified that its lease was lost, if it began this long before the store was asked.
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
        running.renewed(Moment::now(), &[]);
        running.wait(HELD);
        assert!(running.begin(HELD, attempt, Duration::from_secs(20)));
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

    #[test]
    fn a_claim_is_a_stray_when_no_exchange_can_tell_of_it_any_more() {
        let running = Running::default();
        let held = |attempt| vec![ClaimId { event: EventId(7), attempt }];
        let exchange = running.exchange();
        assert!(running.strays(held(1)).is_empty(), "the answer may be on its way");
        drop(exchange);
        let next = running.exchange();
        assert_eq!(running.strays(held(1)), held(1));
        assert!(running.strays(held(2)).is_empty(), "it was claimed again");
        drop(next);
        assert_eq!(running.strays(held(2)), held(2));
        assert_eq!(running.strays(held(3)), held(3), "no exchange is going on");
        running.wait(held(3)[0]);
        assert!(running.strays(held(3)).is_empty(), "it is begun later");
        running.give_up(EventId(7));
        assert!(running.strays(held(4)).is_empty(), "it is to stay claimed");
    }
}
