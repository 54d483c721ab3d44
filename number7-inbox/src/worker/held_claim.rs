//! What a worker and a handler share about a claim.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use tokio_util::sync::CancellationToken;

use crate::model::claim::{Claim, EventId, Number};

/// What a worker and the handler share about an attempt.
#[derive(Debug)]
pub(crate) struct HeldClaim {
    #[cfg_attr(
        not(any(feature = "sqlite", feature = "postgres")),
        expect(dead_code, reason = "a transaction's end is fenced by it")
    )]
    pub(crate) worker: Arc<str>,
    #[cfg_attr(
        not(any(feature = "sqlite", feature = "postgres")),
        expect(dead_code, reason = "a transaction's end writes there")
    )]
    pub(crate) schema: Arc<str>,
    #[cfg_attr(
        not(any(test, feature = "sqlite", feature = "postgres")),
        expect(dead_code, reason = "a transaction's end is fenced by it")
    )]
    pub(crate) event: EventId,
    pub(crate) number: Number,
    pub(crate) runs: u32,
    pub(crate) accepted_at: SystemTime,
    pub(crate) signed_by: Option<String>,
    /// The lease was lost.
    pub(crate) lost: CancellationToken,
    /// The handler has written the end itself, in a transaction that it may commit or not.
    is_in_transaction: AtomicBool,
    /// When the handler entered its code from the last await point. `None` if it is not in its code, or if that was logged.
    polled: Mutex<Option<Instant>>,
}

impl HeldClaim {
    pub(crate) fn new(worker: Arc<str>, schema: Arc<str>, claim: &Claim) -> Self {
        Self {
            worker,
            schema,
            event: claim.event,
            number: claim.number,
            runs: claim.runs,
            accepted_at: claim.accepted_at,
            signed_by: claim.signed_by.clone(),
            lost: CancellationToken::new(),
            is_in_transaction: AtomicBool::new(false),
            polled: Mutex::default(),
        }
    }

    /// For an event that only a test has.
    #[cfg(feature = "test-util")]
    pub(crate) fn of_no_store(claim: &Claim) -> Self {
        Self::new("".into(), "".into(), claim)
    }

    /// Whether there is no store to end it in: then the worker has no name.
    #[cfg(any(feature = "sqlite", feature = "postgres"))]
    pub(crate) fn has_no_store(&self) -> bool {
        self.worker.is_empty()
    }

    /// Runs the handler, and keeps track of when it is in its code.
    pub(crate) async fn watch<T>(
        &self,
        handled: impl Future<Output = T>,
        key: &str,
        limit: Duration,
    ) -> T {
        let mut handled = pin!(handled);
        poll_fn(|context| {
            *self.polled() = Some(Instant::now());
            let polled = handled.as_mut().poll(context);
            self.warn_if_blocked(key, limit);
            *self.polled() = None;
            polled
        })
        .await
    }

    /// Warns once if the handler has been in its code for longer than a limit, and so blocks its thread.
    pub(crate) fn warn_if_blocked(&self, key: &str, limit: Duration) {
        if let Some(since) = self.polled().take_if(|since| since.elapsed() > limit) {
            let (attempt, blocked) = (self.number.counted(), since.elapsed());
            tracing::warn!(
                target: "number7", key, attempt, ?blocked,
                "a handler blocks its thread, and delays everything else on it: move such work into spawn_blocking"
            );
        }
    }

    fn polled(&self) -> MutexGuard<'_, Option<Instant>> {
        self.polled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(any(test, feature = "sqlite", feature = "postgres"))]
    pub(crate) fn set_in_transaction(&self) {
        self.is_in_transaction.store(true, Ordering::Release);
    }

    /// Nothing was written, because the attempt no longer holds the event.
    #[cfg(any(feature = "sqlite", feature = "postgres"))]
    pub(crate) fn leave_transaction(&self) {
        self.is_in_transaction.store(false, Ordering::Release);
    }

    pub(crate) fn is_in_transaction(&self) -> bool {
        self.is_in_transaction.load(Ordering::Acquire)
    }
}
