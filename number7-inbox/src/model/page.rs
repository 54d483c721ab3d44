//! Lists of events, a page at a time.

use std::{convert::Infallible, fmt, str::FromStr, time::SystemTime};

use crate::model::{
    entry::Entry,
    error::{InboxError, InboxErrorKind},
    event::Origin,
};

/// Which events to list or change: all of them, or only those that match everything that is set here.
///
/// A string is the filter for one key. The names are those in the signed JSON. [`since_after`](Self::since_after) and
/// [`since_before`](Self::since_before) limit the part of a state's list that is read. Everything else is applied to the
/// entries that the store returns from it, so finding a few matches takes as long as reading them all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    key: Option<String>,
    account: Option<String>,
    event: Option<String>,
    job: Option<String>,
    origin: Option<Origin>,
    signed_by: Option<String>,
    is_conflict: bool,
    error: Option<String>,
    accepted: Times,
    since: Times,
}

/// At or after the first time, and before the second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Times {
    first: Option<SystemTime>,
    end: Option<SystemTime>,
}

impl Times {
    fn has(self, time: SystemTime) -> bool {
        self.first.is_none_or(|first| time >= first) && self.end.is_none_or(|end| time < end)
    }
}

impl Filter {
    /// All events.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Only the event of this [key](Entry::key).
    #[must_use]
    pub fn key(self, key: impl Into<String>) -> Self {
        Self { key: Some(key.into()), ..self }
    }

    /// Only events of the [account](Entry::account) of this name.
    #[must_use]
    pub fn account(self, name: impl Into<String>) -> Self {
        Self { account: Some(name.into()), ..self }
    }

    /// Only events of this name, such as `job.failed`.
    #[must_use]
    pub fn event(self, name: impl Into<String>) -> Self {
        Self { event: Some(name.into()), ..self }
    }

    /// Only events about the job of this id.
    #[must_use]
    pub fn job(self, id: impl Into<String>) -> Self {
        Self { job: Some(id.into()), ..self }
    }

    /// Only events that were signed, or only those that were fetched.
    #[must_use]
    pub fn origin(self, origin: Origin) -> Self {
        Self { origin: Some(origin), ..self }
    }

    /// Only events that a secret of this name signed, first or with [other bytes](Entry::conflict) later.
    #[must_use]
    pub fn signed_by(self, secret: impl Into<String>) -> Self {
        Self { signed_by: Some(secret.into()), ..self }
    }

    /// Only events that were signed with [other bytes](Entry::conflict) later.
    #[must_use]
    pub fn conflict(self) -> Self {
        Self { is_conflict: true, ..self }
    }

    /// Only events with a kept [error](Entry::errors) that contains this text. Upper and lower case differ.
    #[must_use]
    pub fn error(self, text: impl Into<String>) -> Self {
        Self { error: Some(text.into()), ..self }
    }

    /// Only events that were [accepted](Entry::accepted_at) at this time or later.
    #[must_use]
    pub fn accepted_after(mut self, time: SystemTime) -> Self {
        self.accepted.first = Some(time);
        self
    }

    /// Only events that were accepted before this time.
    #[must_use]
    pub fn accepted_before(mut self, time: SystemTime) -> Self {
        self.accepted.end = Some(time);
        self
    }

    /// Only events that have been in their state [since](Entry::since) this time or later. For events that are done or
    /// dead, that is when they were finished.
    #[must_use]
    pub fn since_after(mut self, time: SystemTime) -> Self {
        self.since.first = Some(time);
        self
    }

    /// Only events that entered their state before this time.
    #[must_use]
    pub fn since_before(mut self, time: SystemTime) -> Self {
        self.since.end = Some(time);
        self
    }

    pub(crate) fn takes_all(&self) -> bool {
        *self == Self::default()
    }

    /// The key, if it is set.
    pub(crate) fn one_key(&self) -> Option<&str> {
        self.key.as_deref()
    }

    /// The key, if nothing else is set.
    pub(crate) fn only_key(&self) -> Option<&str> {
        let key = self.key.as_deref()?;
        (*self == Self::from(key)).then_some(key)
    }

    /// The time before which the list of a state has no matches.
    pub(crate) fn begins_at(&self) -> Option<SystemTime> {
        self.since.first
    }

    /// Whether nothing after this entry of a list matches.
    pub(crate) fn ends_before(&self, entry: &Entry) -> bool {
        self.since.end.is_some_and(|end| entry.since() >= end)
    }

    pub(crate) fn takes(&self, entry: &Entry) -> bool {
        self.key.as_ref().is_none_or(|key| key == entry.key())
            && self.account.as_ref().is_none_or(|account| Some(&**account) == entry.account())
            && self.event.as_ref().is_none_or(|event| event == entry.event_name())
            && self.job.as_ref().is_none_or(|job| Some(&**job) == entry.job_id())
            && self.origin.is_none_or(|origin| origin == entry.origin())
            && self.signed_by.as_ref().is_none_or(|secret| {
                let mut signed_by = entry.signatures().map(|(name, _)| name);
                signed_by.any(|name| name == secret)
            })
            && (!self.is_conflict || entry.conflict().is_some())
            && self
                .error
                .as_ref()
                .is_none_or(|text| entry.errors().iter().any(|error| error.text().contains(text)))
            && self.accepted.has(entry.accepted_at())
            && self.since.has(entry.since())
    }
}

/// The event of a key.
impl From<&str> for Filter {
    fn from(key: &str) -> Self {
        Self::new().key(key)
    }
}

/// The event of a key.
impl From<&String> for Filter {
    fn from(key: &String) -> Self {
        Self::new().key(key)
    }
}

/// The event of a key.
impl From<String> for Filter {
    fn from(key: String) -> Self {
        Self::new().key(key)
    }
}

impl From<&Filter> for Filter {
    fn from(filter: &Filter) -> Self {
        filter.clone()
    }
}

/// A page of a list: what [`Inbox::list`](crate::Inbox::list) returns of events, and
/// [`Inbox::overdue`](crate::Inbox::overdue) of jobs.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Page<T = Entry> {
    /// The oldest first.
    pub entries: Vec<T>,
    /// Where the next page begins. It is `None` only at the end of the list: a page of events may have fewer entries than the
    /// limit, or none, although there are more. See [`Inbox::list`](crate::Inbox::list).
    pub next: Option<Cursor>,
}

/// A place in a list. Send it as a string, for example in a URL, to the client that asks for the next page.
///
/// It stays valid when the entries around it change: no entry that stays in the list is left out. Use it only with the list
/// that it came from, such as that of one state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor(String);

impl Cursor {
    pub(crate) fn new(list: &str, place: &str) -> Self {
        Self(format!("{list}:{place}"))
    }

    /// The place, if it is one of this list.
    pub(crate) fn place(&self, list: &str) -> Result<&str, InboxError> {
        let place = self.0.split_once(':').filter(|(name, _)| *name == list);
        place.map(|(_, place)| place).ok_or_else(no_cursor)
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The error for a cursor that is not one.
pub(crate) fn no_cursor() -> InboxError {
    InboxError::new(InboxErrorKind::Invalid, "this cursor is not from this list")
}

/// Never fails. The method that takes the cursor refuses a string that is not one.
impl FromStr for Cursor {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.to_owned()))
    }
}
