#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod api;
mod happening;
mod job;
mod misbehaviour;
mod plan;
mod results;
mod sandbox;
mod sender;
mod settings;
mod summary;
mod vendor;
mod webhook;
mod work;

pub use number7_core::Secret;

pub use self::{
    happening::Happening,
    misbehaviour::{Misbehaviour, Share, ShareError},
    sandbox::{RunningSandbox, Sandbox},
    settings::{
        DEFAULT_API_KEY, DEFAULT_CONCURRENT_JOBS, DEFAULT_JOB_TIME, DEFAULT_REQUESTS_PER_MINUTE,
        DEFAULT_RETRY_DELAY,
    },
    summary::Summary,
};
