//! The errors of an event's last attempts, in the form that stores keep.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

/// How many errors of an event are kept: the last 10, and one note of all its snoozes.
///
/// At 2,000 bytes each, they are the size of a small page. Older errors are mostly the same as these.
pub const KEPT_ERRORS: usize = 10;

/// The note about an event whose worker died.
pub(crate) const LOST: &str = "the lease of its worker expired";

use crate::model::time::{millis_of_time, time_of_millis};
const DAY: Duration = Duration::from_hours(24);

/// The error of one attempt, or a note of what else happened to the event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptError {
    pub(crate) at: SystemTime,
    pub(crate) attempt: u32,
    pub(crate) text: String,
    /// 0 unless this is the note of the snoozes, which also has the time of the first one.
    pub(crate) snoozes: u32,
    pub(crate) first: Option<SystemTime>,
}

impl AttemptError {
    /// The time, by the clock of the worker, or of the store if the store added this.
    #[must_use]
    pub fn at(&self) -> SystemTime {
        self.at
    }

    /// Which attempt it was, from 1; or 0 for a note that is about no attempt, such as a requeue. After a requeue the attempts
    /// are counted from 1 again. A snoozed attempt is repeated with the same number.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// The handler's error with its sources, its panic, the reason of a snooze, or a note of the worker or
    /// store: at most 2,000 bytes.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// If this is the note of the snoozes: how often the event was [snoozed](crate::Failure::snooze) up to
    /// now. Otherwise 0.
    #[must_use]
    pub fn snoozes(&self) -> u32 {
        self.snoozes
    }
}

#[derive(Clone, Debug, Default)]
pub(crate) struct History(Vec<AttemptError>);

/// An error, as it is stored.
#[derive(Serialize, Deserialize)]
struct Row {
    /// Milliseconds since the epoch.
    at: i64,
    attempt: u32,
    error: String,
    /// In the note of the snoozes: how many there were, and when the first was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    snoozes: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    first: Option<i64>,
}

impl History {
    /// Reads what a store has. If it is not of this form, somebody else wrote it, and there are no errors.
    #[cfg(any(test, feature = "sqlite", feature = "postgres", feature = "redis"))]
    pub(crate) fn read(json: Option<&str>) -> Self {
        let rows: Vec<Row> =
            json.and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default();
        let mut history = Self(rows.into_iter().map(AttemptError::from).collect());
        // Stores append notes without removing old ones.
        history.forget_old();
        history
    }

    /// Adds an error, at this moment. The same note about the same attempt is kept once.
    pub(crate) fn with(mut self, attempt: u32, text: String) -> Self {
        self.0.pop_if(|last| last.attempt == attempt && last.text == text && last.snoozes == 0);
        self.0.push(AttemptError { at: SystemTime::now(), attempt, text, snoozes: 0, first: None });
        self.forget_old();
        self
    }

    /// Adds a snooze, at this moment. Returns the time of the first snooze, if another full day since then has
    /// passed since the last snooze.
    pub(crate) fn with_snooze(mut self, attempt: u32, text: String) -> (Self, Option<SystemTime>) {
        let at = SystemTime::now();
        let known = self.0.iter().position(|error| error.snoozes > 0);
        let known = known.map(|place| self.0.remove(place));
        let snoozes = known.as_ref().map_or(0, |note| note.snoozes).saturating_add(1);
        let first = known.as_ref().and_then(|note| note.first).unwrap_or(at);
        self.0.push(AttemptError { at, attempt, text, snoozes, first: Some(first) });
        let days =
            |at: SystemTime| at.duration_since(first).unwrap_or_default().as_secs() / DAY.as_secs();
        let is_a_day_more = known.is_some_and(|note| days(at) > days(note.at));
        (self, is_a_day_more.then_some(first))
    }

    #[cfg(any(test, feature = "sqlite", feature = "postgres", feature = "redis"))]
    pub(crate) fn json(&self) -> String {
        let rows: Vec<_> = self.0.iter().map(Row::from).collect();
        serde_json::json!(rows).to_string()
    }

