#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod accept;
mod error;
mod extract;
mod extractor_limit;
mod future;
#[cfg_attr(not(feature = "tracing"), path = "log_off.rs")]
mod log;
mod middleware;
#[cfg(feature = "probe")]
pub mod receiver;
mod search;
mod transform;
mod verifiers;

#[cfg(feature = "probe")]
#[doc(inline)]
pub use self::receiver::assert_receiver;
pub use self::{
    accept::AcceptNumber7, error::VerifiedError, extract::Verified, future::ResponseFuture,
    middleware::VerifyNumber7Middleware, transform::VerifyNumber7,
};
#[cfg(feature = "probe")]
#[doc(inline)]
pub use number7_core::probe;
#[doc(inline)]
pub use number7_core::{
    Accept, Acceptance, Account, AccountError, Accounts, Delivery, Diagnosis, DiagnosisKind,
    DocumentType, Event, EventError, EventErrorKind, FileStatus, FromDelivery, IdempotencyKey,
    JobCompleted, JobFailed, JobId, LiveVerifier, Record, Rejection, RejectionKind,
    SIGNATURE_HEADER, Secret, SecretError, SecretErrorKind, Signature, StoreFuture, Timestamp,
    UnknownEvent, Verifier,
};
