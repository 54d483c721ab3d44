//! Lists of events, a page at a time.

use std::{convert::Infallible, fmt, str::FromStr};

use crate::model::{
    entry::Entry,
    error::{InboxError, InboxErrorKind},
};

/// Which events to list, or to requeue: all of them, or those of one event name, one job, or both.
///
/// The names are those in the signed JSON. The store returns all entries and the filter is applied
/// afterwards, so finding a few matches takes as long as reading them all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    event: Option<String>,
    job: Option<String>,
}

impl Filter {
    /// All events.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
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

    pub(crate) fn takes_all(&self) -> bool {
        *self == Self::default()
    }

    pub(crate) fn takes(&self, entry: &Entry) -> bool {
        self.event.as_ref().is_none_or(|event| event == entry.event_name())
            && self.job.as_ref().is_none_or(|job| Some(&**job) == entry.job_id())
    }
}

/// A page of a list: what [`Inbox::list`](crate::Inbox::list) returns of events, and
/// [`Inbox::overdue`](crate::Inbox::overdue) of jobs.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Page<T = Entry> {
    /// The oldest first.
    pub entries: Vec<T>,
    /// Where the next page begins. `None` at the end of the list.
    pub next: Option<Cursor>,
}

/// A place in a list. As a string it can be given to the client that asks for the next page, in a URL
/// for example.
///
/// It stays valid whatever happens to the entries around it: what stays there is never left out.
/// Use it only with the list that it came from, such as that of one state.
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

/// What is wrong with a cursor that somebody has made up.
pub(crate) fn no_cursor() -> InboxError {
    InboxError::new(InboxErrorKind::Invalid, "this cursor is not from this list")
}

/// Never fails. The method that gets the cursor refuses a string that is not one.
impl FromStr for Cursor {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.to_owned()))
    }
}
