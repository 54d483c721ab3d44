#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod accept;
mod body_error;
#[cfg(feature = "axum")]
mod extract;
#[cfg(feature = "axum")]
mod extract_account;
#[cfg_attr(not(feature = "axum"), path = "extractor_limit_off.rs")]
mod extractor_limit;
mod future;
mod layer;
#[cfg_attr(not(feature = "tracing"), path = "log_off.rs")]
mod log;
mod put_back;
#[cfg(feature = "probe")]
pub mod receiver;
mod response;
mod response_body;
mod search;
mod service;
mod verifiers;

#[cfg(feature = "axum")]
pub use self::extract::{Verified, VerifiedRejection};
#[cfg(feature = "probe")]
#[doc(inline)]
pub use self::receiver::assert_receiver;
pub use self::{
    accept::AcceptNumber7,
    future::ResponseFuture,
    layer::VerifyNumber7,
    put_back::{As, PutBack, Same},
    response_body::ResponseBody,
    service::VerifyNumber7Service,
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
