//! What an inbox stores of a delivery.

use std::{
    fmt::{self, Write},
    sync::Arc,
};

use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::{
    Account, Delivery, EventError, Signature, Subject, byte_order_mark::without_mark,
    idempotency_key, named_secret::Signer, trace_context::Traced,
};

#[cfg(feature = "trace-context")]
use crate::TraceContext;

/// How long a [`Record::key`] can be: 255 bytes.
///
/// Keys are indexed, and indices have limits: 2,704 bytes in PostgreSQL, 2,048 in DynamoDB, and 767 in MySQL's older row
/// formats, which is 255 characters of three bytes.
pub const MAX_KEY_LENGTH: usize = 255;

/// A verified event for an [inbox](crate::Accept): its key and its signed JSON.
///
/// It is made only from a [`Delivery`], so holding one proves that the event is authentic. It does not prove that this version
/// can parse it: an event with a name is stored as it is, and the worker parses it.
///
/// # Example
///
/// ```
/// use number7_core::{Record, Secret, Verifier};
///
/// let secret = Secret::new("a long random secret")?;
/// let deliver = |body: &'static str| {
///     Verifier::new(secret.clone()).verify(secret.sign(body).to_string(), body)
/// };
///
/// let record = Record::of(&deliver(r#"{"event":"job.completed","jobId":"job_1"}"#)?)?;
/// assert_eq!(record.key(), "job.completed:job_1");
///
/// // It is about no job, so its bytes make the key: a retry that repeats them is known.
/// let record = Record::of(&deliver(r#"{"event":"account.closed"}"#)?)?;
/// assert!(record.key().starts_with("account.closed%sha256="));
///
/// // Authentic, but not an event: a worker could do nothing with it.
/// assert!(Record::of(&deliver("{}")?).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Record {
    key: String,
    json: Bytes,
    signer: Arc<Signer>,
    signature: Signature,
    trace: Traced,
}

impl Record {
    /// Reads the key of a delivery.
    ///
    /// # Errors
    ///
    /// The body is not a JSON object, or has no `event` that is a string. The worker judges everything else, so that a strict
    /// parser never loses an event.
    pub fn of(delivery: &Delivery) -> Result<Self, EventError> {
        Ok(Self::keyed(Self::key_of_account(delivery.account(), delivery.body())?, delivery))
    }

    /// A record of this delivery alone. Its key is the event's name and the SHA-256 of the body, even if it is about a job.
    ///
    /// Use it for a delivery that an inbox calls a [conflict](crate::Acceptance::Conflict). With this key, it is an event of
    /// its own, and a retry of it is a duplicate.
    ///
    /// # Errors
    ///
    /// Those of [`of`](Self::of).
    pub fn keyed_by_bytes(delivery: &Delivery) -> Result<Self, EventError> {
        let (account, json) = (delivery.account(), delivery.body());
        let key = key_of_bytes(Subject::of_json(json)?.event(), json);
        Ok(Self::keyed(storable(account, key), delivery))
    }

    fn keyed(key: String, delivery: &Delivery) -> Self {
        let (json, signature) = (delivery.body().clone(), *delivery.signature());
        let (signer, trace) = (Arc::clone(delivery.signer()), delivery.traced());
        Self { key, json, signer, signature, trace }
    }

    /// The [key](Self::key) that a record of this JSON would have. It does not prove that the JSON was signed. For tools that
    /// find an event without its key.
    ///
    /// # Errors
    ///
    /// Those of [`of`](Self::of).
    pub fn key_of(json: &[u8]) -> Result<String, EventError> {
        Self::key_of_account(None, json)
    }

    /// [`key_of`](Self::key_of) for an event of an account.
    ///
    /// # Errors
    ///
    /// Those of [`of`](Self::of).
    pub fn key_of_account(account: Option<&Account>, json: &[u8]) -> Result<String, EventError> {
        let subject = Subject::of_json(json)?;
        Ok(match subject.job_id() {
            Some(job_id) => Self::key_of_job(account, subject.event(), job_id),
            None => storable(account, key_of_bytes(subject.event(), json)),
        })
    }

    /// The [key](Self::key) that an event of a job has.
    #[must_use]
    pub fn key_of_job(account: Option<&Account>, event: &str, job_id: &str) -> String {
        let mut key = String::new();
        _ = idempotency_key::write(&mut key, None, event, job_id);
        storable(account, key)
    }

    /// The name of the account in front of a [key](Self::key).
    #[must_use]
    pub fn account_of(key: &str) -> Option<&str> {
        key.split_once('/').map(|(account, _)| account).filter(|account| Account::is_name(account))
    }

    /// The key that all deliveries of one event share.
    ///
    /// It is the text of the [`IdempotencyKey`](crate::IdempotencyKey), `job.completed:job_abc123`. Without a
    /// [`Subject::job_id`](crate::Subject::job_id), it is instead the event's name and the SHA-256 of the body (without a byte
    /// order mark in front). A key that is longer than [`MAX_KEY_LENGTH`] or has control characters is replaced by its SHA-256.
    /// Keys of these three forms never coincide.
    ///
    /// The key of an [account's](Delivery::account) event has the account's name in front, `acme/job.completed:job_abc123`, so
    /// two accounts never share a key.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The bytes that were signed: a JSON object in UTF-8, perhaps with a byte order mark in front.
    #[must_use]
    pub fn json(&self) -> &Bytes {
        &self.json
    }

