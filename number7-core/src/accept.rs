//! Durable acceptance: the promise that a 200 makes.

use std::{error::Error, future::Future, pin::Pin, sync::Arc, time::Duration};

use crate::{Delivery, EventError, Record, Rejection, RejectionKind};

/// How long storing an event may take before the sender gets a 503: 5 seconds.
///
/// A healthy store answers in milliseconds. The vendor does not publish its own timeout, so this only
/// limits how long the receiver holds a request. If an event is stored after the sender gave up, the
/// retry is a duplicate.
pub const DEFAULT_ACCEPT_TIMEOUT: Duration = Duration::from_secs(5);

/// An inbox: it stores verified events safely.
///
/// `number7-inbox` implements it on SQLite, PostgreSQL and Redis. Implement it to use a store or queue of your own: it needs no
/// particular async runtime. To accept a delivery, call [`accept`](trait@Accept#method.accept) on any inbox as a `&dyn Accept`.
/// The inboxes of `number7-inbox` also have it as their own method.
///
/// # Contract
///
/// 1. `Ok` means that the record survives a crash of the process.
/// 2. Of any number of concurrent calls with one key, exactly one returns [`Acceptance::New`]. The others return only when that
///    record is durable.
/// 3. An error, or a future that is dropped at any await point, leaves either nothing or the whole record, and later calls
///    still answer truthfully.
/// 4. After `Ok`, the process that handles the events gets this one at least once.
/// 5. A key stays known for at least the retention, even after the event was handled. The default of `number7-inbox` is seven
///    days.
///
/// The `contract` module (feature `contract`) tests any implementation against these promises.
///
/// # Example
///
/// An inbox in memory breaks the first promise, so it is only for tests:
///
/// ```
/// use std::{collections::HashMap, sync::Mutex};
///
/// use number7_core::{Accept, Acceptance, Record, StoreFuture};
///
/// #[derive(Default)]
/// struct Memory(Mutex<HashMap<String, Record>>);
///
/// impl Accept for Memory {
///     fn store(&self, record: Record) -> StoreFuture<'_> {
///         Box::pin(async move {
///             let mut records = self.0.lock().expect("no panic under the lock");
///             if records.contains_key(record.key()) {
///                 return Ok(Acceptance::Duplicate);
///             }
///             records.insert(record.key().to_owned(), record);
///             Ok(Acceptance::New)
///         })
///     }
/// }
/// # let _: &dyn Accept = &Memory::default();
/// ```
pub trait Accept: Send + Sync {
    /// Stores the record unless its key is known, in one atomic write.
    ///
    /// # Errors
    ///
    /// The record may or may not be stored. If only the confirmation was lost, the next call with its key returns
    /// [`Acceptance::Duplicate`]. The sender gets a 503. The receiver logs the error and its sources, so they should say what
    /// to fix, and must not quote the record.
    fn store(&self, record: Record) -> StoreFuture<'_>;
}

/// The future of [`Accept::store`]. It is boxed, so that an inbox can be a `dyn Accept`. Beside a durable write,
/// the allocation costs nothing.
pub type StoreFuture<'a> =
    Pin<Box<dyn Future<Output = Result<Acceptance, Box<dyn Error + Send + Sync>>> + Send + 'a>>;

// Not methods of the trait, because an inbox could then change what they promise.
impl dyn Accept + '_ {
    /// Accepts a delivery. Call it in a handler, before you answer 200.
    ///
    /// # Errors
    ///
    /// [`RejectionKind::Untypable`] (400) if the authentic body names no event, and
    /// [`RejectionKind::NotStored`] (503) if [`store`](Accept::store) fails. Return it with `?` from
    /// a handler whose error is the adapter's, and the sender gets the right status.
    pub async fn accept(&self, delivery: &Delivery) -> Result<Acceptance, Rejection> {
        self.accept_record(delivery, Record::of(delivery)).await
    }

    /// Accepts a delivery as an event of its own even if another event has its key; see [`Acceptance::Conflict`].
    ///
    /// # Errors
    ///
    /// Those of [`accept`](trait@Accept#method.accept).
    pub async fn accept_apart(&self, delivery: &Delivery) -> Result<Acceptance, Rejection> {
        self.accept_record(delivery, Record::keyed_by_bytes(delivery)).await
    }

    async fn accept_record(
        &self,
        delivery: &Delivery,
        record: Result<Record, EventError>,
    ) -> Result<Acceptance, Rejection> {
        let untypable = |error| delivery.refused(RejectionKind::Untypable).with_source(error);
        let stored = self.store(record.map_err(untypable)?).await;
        stored.map_err(|error| delivery.refused(RejectionKind::NotStored).with_source(error))
    }
}

impl<T: Accept + ?Sized> Accept for Arc<T> {
    fn store(&self, record: Record) -> StoreFuture<'_> {
        T::store(self, record)
    }
}

/// The result of accepting a delivery. The answer is 200 in each case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Acceptance {
    /// The event is stored now, and will be handled.
    New,
    /// An event with the same key was stored before, so this delivery repeats it.
    Duplicate,
    /// An event with the same key was stored before, but it was signed with other bytes. Perhaps the vendor has processed the
    /// job again. An inbox may return [`Duplicate`](Self::Duplicate) instead.
    ///
    /// The inboxes of `number7-inbox` keep the later body with the event, and call no handler for it. To have it handled, store
    /// it as an event of its own, before you answer 200. A retry is a conflict again, so nothing is lost in between:
    ///
    /// ```
    /// use number7_core::{Accept, Acceptance, Delivery, Rejection};
    ///
    /// async fn accept(inbox: &dyn Accept, delivery: &Delivery) -> Result<(), Rejection> {
    ///     if inbox.accept(delivery).await? == Acceptance::Conflict {
    ///         inbox.accept_apart(delivery).await?;
    ///     }
    ///     Ok(())
    /// }
    /// ```
    Conflict,
}

impl Acceptance {
    /// `new`, `duplicate` or `conflict`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Duplicate => "duplicate",
            Self::Conflict => "conflict",
        }
    }
}
