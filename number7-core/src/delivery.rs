//! A body whose sender is known.

use std::{fmt, sync::Arc};

use bytes::Bytes;

use crate::{
    Account, Event, EventError, IdempotencyKey, JobId, Rejection, RejectionKind, Signature,
    Subject, Timestamp,
    byte_order_mark::without_mark,
    event::{Fields, text},
    named_secret::Signer,
    trace_context::Traced,
};

#[cfg(feature = "trace-context")]
use crate::TraceContext;

/// A body that one of the accepted secrets signed.
///
/// Only [`Verifier::verify`](crate::Verifier::verify), [`Intake::finish`](crate::Intake::finish) and
/// [`Intake::conclude`](crate::Intake::conclude) make one, so holding it proves that the bytes are authentic. It
/// does not prove that they are an event: call [`event`](Self::event) for that. It is cheap to clone, and its
/// [`Debug`] does not show the body.
///
/// # Example
///
/// ```
/// use number7_core::{Event, Secret, Verifier};
///
/// let secret = Secret::new("a long random secret")?;
/// let body = r#"{"event":"job.completed","jobId":"job_abc123","fileStatus":"done",
///     "documentType":"invoice","timestamp":"2026-04-22T10:00:00.000Z"}"#;
/// let signature = secret.sign(body).to_string();
/// let verifier = Verifier::new(secret);
///
/// let delivery = verifier.verify(&signature, body)?;
/// let Event::JobCompleted(job) = delivery.event()? else { panic!("another event") };
/// assert_eq!(job.job_id.as_str(), "job_abc123");
///
/// // A body that does not verify never becomes a delivery.
/// assert!(verifier.verify(&signature, "{}").is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
#[must_use = "an event that is dropped is lost, if the answer is 200"]
pub struct Delivery {
    body: Bytes,
    signer: Arc<Signer>,
    signature: Signature,
    trace: Traced,
}

impl Delivery {
    pub(crate) fn new(
        body: Bytes,
        signer: Arc<Signer>,
        signature: Signature,
        trace: Traced,
    ) -> Self {
        Self { body, signer, signature, trace }
    }

    /// The bytes that were signed, exactly as they arrived.
    #[must_use]
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// The JSON: the body without the byte order mark that some programs write in front of it. [`event`](Self::event) skips the
    /// mark too, but other JSON parsers may refuse it.
    #[must_use]
    pub fn json(&self) -> &[u8] {
        without_mark(&self.body)
    }

    pub(crate) fn traced(&self) -> Traced {
        self.trace.clone()
    }

    /// The trace context that came with the request, if its `traceparent` is valid. Nobody signed it.
    #[cfg(feature = "trace-context")]
    #[must_use]
    pub fn trace_context(&self) -> Option<&TraceContext> {
        self.trace.as_deref()
    }

    pub(crate) fn signer(&self) -> &Arc<Signer> {
        &self.signer
    }

    /// The name of the secret that signed, as it was given to the
    /// [`Verifier`](crate::Verifier#rotation).
    #[must_use]
    pub fn signed_by(&self) -> &str {
        &self.signer.name
    }

    /// The account that its verifier was [looked up](crate::Accounts) for. `None` if the receiver has a single account.
    #[must_use]
    pub fn account(&self) -> Option<&Account> {
        self.signer.account.as_ref()
    }

    /// A refusal of this delivery, such as [`StoredTooSlowly`](RejectionKind::StoredTooSlowly). It names the
    /// account. For adapters.
    #[must_use]
    pub fn refused(&self, kind: RejectionKind) -> Rejection {
        Rejection::from(kind).of_any(self.account())
    }

    /// The signature that the sender sent.
    ///
    /// Keep it with the [body](Self::body), and you can verify the stored bytes again: to prove later what was signed, or to
    /// find out what a leaked secret has signed. A verifier with only that secret returns the delivery again:
    ///
    /// ```
    /// # use number7_core::{Secret, Signature, Verifier};
    /// # let body = "{}";
    /// # let secret = Secret::new("a long random secret")?;
    /// # let stored_signature = secret.sign(body).to_string();
    /// let is_authentic = Verifier::new(secret).verify(stored_signature, body).is_ok();
    /// # assert!(is_authentic);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// Somebody who has both can send them to you again, so store a signature as safely as a body.
    #[must_use]
    pub fn signature(&self) -> &Signature {
        &self.signature
    }

    /// Types the body.
    ///
    /// # Errors
    ///
    /// The body is not a JSON object in UTF-8, names no event, repeats a field that this version knows, or
    /// is a known event with a missing or wrongly typed field. Unknown events, fields, document types and
    /// statuses are not errors.
    pub fn event(&self) -> Result<Event, EventError> {
        Event::from_json(&self.body)
    }

    /// The key that all deliveries of one event share. It consists of the event's name and its job, and of the
    /// [account](Self::account) if there is one.
    ///
    /// # Errors
    ///
    /// The body is not a JSON object, or `event` or `jobId` is missing, repeated, empty or not a string. (If it names an event,
    /// a [`Record`](crate::Record) uses a hash of the body as its key instead.) Nothing else is checked, so an event that
    /// [`event`](Self::event) cannot type still has a key. Conversely, an unknown event without a job is an [`Event::Unknown`]
    /// without a key. It is authentic, so do not refuse it for that.
    pub fn idempotency_key(&self) -> Result<IdempotencyKey, EventError> {
        let subject = Subject::of_json(&self.body)?;
        let job_id = JobId::from(subject.job_id?);
        Ok(IdempotencyKey::new(self.account().cloned(), subject.event.into(), job_id))
    }

    /// The signed timestamp of any event.
    pub(crate) fn timestamp(&self) -> Result<Timestamp, EventError> {
        Fields::read(text(&self.body)?)?.take_timestamp()
    }
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery")
            .field("bytes", &self.body.len())
            .field("signed_by", &self.signed_by())
            .finish_non_exhaustive()
    }
}
