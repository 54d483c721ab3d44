use std::{sync::Arc, time::SystemTime};

use number7_core::{Account, Event, EventError, JobId, Record, Subject};
use tokio_util::sync::CancellationToken;

use crate::{
    model::event::{Origin, StoredEvent},
    worker::held_claim::HeldClaim,
};

/// An accepted event, as a [`Worker`](crate::Worker) gives it to the handler.
#[derive(Clone, Debug)]
pub struct AcceptedEvent {
    pub(crate) stored: StoredEvent,
    pub(crate) key: String,
    pub(crate) origin: Origin,
    pub(crate) attempts: u32,
    pub(crate) claim: Arc<HeldClaim>,
}

impl AcceptedEvent {
    /// Types the event.
    ///
    /// # Errors
    ///
    /// The event lacks a field that this version needs, or has one that it cannot read. Return the error from the handler:
    /// after its attempts the event is a dead letter, which a version that can type it can handle after a requeue.
    pub fn event(&self) -> Result<Event, EventError> {
        self.stored.event()
    }

    /// The job that the event is about, for example for `Client::result` of `number7-client`. `None` if it names no job. All
    /// events that the vendor publishes do.
    #[must_use]
    pub fn job_id(&self) -> Option<JobId> {
        Subject::of_json(self.json()).ok()?.job_id().map(JobId::from)
    }

    /// The account that it was accepted for. `None` if the receiver has a single account.
    #[must_use]
    pub fn account(&self) -> Option<Account> {
        Record::account_of(&self.key).and_then(|account| Account::new(account).ok())
    }

    /// Whether it was signed, or fetched because it was never delivered.
    #[must_use]
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// The name of the secret that signed it. `None` if it was fetched.
    #[must_use]
    pub fn signed_by(&self) -> Option<&str> {
        self.claim.signed_by.as_deref()
    }

    /// The bytes that were signed, or the JSON of the event that was fetched.
    #[must_use]
    pub fn json(&self) -> &[u8] {
        self.stored.json()
    }

    /// The [key](number7_core::Record::key) by which the event is accepted only once. If the effect of a handler must happen
    /// only once too, store the key with it, in the same transaction.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Which attempt this is, from 1. It is counted when the event is claimed, so an attempt that ended in a crash counts too,
    /// unless the event was claimed ahead of a handler.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.claim.number.counted()
    }

    /// How often the event was run from the beginning, this time included: 1, and one more each time that an operator
    /// [reran](crate::Inbox::rerun) it.
    ///
    /// If your effect has an idempotency key, and a rerun should repeat the effect, make this a part of the key.
    #[must_use]
    pub fn runs(&self) -> u32 {
        self.claim.runs
    }

    /// Whether the event becomes a dead letter if this attempt fails.
    #[must_use]
    pub fn is_last_attempt(&self) -> bool {
        self.attempt() >= self.attempts
    }

    /// When the event was accepted, by the store's clock.
    #[must_use]
    pub fn accepted_at(&self) -> SystemTime {
        self.claim.accepted_at
    }

    /// Fires when the lease of this attempt was lost, so that another worker may have begun the next one. The
    /// machine was stopped for too long, or the store was away. From then on the end of this attempt counts only if
    /// no other attempt has begun.
    ///
    /// The worker notices when it renews its lease, at least four times per lease, or when it
    /// claims the event again. The token also fires if the worker's future is dropped. A handler
    /// whose effects must not happen twice at the same time should stop when it fires:
    ///
    /// ```
    /// use number7_inbox::{AcceptedEvent, Failure};
    ///
    /// async fn handle(accepted: AcceptedEvent) -> Result<(), Failure> {
    ///     tokio::select! {
    ///         done = long_work(&accepted) => done,
    ///         () = accepted.lease_lost().cancelled() => Err("the lease was lost".into()),
    ///     }
    /// }
    /// # async fn long_work(_: &AcceptedEvent) -> Result<(), Failure> { Ok(()) }
    /// # _ = |inbox: &number7_inbox::Inbox| inbox.worker(handle);
    /// ```
    #[must_use]
    pub fn lease_lost(&self) -> &CancellationToken {
        &self.claim.lost
    }
}
