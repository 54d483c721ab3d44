//! Why a request is refused, and with which status.

use std::{error::Error, fmt, sync::Arc, time::Duration};

use crate::{Diagnosis, EventError, diagnosis::Undiagnosed};

/// How long a sender that was answered 503 is asked to wait: 1 second.
///
/// Places become free all the time, so there is no reason to ask for a longer wait.
pub const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The refusal of a request.
///
/// Neither its [`Display`](fmt::Display) nor its [`Debug`] shows a byte of the request or of the
/// secret, so it may be logged. Its [`source`](Error::source) is the exception: an error type of your
/// own may quote the body. If an [inbox](crate::Accept) failed, the text includes the inbox's error. The
/// sender gets only [`status_code`](Self::status_code), [`retry_after`](Self::retry_after) and
/// [`response_text`](Self::response_text).
///
/// # Example
///
/// ```
/// use number7_core::{RejectionKind, Secret, Verifier};
///
/// let verifier = Verifier::new(Secret::new("a long random secret")?);
/// let forged = Secret::new("another secret")?.sign("{}").to_string();
///
/// let rejection = verifier.verify(forged, "{}").unwrap_err();
/// assert_eq!(rejection.kind(), RejectionKind::SignatureMismatch);
/// assert_eq!(rejection.status_code(), 401);
/// # Ok::<(), number7_core::SecretError>(())
/// ```
#[derive(Clone)]
pub struct Rejection {
    kind: RejectionKind,
    source: Option<Arc<dyn Error + Send + Sync>>,
}

impl Rejection {
    /// An authentic body that [`FromDelivery`](crate::FromDelivery) could not type.
    pub(crate) fn untypable(error: Box<dyn Error + Send + Sync>) -> Self {
        Self::because(RejectionKind::Untypable, error)
    }

    pub(crate) fn because(kind: RejectionKind, error: Box<dyn Error + Send + Sync>) -> Self {
        Self { kind, source: Some(error.into()) }
    }

    /// The kind of this rejection.
    #[must_use]
    pub fn kind(&self) -> RejectionKind {
        self.kind
    }

    /// Why the signature is malformed or does not match, if that was [asked for](crate::Verifier::diagnose)
    /// and the cause is known. It is for the receiver alone: no answer depends on it.
    #[must_use]
    pub fn diagnosis(&self) -> Option<&Diagnosis> {
        self.source.as_deref()?.downcast_ref()
    }

    /// The HTTP status to answer.
    #[must_use]
    pub fn status_code(&self) -> u16 {
        match self.kind {
            RejectionKind::BodyBrokenOff | RejectionKind::Untypable => 400,
            RejectionKind::MissingSignature
            | RejectionKind::RepeatedSignature
            | RejectionKind::MalformedSignature
            | RejectionKind::SignatureMismatch
            | RejectionKind::TooOld => 401,
            RejectionKind::BodyTooSlow => 408,
            RejectionKind::BodyTooLarge => 413,
            RejectionKind::BodyEncoded => 415,
            RejectionKind::MissingMiddleware => 500,
            RejectionKind::TooManyBodies
            | RejectionKind::NotStored
            | RejectionKind::StoredTooSlowly => 503,
        }
    }

    /// What the header `Retry-After` of the answer says, in whole seconds.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        (self.status_code() == 503).then_some(RETRY_AFTER)
    }

    /// The body of the answer: empty, except for [`RejectionKind::MissingMiddleware`], which only a
    /// developer can cause.
    #[must_use]
    pub fn response_text(&self) -> &'static str {
        match self.kind {
            RejectionKind::MissingMiddleware => self.kind.text(),
            _ => "",
        }
    }

    /// The source if it is ours or an inbox's. An error of the user's own type may quote the body.
    fn shown(&self) -> Option<&dyn fmt::Display> {
        let source = self.source.as_deref()?;
        match self.kind {
            RejectionKind::NotStored => Some(source),
            RejectionKind::SignatureMismatch => Some(source.downcast_ref::<Undiagnosed>()?),
            _ => Some(source.downcast_ref::<EventError>()?),
        }
    }
}

