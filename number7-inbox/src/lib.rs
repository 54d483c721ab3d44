#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(not(any(feature = "sqlite", feature = "postgres", feature = "redis")))]
compile_error!("number7-inbox needs a store: enable the feature sqlite, postgres or redis");

mod attempt;
mod dead_letter;
mod engine;
mod error;
mod event;
mod inbox;
mod settings;
mod upkeep;
mod work;
mod worker;

#[doc(inline)]
pub use number7_core::*;

pub use self::{
    dead_letter::DeadLetter,
    engine::STORE_TIMEOUT,
    error::{InboxError, InboxErrorKind},
    event::{AcceptedEvent, StoredEvent},
    inbox::Inbox,
    settings::{
        DEFAULT_ATTEMPTS, DEFAULT_BACKOFF, DEFAULT_CONCURRENCY, DEFAULT_LEASE, DEFAULT_MAX_BACKOFF,
        DEFAULT_RETENTION, MAX_LEASE, MIN_LEASE,
    },
    worker::Worker,
};

/// Any error: what a handler can return.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
