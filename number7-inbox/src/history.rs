//! The errors of an event's last attempts, in the form that stores keep.

use std::time::{Duration, SystemTime};

use crate::AttemptError;

/// How many errors of an event are kept: the last 10.
///
/// At 2,000 bytes each they are the size of a small page, and what went wrong before them went
/// wrong for the same reason.
pub const KEPT_ERRORS: usize = 10;

/// What the stores note of an event beside the errors of its attempts.
pub(crate) const REQUEUED: &str = "requeued: its attempts are counted from 0 again";
pub(crate) const DISCARDED: &str = "discarded: it was given up";
pub(crate) const LOST: &str = "its worker was lost: it did not renew its lease";

#[derive(Clone, Debug, Default)]
pub(crate) struct History(Vec<AttemptError>);

/// A row: milliseconds since the epoch, attempt, text.
type Row = (u64, u32, String);

impl History {
    /// Reads what a store has. What is not of this form is somebody else's, and is none.
    pub(crate) fn read(json: Option<&str>) -> Self {
        let mut rows: Vec<Row> =
            json.and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default();
        // Stores append notes without removing old ones.
        rows.drain(..rows.len().saturating_sub(KEPT_ERRORS));
        let error = |(millis, attempt, text)| {
            let at = SystemTime::UNIX_EPOCH + Duration::from_millis(millis);
            AttemptError { at, attempt, text }
        };
        Self(rows.into_iter().map(error).collect())
    }

    /// With one more, at this moment.
    pub(crate) fn with(mut self, attempt: u32, text: String) -> Self {
        let surplus = (self.0.len() + 1).saturating_sub(KEPT_ERRORS);
        self.0.drain(..surplus);
        self.0.push(AttemptError { at: SystemTime::now(), attempt, text });
        self
    }

    pub(crate) fn json(&self) -> String {
        let row = |error: &AttemptError| {
            let millis = error.at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            serde_json::json!([millis.as_millis(), error.attempt, error.text])
        };
        self.0.iter().map(row).collect::<serde_json::Value>().to_string()
    }

    pub(crate) fn errors(&self) -> &[AttemptError] {
        &self.0
    }
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
    fn what_is_not_ours_is_none() {
        assert!(History::read(None).errors().is_empty());
        assert!(History::read(Some(r#"{"trace":"1"}"#)).errors().is_empty());
    }
}
