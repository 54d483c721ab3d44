//! The errors of an event's last attempts, in the form that stores keep.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::AttemptError;

/// How many errors of an event are kept: the last 10, and one note of all its snoozes.
///
/// At 2,000 bytes each they are the size of a small page, and what went wrong before them went
/// wrong for the same reason.
pub const KEPT_ERRORS: usize = 10;

/// What the stores note of an event beside the errors of its attempts.
pub(crate) const REQUEUED: &str = "requeued: its attempts are counted from 0 again";
pub(crate) const DISCARDED: &str = "discarded: it was given up";
pub(crate) const LOST: &str = "its worker was lost: it did not renew its lease";

const DAY: Duration = Duration::from_hours(24);

#[derive(Clone, Debug, Default)]
pub(crate) struct History(Vec<AttemptError>);

/// What a store has of an error: milliseconds since the epoch, attempt, text. The note of the snoozes also
/// has how many there were, and the milliseconds of the first.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Row {
    Error(u64, u32, String),
    Snoozes(u64, u32, String, u32, u64),
}

impl History {
    /// Reads what a store has. What is not of this form is somebody else's, and is none.
    pub(crate) fn read(json: Option<&str>) -> Self {
        let rows: Vec<Row> =
            json.and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default();
        let mut history = Self(rows.into_iter().map(AttemptError::from).collect());
        // Stores append notes without removing old ones.
        history.forget_old();
        history
    }

    /// With one more error, at this moment. The same note about the same attempt is kept once.
    pub(crate) fn with(mut self, attempt: u32, text: String) -> Self {
        self.0.pop_if(|last| last.attempt == attempt && last.text == text && last.snoozes == 0);
        self.0.push(AttemptError { at: SystemTime::now(), attempt, text, snoozes: 0, first: None });
        self.forget_old();
        self
    }

    /// With one more snooze, at this moment. Says since when the event has been snoozed, if that is a day
    /// longer than it was at the last snooze.
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

    pub(crate) fn json(&self) -> String {
        let rows = self.0.iter().map(|error| {
            let text = error.text.clone();
            match error.first {
                Some(first) => Row::Snoozes(
                    millis(error.at),
                    error.attempt,
                    text,
                    error.snoozes,
                    millis(first),
                ),
                None => Row::Error(millis(error.at), error.attempt, text),
            }
        });
        serde_json::json!(rows.collect::<Vec<_>>()).to_string()
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
        let time = |millis| SystemTime::UNIX_EPOCH + Duration::from_millis(millis);
        match row {
            Row::Error(at, attempt, text) => {
                Self { at: time(at), attempt, text, snoozes: 0, first: None }
            }
            Row::Snoozes(at, attempt, text, snoozes, first) => {
                Self { at: time(at), attempt, text, snoozes, first: Some(time(first)) }
            }
        }
    }
}

fn millis(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    since.as_millis().try_into().unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
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
        let ago = |age: Duration| millis(SystemTime::now() - age);
        let is_told = |first: Duration, last: Duration| {
            let rows = serde_json::json!([[ago(last), 1, "reason", 3, ago(first)]]).to_string();
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
    }
}