    /// The name of the secret that signed them; see [`Delivery::signed_by`].
    #[must_use]
    pub fn signed_by(&self) -> &str {
        &self.signer.name
    }

    /// The account that it was accepted for; see [`Delivery::account`].
    #[must_use]
    pub fn account(&self) -> Option<&Account> {
        self.signer.account.as_ref()
    }

    /// The signature of these bytes; see [`Delivery::signature`].
    #[must_use]
    pub fn signature(&self) -> &Signature {
        &self.signature
    }

    /// The trace context that came with the request; see [`Delivery::trace_context`].
    #[cfg(feature = "trace-context")]
    #[must_use]
    pub fn trace_context(&self) -> Option<&TraceContext> {
        self.trace.as_deref()
    }
}

/// A key of the event's name and its bytes, without a byte order mark.
fn key_of_bytes(event: &str, json: &[u8]) -> String {
    let mut key = String::new();
    _ = idempotency_key::write_name(&mut key, event)
        .and_then(|()| write!(key, "%sha256={:x}", Hex(without_mark(json))));
    key
}

/// A key that fits into every index: the key or its hash, after the account.
fn storable(account: Option<&Account>, key: String) -> String {
    let before = account.map_or(0, |account| account.as_str().len() + 1);
    let key = match before + key.len() > MAX_KEY_LENGTH || key.contains(char::is_control) {
        true => format!("%sha256:{:x}", Hex(key.as_bytes())),
        false => key,
    };
    match account {
        Some(account) => format!("{account}/{key}"),
        None => key,
    }
}

/// Shows neither the key nor the JSON, because both are the sender's data.
impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record").field("bytes", &self.json.len()).finish_non_exhaustive()
    }
}

/// The SHA-256 of bytes, in hex.
struct Hex<'a>(&'a [u8]);

impl fmt::LowerHex for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Sha256::digest(self.0).iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivery(json: &str) -> Delivery {
        let body = Bytes::copy_from_slice(json.as_bytes());
        let signer = Arc::new(Signer { name: "test".into(), account: None });
        Delivery::new(body, signer, Signature::from_bytes([7; 32]), Traced::default())
    }

    fn key(json: &str) -> String {
        Record::of(&delivery(json)).unwrap().key
    }

    fn key_of_job(job: &str) -> String {
        key(&format!(r#"{{"event":"job.completed","jobId":"{job}"}}"#))
    }

    #[test]
    fn the_key_of_a_job_is_the_idempotency_key() {
        let json = r#"{"event":"a:b%","jobId":"job:1%"}"#;
        let delivery = delivery(json);
        assert_eq!(key(json), delivery.idempotency_key().unwrap().to_string());
        assert_eq!(key(json), "a%3Ab%25:job:1%");
    }

    #[test]
    fn debug_shows_neither_key_nor_json() {
        let json = r#"{"event":"a","jobId":"b"}"#;
        let record = Record::of(&delivery(json)).unwrap();
        assert_eq!(format!("{record:?}"), "Record { bytes: 25, .. }");
    }

    #[test]
    fn without_a_job_the_bytes_are_the_key() {
        let json = r#"{"event":"a"}"#;
        assert_eq!(
            key(json),
            "a%sha256=807703e0d5637b7e10ad781b20b1045bcc13eaccda7039261971145d1b1a8502"
        );
        assert_eq!(key(json), key(json));
        assert_ne!(key(json), key(r#"{"event": "a"}"#));
    }

    #[test]
    fn a_record_by_its_bytes_is_told_apart_from_others_of_its_job() {
        let by_bytes = |json| Record::keyed_by_bytes(&delivery(json)).unwrap().key;
        let (one, other) = (r#"{"event":"a","jobId":"b"}"#, r#"{"event":"a", "jobId":"b"}"#);
        assert_eq!(key(one), key(other));
        assert_ne!(by_bytes(one), by_bytes(other));
        assert_eq!(by_bytes(one), by_bytes(one));
        assert!(by_bytes(one).starts_with("a%sha256="));
        // Without a job, this is the key in any case.
        assert_eq!(by_bytes(r#"{"event":"a"}"#), key(r#"{"event":"a"}"#));
    }

    #[test]
    fn a_byte_order_mark_changes_no_key_and_stays_in_the_bytes() {
        for json in [r#"{"event":"a"}"#, r#"{"event":"a","jobId":"b"}"#] {
            let marked = format!("\u{feff}{json}");
            assert_eq!(key(&marked), key(json));
            assert_eq!(Record::of(&delivery(&marked)).unwrap().json(), &marked);
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "it takes minutes")]
    fn no_key_is_too_long_or_unfit_for_a_database() {
        let fits = "j".repeat(MAX_KEY_LENGTH - "job.completed:".len());
        assert_eq!(key_of_job(&fits), format!("job.completed:{fits}"));
        for job in [format!("{fits}j"), r"job\u0000".into(), r"job\n".into(), "j".repeat(60_000)] {
            let key = key_of_job(&job);
            assert!(key.starts_with("%sha256:") && key.len() == 72, "{key}");
        }
        assert_ne!(key_of_job(&format!("{fits}j")), key_of_job(&format!("{fits}k")));
    }
}
