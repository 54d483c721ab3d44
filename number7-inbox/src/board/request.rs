//! What a URL asks for: an inbox, and some of its events.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use axum::http::StatusCode;

use super::{Board, failure::Failure};
use crate::{
    inbox::Inbox,
    model::{
        entry::State,
        event::Origin,
        page::{Cursor, Filter},
    },
};

/// The filters of a list: their names in URLs, and their labels.
pub(super) const FILTERS: [(&str, &str); 11] = [
    ("account", "Account"),
    ("event", "Event"),
    ("job", "Job"),
    ("error", "Error contains"),
    ("origin", "Origin"),
    ("signed_by", "Signed by"),
    ("conflict", "Conflict"),
    ("accepted_after", "Accepted at or after"),
    ("accepted_before", "Accepted before"),
    ("since_after", "In its state since or after"),
    ("since_before", "In its state before"),
];

/// The query of a URL, without empty values.
#[derive(Clone, serde::Deserialize)]
#[serde(transparent)]
pub(super) struct Asked(BTreeMap<String, String>);

impl Asked {
    /// The inbox with this name, without filters.
    pub(super) fn of(inbox: &str) -> Self {
        Self(BTreeMap::new()).with("inbox", inbox)
    }

    /// With another value, or without one if it is empty.
    pub(super) fn with(mut self, name: &str, value: impl ToString) -> Self {
        self.0.insert(name.to_owned(), value.to_string());
        self
    }

    pub(super) fn get(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    /// A link to a page of the board, relative to every other page.
    pub(super) fn link(&self, page: &str) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(self.0.iter().filter(|(_, value)| !value.is_empty()));
        format!("{page}?{}", query.finish())
    }

    pub(super) fn inbox<'a>(&self, board: &'a Board) -> Result<&'a Inbox, Failure> {
        let no_inbox = || Failure::new(StatusCode::NOT_FOUND, "This board has no such inbox.");
        board.inbox(self.get("inbox")).ok_or_else(no_inbox)
    }

    pub(super) fn state(&self) -> Result<State, Failure> {
        let found = State::ALL.into_iter().find(|state| state.name() == self.get("state"));
        found.ok_or_else(|| Failure::new(StatusCode::NOT_FOUND, "There is no such state."))
    }

    pub(super) fn cursor(&self) -> Option<Cursor> {
        let text = Some(self.get("after")).filter(|text| !text.is_empty());
        text.and_then(|text| text.parse().ok())
    }

    /// The key and the filters. Relative times become absolute here, so that they stay the same on the next page.
    pub(super) fn filter(&mut self, now: SystemTime) -> Result<Filter, Failure> {
        let mut filter = Filter::new();
        for (name, value) in self.0.iter_mut().filter(|(_, value)| !value.is_empty()) {
            let time = |value: &mut String| absolute(value, now);
            filter = match &**name {
                "key" => filter.key(&*value),
                "account" => filter.account(&*value),
                "event" => filter.event(&*value),
                "job" => filter.job(&*value),
                "error" => filter.error(&*value),
                "origin" => filter.origin(origin(value)?),
                "signed_by" => filter.signed_by(&*value),
                "conflict" => filter.conflict(),
                "accepted_after" => filter.accepted_after(time(value)?),
                "accepted_before" => filter.accepted_before(time(value)?),
                "since_after" => filter.since_after(time(value)?),
                "since_before" => filter.since_before(time(value)?),
                _ => filter,
            };
        }
        Ok(filter)
    }
}

fn origin(name: &str) -> Result<Origin, Failure> {
    let found = [Origin::Signed, Origin::Fetched].into_iter().find(|origin| origin.name() == name);
    found.ok_or_else(|| Failure::invalid("An origin is signed or fetched."))
}

/// A moment, or how long ago it is. The text is replaced by the moment.
fn absolute(text: &mut String, now: SystemTime) -> Result<SystemTime, Failure> {
    let time = moment(text.trim(), now).ok_or_else(|| {
        Failure::invalid("A time is like 2026-11-30T08:00:00Z, or as long ago as 90m or 2h.")
    })?;
    *text = jiff::Timestamp::try_from(time).map_or_else(|_| text.clone(), |time| time.to_string());
    Ok(time)
}

fn moment(text: &str, now: SystemTime) -> Option<SystemTime> {
    if let Ok(time) = text.parse::<jiff::Timestamp>() {
        return SystemTime::UNIX_EPOCH.checked_add(time.as_duration().try_into().ok()?);
    }
    let ago: Duration = text.parse::<jiff::SignedDuration>().ok()?.try_into().ok()?;
    now.checked_sub(ago).filter(|time| *time >= SystemTime::UNIX_EPOCH)
}
