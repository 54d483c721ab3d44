#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]
// The docs of one store link to the others, which are missing if their features are off.
#![cfg_attr(
    not(all(feature = "sqlite", feature = "postgres", feature = "redis", feature = "memory")),
    allow(rustdoc::broken_intra_doc_links)
)]

#[cfg(not(any(
    feature = "sqlite",
    feature = "postgres",
    feature = "redis",
    feature = "memory",
    test
)))]
compile_error!("number7-inbox needs a store: enable the feature sqlite, postgres, redis or memory");

pub mod _guide;
#[cfg(feature = "board")]
mod board;
mod expectations;
mod inbox;
#[cfg_attr(not(feature = "metrics"), path = "measure_off.rs")]
mod measure;
mod model;
#[cfg(test)]
#[path = "../simulation/mod.rs"]
mod simulation;
mod store;
#[cfg_attr(not(feature = "opentelemetry"), path = "telemetry_off.rs")]
mod telemetry;
#[cfg(feature = "test-util")]
pub mod testing;
mod worker;

#[cfg(feature = "test-util")]
#[doc(inline)]
pub use number7_core::probe;
#[doc(inline)]
pub use number7_core::{
    Accept, Acceptance, Account, AccountError, Delivery, DocumentType, Event, EventError,
    EventErrorKind, Fetch, Fetched, FileStatus, IdempotencyKey, JobCompleted, JobFailed, JobId,
    Record, RetryHint, Secret, Timestamp, UnknownEvent, Verifier,
};

pub use self::{
    expectations::reconcile::FETCH_TIMEOUT,
    inbox::{AccountInbox, ChangeEvents, Changed, ExpectedUpload, Inbox, InboxOptions, SecretUse},
    model::{
        conflict::Conflict,
        entry::{Entry, State},
        error::{BoxError, InboxError, InboxErrorKind},
        event::{Origin, StoredEvent},
        failure::{Failure, MIN_SNOOZE},
        history::{AttemptError, KEPT_ERRORS},
        options::{
            DEFAULT_CONNECTIONS, DEFAULT_POLL_INTERVAL, DEFAULT_SCHEMA, DEFAULT_STATEMENT_TIMEOUT,
        },
        overdue::OverdueJob,
        page::{Cursor, Filter, Page},
        paused::Paused,
        settings::{
            DEFAULT_ATTEMPTS, DEFAULT_BACKOFF, DEFAULT_CONCURRENCY, DEFAULT_FETCH_BACKOFF,
            DEFAULT_FETCHES_AT_ONCE, DEFAULT_FETCHES_PER_MINUTE, DEFAULT_LEASE,
            DEFAULT_MAX_BACKOFF, DEFAULT_MAX_FETCH_BACKOFF, DEFAULT_RETENTION, MAX_LEASE,
            MIN_LEASE,
        },
        stats::{AccountStats, Stats},
        worker_status::WorkerStatus,
    },
    store::STORE_TIMEOUT,
    worker::{Worker, accepted::AcceptedEvent, pause::Pause},
};

#[cfg(feature = "board")]
pub use self::board::Board;

#[cfg(feature = "test-util")]
#[doc(no_inline)]
pub use self::testing::assert_worker;

#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub use self::store::transaction::TransactionalStore;