    pub(crate) fn errors(&self) -> &[AttemptError] {
        &self.0
    }

    /// Drops the oldest errors, but not the note of the snoozes.
    fn forget_old(&mut self) {
        let errors = self.0.iter().filter(|error| error.snoozes == 0).count();
        let mut surplus = errors.saturating_sub(KEPT_ERRORS);
        self.0.retain(|error| {
            let is_old = surplus > 0 && error.snoozes == 0;
            surplus -= usize::from(is_old);
            !is_old
        });
    }
}

impl From<Row> for AttemptError {
    fn from(row: Row) -> Self {
        let snoozes = row.snoozes.unwrap_or_default();
        let first = row.first.filter(|_| snoozes > 0).map(time_of_millis);
        Self { at: time_of_millis(row.at), attempt: row.attempt, text: row.error, snoozes, first }
    }
}

impl From<&AttemptError> for Row {
    fn from(error: &AttemptError) -> Self {
        Self {
            at: millis_of_time(error.at),
            attempt: error.attempt,
            error: error.text.clone(),
            snoozes: error.first.map(|_| error.snoozes),
            first: error.first.map(millis_of_time),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_last_errors_are_kept_in_their_order() {
        let all = (1..=12).fold(History::default(), |all, n| all.with(n, format!("error {n}")));
        let read = History::read(Some(&all.json()));
        let attempts: Vec<_> = read.errors().iter().map(AttemptError::attempt).collect();
        assert_eq!(attempts, (3..=12).collect::<Vec<_>>());
        assert_eq!(read.errors()[0].text(), "error 3");
        assert!(read.errors()[0].at().elapsed().unwrap() < Duration::from_secs(60));
    }

    #[test]
    fn any_number_of_snoozes_is_one_note_and_pushes_no_error_out() {
        let mut all = (1..=10).fold(History::default(), |all, n| all.with(n, format!("error {n}")));
        for n in 1..=50 {
            all = History::read(Some(&all.with_snooze(10, format!("reason {n}")).0.json()));
        }
        let all = History::read(Some(&all.with(11, "error 11".into()).json()));
        let of = |error: &AttemptError| (error.text().to_owned(), error.snoozes());
        let mut kept: Vec<_> = (2..=10).map(|n| (format!("error {n}"), 0)).collect();
        kept.extend([("reason 50".to_owned(), 50), ("error 11".to_owned(), 0)]);
        assert_eq!(all.errors().iter().map(of).collect::<Vec<_>>(), kept);
    }

    #[test]
    fn an_event_that_has_been_snoozed_for_a_day_is_reported_once_a_day() {
        let ago = |age: Duration| millis_of_time(SystemTime::now() - age);
        let is_told = |first: Duration, last: Duration| {
            let (at, first) = (ago(last), ago(first));
            let note =
                json!({ "at": at, "attempt": 1, "error": "reason", "snoozes": 3, "first": first });
            let rows = json!([note]).to_string();
            History::read(Some(&rows)).with_snooze(1, "reason".into()).1.is_some()
        };
        let minute = Duration::from_secs(60);
        assert!(History::default().with_snooze(1, "reason".into()).1.is_none());
        assert!(!is_told(DAY - minute, 2 * minute));
        assert!(is_told(DAY + minute, 2 * minute));
        assert!(!is_told(DAY + 2 * minute, minute));
        assert!(is_told(2 * DAY + minute, 2 * minute));
    }

    #[test]
    fn a_note_that_repeats_itself_is_kept_once() {
        let all = (0..50).fold(History::default(), |all, _| all.with(3, "stopped".into()));
        assert_eq!(all.errors().len(), 1);
    }

    #[test]
    fn what_is_not_ours_is_none() {
        assert!(History::read(None).errors().is_empty());
        assert!(History::read(Some(r#"{"trace":"1"}"#)).errors().is_empty());
        assert!(History::read(Some(r#"[{"trace":"1"}]"#)).errors().is_empty());
    }
}
