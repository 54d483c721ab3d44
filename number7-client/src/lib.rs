#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod answer;
mod client;
mod document;
mod error;
mod invoice;
mod key;
mod limiter;
mod result;

pub use number7_core::{DocumentType, FileStatus, JobId, RetryHint};

pub use self::{
    answer::MAX_ANSWER,
    client::{
        Client, DEFAULT_BASE_URL, DEFAULT_REQUESTS_PER_MINUTE, DEFAULT_TIMEOUT,
        DEFAULT_UPLOAD_TIMEOUT,
    },
    document::Document,
    error::{Error, ErrorKind, Result},
    invoice::{Amount, Invoice, Vendor},
    key::{ApiKey, ApiKeyError, ApiKeyErrorKind},
    result::{FailedJob, FinishedJob, JobResult, RawJson, RunningJob, Upload},
};
