//! Reads what an event is about from its JSON, as leniently as possible.

use std::{borrow::Cow, fmt};

use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::{
    EventError, EventErrorKind,
    event::{Lossy, text},
};

/// Which event of which job: the name of an event and, if it has one, its job.
///
/// It is read from JSON that was accepted before, such as the records of an inbox. It does not prove that the JSON was signed.
///
/// # Example
///
/// ```
/// use number7_core::Subject;
///
/// let subject = Subject::of_json(br#"{"event":"job.failed","jobId":"job_1","error":7}"#)?;
/// assert_eq!(subject.event(), "job.failed");
/// assert_eq!(subject.job_id(), Some("job_1"));
/// # Ok::<(), number7_core::EventError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject<'a> {
    pub(crate) event: Cow<'a, str>,
    /// The job if it is given once as a string, or else the error.
    pub(crate) job_id: Result<Cow<'a, str>, EventError>,
}

impl<'a> Subject<'a> {
    /// Reads the JSON of an event. Only its name and its job must have the right type: the worker judges everything else.
    ///
    /// # Errors
    ///
    /// It is not a JSON object, or has no `event` that is a string.
    pub fn of_json(json: &'a [u8]) -> Result<Self, EventError> {
        let mut json = serde_json::Deserializer::from_str(text(json)?);
        let found = json.deserialize_map(SubjectVisitor).map_err(EventError::not_json)?;
        json.end().map_err(EventError::not_json)?;
        let named = |kind| EventError::in_field(kind, "event");
        let event = found.event.first().ok_or_else(|| named(EventErrorKind::MissingField))?;
        let Lossy(name) =
            serde_json::from_str(event.get()).map_err(|_| named(EventErrorKind::WrongType))?;
        let job_id = one(&found.event, "event").and_then(|_| one(&found.job_id, "jobId"));
        Ok(Self { event: name, job_id })
    }

    /// The name of the event, such as `job.completed`.
    #[must_use]
    pub fn event(&self) -> &str {
        &self.event
    }

    /// The id of the job that the event is about. `None` unless `event` and `jobId` each occur exactly once, as a
    /// string that is not empty.
    #[must_use]
    pub fn job_id(&self) -> Option<&str> {
        self.job_id.as_deref().ok()
    }
}

/// The only value. A repeated, empty or lossily read value is not a key, because another value might read the same.
fn one<'a>(found: &[&'a RawValue], field: &'static str) -> Result<Cow<'a, str>, EventError> {
    let kind = match found {
        [] => EventErrorKind::MissingField,
        [json] => match exact(json) {
            Some(text) if !text.is_empty() => return Ok(text),
            Some(_) => EventErrorKind::EmptyField,
            None => EventErrorKind::WrongType,
        },
        _ => EventErrorKind::RepeatedField,
    };
    Err(EventError::in_field(kind, field))
}

fn exact(json: &RawValue) -> Option<Cow<'_, str>> {
    // Borrows it if it has no escapes. `Cow` alone would always own it.
    match serde_json::from_str::<&str>(json.get()) {
        Ok(text) => Some(text.into()),
        Err(_) => serde_json::from_str::<String>(json.get()).ok().map(Cow::from),
    }
}

#[derive(Default)]
struct Found<'a> {
    event: Vec<&'a RawValue>,
    job_id: Vec<&'a RawValue>,
}

struct SubjectVisitor;

impl<'de> Visitor<'de> for SubjectVisitor {
    type Value = Found<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = Found::default();
        while let Some(Lossy(name)) = map.next_key()? {
            let value = map.next_value()?;
            match &*name {
                "event" => found.event.push(value),
                "jobId" => found.job_id.push(value),
                _ => {}
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(json: &str) -> Option<(String, Option<String>)> {
        let subject = Subject::of_json(json.as_bytes()).ok()?;
        Some((subject.event().to_owned(), subject.job_id().map(str::to_owned)))
    }

    #[test]
    #[cfg_attr(miri, ignore = "it takes minutes")]
    fn what_typing_would_refuse_still_has_a_name_and_a_job() {
        let found = Some(("job.completed".to_owned(), Some("job_1".to_owned())));
        for rest in [
            "",
            r#","documentType":null"#,
            r#","timestamp":1e999"#,
            r#","documentType":"\ud800""#,
            r#","\ud800":1,"\ud800":2"#,
            r#","note":1,"note":2"#,
            &format!(r#","deep":{}1{}"#, "[".repeat(20_000), "]".repeat(20_000)),
        ] {
            let json = format!(r#"{{"event":"job.completed","jobId":"job_1"{rest}}}"#);
            assert_eq!(subject(&json), found, "{rest:.80}");
        }
    }

    #[test]
    fn what_names_no_job_has_none() {
        let found = Some(("job.completed".to_owned(), None));
        for rest in [
            "",
            r#","jobId":7"#,
            r#","jobId":null"#,
            r#","jobId":"a","jobId":"a""#,
            r#","jobId":"\ud800""#,
            r#","jobId":"""#,
        ] {
            assert_eq!(subject(&format!(r#"{{"event":"job.completed"{rest}}}"#)), found, "{rest}");
        }
        let twice = r#"{"event":"job.completed","event":"job.failed","jobId":"job_1"}"#;
        assert_eq!(subject(twice), found);
        let lossy = Some(("job.\u{fffd}\u{fffd}\u{fffd}".to_owned(), None));
        assert_eq!(subject(r#"{"event":"job.\ud800","jobId":"job_1"}"#), lossy);
    }

    #[test]
    fn the_error_says_why_there_is_no_job() {
        for (rest, kind) in [
            ("", EventErrorKind::MissingField),
            (r#","jobId":"""#, EventErrorKind::EmptyField),
            (r#","jobId":7"#, EventErrorKind::WrongType),
            (r#","jobId":"a","jobId":"a""#, EventErrorKind::RepeatedField),
        ] {
            let json = format!(r#"{{"event":"job.completed"{rest}}}"#);
            let error = Subject::of_json(json.as_bytes()).unwrap().job_id.unwrap_err();
            assert_eq!((error.kind(), error.field()), (kind, Some("jobId")), "{json}");
        }
        assert_eq!(Subject::of_json(b"[]").unwrap_err().kind(), EventErrorKind::NotAnObject);
    }

    #[test]
    fn what_names_no_event_is_refused() {
        for json in [
            "",
            "null",
            "[]",
            "7",
            r#""event""#,
            "{}",
            r#"{"event":7}"#,
            r#"{"event":null}"#,
            r#"{"event":"job.completed""#,
            r#"{"event":"job.completed"} {}"#,
            r#"{"jobId":"job_1"}"#,
            r#"{"event":"job.completed","x":tru}"#,
        ] {
            assert_eq!(subject(json), None, "{json}");
        }
    }
}
