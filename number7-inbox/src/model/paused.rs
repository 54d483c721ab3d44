//! Pauses of inboxes and of their accounts.

use std::time::{Duration, SystemTime};

use number7_core::Account;

use crate::model::error::{InboxError, InboxErrorKind};

/// A pause of an inbox, or of one of its accounts: what [`Inbox::pauses`](crate::Inbox::pauses) returns.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Paused {
    /// The account. `None` if all of the inbox is paused.
    pub account: Option<Account>,
    /// Who paused it.
    pub by: String,
    /// Why. It may be empty.
    pub why: String,
    /// Since when, by the store's clock.
    pub since: SystemTime,
    /// When the pause ends by itself. `None` if it has to be [resumed](crate::Inbox::resume).
    pub until: Option<SystemTime>,
}

/// A pause that begins now.
#[derive(Clone, Debug)]
pub(crate) struct NewPause {
    pub(crate) by: String,
    pub(crate) why: String,
    pub(crate) length: Option<Duration>,
}

/// How long an inbox can be paused: 10 years.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

impl NewPause {
    /// Fails if one of the strings has a NUL or more than 255 bytes, or the length is zero.
    pub(crate) fn new(by: &str, why: &str, length: Option<Duration>) -> Result<Self, InboxError> {
        const MOST: usize = 255;
        for text in [by, why] {
            if text.len() > MOST || text.contains('\0') {
                let text =
                    format!("who pauses an inbox and why has {MOST} bytes at most, and no NUL");
                return Err(InboxError::new(InboxErrorKind::Invalid, text));
            }
        }
        if length.is_some_and(|length| length.is_zero()) {
            return Err(InboxError::new(InboxErrorKind::Invalid, "a pause of no length is none"));
        }
        let length = length.map(|length| length.min(LONGEST));
        Ok(Self { by: by.to_owned(), why: why.to_owned(), length })
    }
}
