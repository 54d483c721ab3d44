#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod accept;
mod account;
mod accounts;
pub mod adapter;
mod byte_order_mark;
mod chunks;
mod clock;
#[cfg(feature = "contract")]
pub mod contract;
mod delivery;
#[cfg_attr(not(feature = "diagnosis"), path = "diagnosis_off.rs")]
mod diagnosis;
mod drain;
mod event;
mod fetch;
mod from_delivery;
mod head;
mod held;
mod idempotency_key;
mod intake;
mod live;
mod named_secret;
#[cfg(feature = "probe")]
pub mod probe;
mod record;
mod refusal;
mod refusal_log;
mod rejection;
mod rejection_bodies;
mod retry_hint;
mod secret;
mod signature;
mod subject;
#[cfg_attr(not(feature = "trace-context"), path = "trace_context_off.rs")]
mod trace_context;
mod verifier;

pub use self::{
    accept::{Accept, Acceptance, DEFAULT_ACCEPT_TIMEOUT, StoreFuture},
    account::{Account, AccountError, MAX_ACCOUNT_LENGTH},
    accounts::{
        Accounts, CACHED_UNKNOWN_NAMES, DEFAULT_ACCOUNT_TTL, DEFAULT_CACHED_ACCOUNTS,
        DEFAULT_LOOKUP_TIMEOUT, DEFAULT_MAX_LOOKUPS, DEFAULT_STALE_IF_ERROR, DEFAULT_UNKNOWN_TTL,
        Found, LOOKUP_RETRY_INTERVAL,
    },
    delivery::Delivery,
    diagnosis::{Diagnosis, DiagnosisKind},
    event::{
        DocumentType, Event, EventError, EventErrorKind, FileStatus, JobCompleted, JobFailed,
        JobId, OtherName, Timestamp, TimestampError, UnknownEvent,
    },
    fetch::{Fetch, Fetched},
    from_delivery::FromDelivery,
    idempotency_key::IdempotencyKey,
    intake::{Intake, Wait},
    live::{AcceptedSecret, DEFAULT_OVERLAP, LOOK_INTERVAL, LiveVerifier, MAX_LOOK_INTERVAL},
    record::{MAX_KEY_LENGTH, Record},
    refusal_log::REFUSAL_LOG_INTERVAL,
    rejection::{RETRY_AFTER, Rejection, RejectionKind},
    retry_hint::RetryHint,
    secret::{Secret, SecretError, SecretErrorKind},
    signature::{SIGNATURE_HEADER, Signature, SignatureError},
    subject::Subject,
    verifier::{
        DEFAULT_BODY_LIMIT, DEFAULT_BODY_TIMEOUT, DEFAULT_MAX_HELD_BODIES, DEFAULT_SECRET_NAME,
        MAX_REPLACED_SECRETS, Verifier,
    },
};

#[cfg(feature = "diagnosis")]
pub use self::diagnosis::DIAGNOSES_PER_SECOND;
#[cfg(feature = "trace-context")]
pub use self::trace_context::TraceContext;
