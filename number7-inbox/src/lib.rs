#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(not(any(feature = "sqlite", feature = "postgres", feature = "redis")))]
compile_error!("number7-inbox needs a store: enable the feature sqlite, postgres or redis");

mod attempt;
mod engine;
mod entry;
mod error;
mod event;
mod failure;
mod history;
mod in_hand;
mod inbox;
mod list;
#[cfg_attr(not(feature = "metrics"), path = "measure_off.rs")]
mod measure;
mod outage;
mod overdue;
mod pause;
mod reconcile;
mod settings;
#[cfg(test)]
mod simulation;
mod stats;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod transaction;
mod upkeep;
mod work;
mod worker;

#[doc(inline)]
pub use number7_core::*;

pub use self::{
    engine::STORE_TIMEOUT,
    entry::{AttemptError, Entry, State},
    error::{InboxError, InboxErrorKind},
    event::{AcceptedEvent, Origin, StoredEvent},
    failure::{Failure, MIN_SNOOZE},
    history::KEPT_ERRORS,
    inbox::Inbox,
    list::{Cursor, Filter, Page},
    overdue::OverdueJob,
    pause::Pause,
    reconcile::FETCH_TIMEOUT,
    settings::{
        DEFAULT_ATTEMPTS, DEFAULT_BACKOFF, DEFAULT_CONCURRENCY, DEFAULT_FETCH_BACKOFF,
        DEFAULT_FETCHES_AT_ONCE, DEFAULT_FETCHES_PER_MINUTE, DEFAULT_LEASE, DEFAULT_MAX_BACKOFF,
        DEFAULT_MAX_FETCH_BACKOFF, DEFAULT_RETENTION, MAX_LEASE, MIN_LEASE,
    },
    stats::Stats,
    worker::Worker,
};

#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub use self::transaction::TransactionalStore;

/// Any error: what a handler can return.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
