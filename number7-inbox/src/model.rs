//! Plain data that depends on no other module: what users see of an inbox, and what a worker and its store exchange.

pub(crate) mod awake;
pub(crate) mod change;
pub(crate) mod claim;
pub(crate) mod conflict;
pub(crate) mod end;
pub(crate) mod entry;
pub(crate) mod error;
pub(crate) mod error_text;
pub(crate) mod event;
pub(crate) mod expectation;
pub(crate) mod failure;
pub(crate) mod history;
pub(crate) mod options;
pub(crate) mod outage;
pub(crate) mod overdue;
pub(crate) mod page;
pub(crate) mod paused;
pub(crate) mod settings;
pub(crate) mod stats;
pub(crate) mod time;
pub(crate) mod trace;
pub(crate) mod wake;
pub(crate) mod worker_status;
