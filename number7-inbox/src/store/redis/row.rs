//! What the scripts return of an event.

use std::mem;

use redis::{FromRedisValue, ParsingError, Value, from_redis_value};
use serde::{Deserialize, Serialize};

use super::super::{NewEvent, time_of_millis};
use crate::model::{
    claim::{Claim, EventId, Number},
    entry::{Entry, State},
    event::{Origin, StoredEvent},
    history::History,
};

/// An event: its record, its payload, its errors, and when its worker was last heard of.
pub(super) struct Row {
    record: String,
    payload: Option<Vec<u8>>,
    errors: Option<String>,
    seen: Option<i64>,
}

impl FromRedisValue for Row {
    fn from_redis_value(value: Value) -> Result<Self, ParsingError> {
        let (record, payload, errors, seen) = from_redis_value(value)?;
        Ok(Self { record, payload, errors, seen })
    }
}

impl Row {
    pub(super) fn payload(self) -> Vec<u8> {
        self.payload.unwrap_or_default()
    }

    /// The claim of an event. Nothing if its record is damaged.
    pub(super) fn claim(&mut self, event: &str, is_quarantined: bool) -> Option<Claim> {
        let record = self.record()?;
        Some(Claim {
            event: EventId(event.parse().ok()?),
            number: record.number(),
            runs: record.runs,
            key: record.key,
            stored: StoredEvent::new(mem::take(&mut self.payload).unwrap_or_default()),
            history: History::read(self.errors.as_deref()),
            origin: Origin::read(record.origin.as_deref()),
            accepted_at: time_of_millis(record.accepted_at),
            is_quarantined,
        })
    }

    /// What is shown of an event. Nothing if its record is damaged.
    pub(super) fn entry(self, place: String, state: State) -> Option<Entry> {
        let record = self.record()?;
        let since = match state {
            State::Running => record.claimed_at,
            State::Done | State::Dead => record.finished_at,
            _ => Some(record.due_at),
        };
        Some(Entry {
            place,
            attempts: record.number().counted(),
            runs: record.runs,
            key: record.key,
            event: record.event,
            job: record.job,
            stored: self.payload.map(StoredEvent::new),
            origin: Origin::read(record.origin.as_deref()),
            state,
            since: time_of_millis(since.unwrap_or_default()),
            accepted_at: time_of_millis(record.accepted_at),
            worker_seen: self.seen.map(time_of_millis),
            history: History::read(self.errors.as_deref()),
        })
    }

    fn record(&self) -> Option<Record> {
        serde_json::from_str(&self.record).ok()
    }
}

/// What is read of a record. It begins with what changes; see events.lua.
#[derive(Deserialize)]
struct Record {
    attempt: u32,
    uncounted: u32,
    runs: u32,
    due_at: i64,
    claimed_at: Option<i64>,
    finished_at: Option<i64>,
    key: String,
    #[serde(default)]
    event: String,
    job: Option<String>,
    origin: Option<String>,
    #[serde(default)]
    accepted_at: i64,
}

impl Record {
    fn number(&self) -> Number {
        Number { of_all: self.attempt, uncounted: self.uncounted }
    }
}

/// What does not change of a record, but for the time of acceptance. The receipt is that of the call which stores it.
pub(super) fn fixed_part(event: &NewEvent, receipt: Option<&str>) -> String {
    /// In this order, which events.lua expects.
    #[derive(Serialize)]
    struct Fixed<'a> {
        key: &'a str,
        event: &'a str,
        job: Option<&'a str>,
        origin: &'a str,
        receipt: Option<&'a str>,
    }
    let NewEvent { key, event: name, job, origin, .. } = event;
    let (job, origin) = (job.as_deref(), origin.name());
    // Texts can always be written.
    serde_json::to_string(&Fixed { key, event: name, job, origin, receipt }).unwrap_or_default()
}
