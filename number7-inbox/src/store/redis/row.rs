//! Events, as the scripts return them.

use std::{borrow::Cow, mem};

use number7_core::Signature;
use redis::{FromRedisValue, ParsingError, Value, from_redis_value};
use serde::{Deserialize, Serialize};

use super::super::{NewEvent, Signer};
use crate::model::{
    claim::{Claim, EventId, Number},
    conflict::Conflict,
    entry::{Entry, State},
    event::{Origin, StoredEvent},
    history::History,
    time::time_of_millis,
    trace::Trace,
};

/// An event: its record, its payload, its errors, the last heartbeat of its worker, and the other body that was signed for it.
pub(super) struct Row {
    record: String,
    payload: Option<Vec<u8>>,
    errors: Option<String>,
    seen: Option<i64>,
    conflict: Option<String>,
}

impl FromRedisValue for Row {
    fn from_redis_value(value: Value) -> Result<Self, ParsingError> {
        let (record, payload, errors, seen, conflict) = from_redis_value(value)?;
        Ok(Self { record, payload, errors, seen, conflict })
    }
}

impl Row {
    pub(super) fn payload(self) -> Vec<u8> {
        self.payload.unwrap_or_default()
    }

    /// The claim of an event. `None` if its record is damaged.
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
            signed_by: record.signed_by,
            trace: Trace::read(record.traceparent, record.tracestate),
            accepted_at: time_of_millis(record.accepted_at),
            is_quarantined,
        })
    }

    /// The event as an operator sees it. `None` if its record is damaged.
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
            signed_by: record.signed_by,
            signature: record.signature.and_then(|signature| Signature::parse(signature).ok()),
            trace: Trace::read(record.traceparent, record.tracestate),
            conflict: self.conflict.as_deref().and_then(read_conflict),
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

/// A record. It begins with what changes; see events.lua.
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
    signed_by: Option<String>,
    signature: Option<String>,
    traceparent: Option<String>,
    tracestate: Option<String>,
    #[serde(default)]
    accepted_at: i64,
}

impl Record {
    fn number(&self) -> Number {
        Number { of_all: self.attempt, uncounted: self.uncounted }
    }
}

/// The key of an event, from its record. `None` if that is damaged.
pub(super) fn key_of(record: &[u8]) -> Option<String> {
    serde_json::from_slice(record).ok().map(|record: Record| record.key)
}

/// What does not change of a record, except for the time of acceptance. The receipt is that of the call that stores it.
pub(super) fn fixed_part(event: &NewEvent, receipt: Option<&str>) -> String {
    /// In the order that events.lua expects.
    #[derive(Serialize)]
    struct Fixed<'a> {
        key: &'a str,
        event: &'a str,
        job: Option<&'a str>,
        origin: &'a str,
        signed_by: Option<&'a str>,
        signature: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        traceparent: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        tracestate: Option<&'a str>,
        receipt: Option<&'a str>,
    }
    let (signer, trace) = (event.signer.as_ref(), event.trace.as_ref());
    let fixed = Fixed {
        key: &event.key,
        event: &event.event,
        job: event.job.as_deref(),
        origin: event.origin().name(),
        signed_by: signer.map(|signer| &*signer.name),
        signature: signer.map(|signer| signer.signature.to_string()),
        traceparent: trace.map(|trace| &*trace.parent),
        tracestate: trace.map(|trace| &*trace.state),
        receipt,
    };
    // Strings can always be written.
    serde_json::to_string(&fixed).unwrap_or_default()
}

/// Another body that was signed for an event later, as Redis has it.
#[derive(Serialize, Deserialize)]
struct Later<'a> {
    payload: Cow<'a, str>,
    signed_by: Cow<'a, str>,
    signature: Cow<'a, str>,
    /// A script writes it.
    #[serde(skip_serializing)]
    accepted_at: i64,
}

/// What is kept of a conflict, except for its time.
pub(super) fn later(json: &[u8], signer: &Signer) -> String {
    let later = Later {
        // It is UTF-8: a body of other bytes has no key.
        payload: String::from_utf8_lossy(json),
        signed_by: Cow::from(&signer.name),
        signature: Cow::from(signer.signature.to_string()),
        accepted_at: 0,
    };
    serde_json::to_string(&later).unwrap_or_default()
}

fn read_conflict(later: &str) -> Option<Conflict> {
    let later: Later<'_> = serde_json::from_str(later).ok()?;
    Some(Conflict {
        stored: StoredEvent::new(later.payload.into_owned().into_bytes()),
        signed_by: later.signed_by.into_owned(),
        signature: Signature::parse(&*later.signature).ok(),
        accepted_at: time_of_millis(later.accepted_at),
    })
}