impl From<RejectionKind> for Rejection {
    fn from(kind: RejectionKind) -> Self {
        Self { kind, source: None }
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.text())?;
        match self.shown() {
            Some(error) => write!(f, ": {error}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rejection")
            .field("kind", &self.kind)
            .field("because", &self.shown().map(|source| source.to_string()))
            .field("diagnosis", &self.diagnosis())
            .finish_non_exhaustive()
    }
}

impl Error for Rejection {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_ref().map(|source| &**source as &(dyn Error + 'static))
    }
}

/// The kinds of [`Rejection`], in the order in which they are looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RejectionKind {
    /// There is no signature header.
    MissingSignature,
    /// There is more than one signature header.
    RepeatedSignature,
    /// The signature header is not exactly 64 hex digits.
    MalformedSignature,
    /// The body is larger than [`Verifier::body_limit`](crate::Verifier::body_limit), by its
    /// declared length or as it arrived.
    BodyTooLarge,
    /// All [`Verifier::max_held_bodies`](crate::Verifier::max_held_bodies) places are taken.
    TooManyBodies,
    /// The body took longer than [`Verifier::body_deadline`](crate::Verifier::body_deadline).
    BodyTooSlow,
    /// The body ended early: the sender went away, or its framing was broken.
    BodyBrokenOff,
    /// No accepted secret made the signature, or the body was changed on its way.
    SignatureMismatch,
    /// The body is authentic but has a `Content-Encoding`, which is never undone.
    BodyEncoded,
    /// The body is authentic but older than [`Verifier::max_age`](crate::Verifier::max_age), or
    /// has no readable timestamp.
    TooOld,
    /// The body is authentic but is not what the handler asks for; the source says why.
    Untypable,
    /// The [inbox](crate::Accept) could not store the event; the source says why.
    NotStored,
    /// The [inbox](crate::Accept) took longer than its deadline. The event may be stored all the
    /// same, and will then be a duplicate when it is sent again.
    StoredTooSlowly,
    /// The extractor or `AcceptNumber7` stands in an app or route without `VerifyNumber7`.
    MissingMiddleware,
}

impl RejectionKind {
    /// The name of the kind in metrics, such as `signature_mismatch`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::MissingSignature => "missing_signature",
            Self::RepeatedSignature => "repeated_signature",
            Self::MalformedSignature => "malformed_signature",
            Self::BodyTooLarge => "body_too_large",
            Self::TooManyBodies => "too_many_bodies",
            Self::BodyTooSlow => "body_too_slow",
            Self::BodyBrokenOff => "body_broken_off",
            Self::SignatureMismatch => "signature_mismatch",
            Self::BodyEncoded => "body_encoded",
            Self::TooOld => "too_old",
            Self::Untypable => "untypable",
            Self::NotStored => "not_stored",
            Self::StoredTooSlowly => "stored_too_slowly",
            Self::MissingMiddleware => "missing_middleware",
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::MissingSignature => "there is no x-number7ai-signature header",
            Self::RepeatedSignature => "there is more than one x-number7ai-signature header",
            Self::MalformedSignature => "the x-number7ai-signature header is not 64 hex digits",
            Self::BodyTooLarge => "the body is larger than the limit",
            Self::TooManyBodies => "too many unverified bodies are being waited for",
            Self::BodyTooSlow => "the body did not arrive within the deadline",
            Self::BodyBrokenOff => "the body broke off before its end",
            Self::SignatureMismatch => {
                "the signature matches no accepted secret: another secret signed the body, or the \
                 body was changed on its way"
            }
            Self::BodyEncoded => "the body has a content-encoding, which is never undone",
            Self::TooOld => "the event is too old, or has no readable timestamp",
            Self::Untypable => "the body is authentic but not what the handler asks for",
            Self::NotStored => "the event could not be stored",
            Self::StoredTooSlowly => "the event was not stored within the deadline",
            Self::MissingMiddleware => {
                "no verified delivery was found: put VerifyNumber7 in front of \
                 this handler, by .layer(VerifyNumber7::new(secret)) in axum or \
                 .wrap(VerifyNumber7::new(secret)) in actix-web"
            }
        }
    }
}
