//! Why a request is refused, and with which status.

use std::{error::Error, fmt, io, sync::Arc, time::Duration};

use crate::{
    Account, Diagnosis, EventError,
    diagnosis::{self, Undiagnosed},
};

/// How long a sender that was answered 503 is asked to wait: 1 second.
///
/// Places become free all the time, so there is no reason to ask for a longer wait.
pub const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The refusal of a request.
///
/// Neither its [`Display`](fmt::Display) nor its [`Debug`] shows a byte of the request or of the
/// secret, so it may be logged. Its [`source`](Error::source) is the exception: an error type of your
/// own may quote the body. [`log_text`](Self::log_text) has the causes that may be logged. The sender gets
/// only [`status_code`](Self::status_code), [`retry_after`](Self::retry_after) and
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
    account: Option<Account>,
    source: Option<Arc<dyn Error + Send + Sync>>,
}

impl Rejection {
    pub(crate) fn with_source(self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { source: Some(source.into().into()), ..self }
    }

    pub(crate) fn of(self, account: &Account) -> Self {
        self.of_any(Some(account))
    }

    pub(crate) fn of_any(self, account: Option<&Account>) -> Self {
        Self { account: account.cloned(), ..self }
    }

    /// The kind of this rejection.
    #[must_use]
    pub fn kind(&self) -> RejectionKind {
        self.kind
    }

    /// The account that the request was for, if it is known.
    #[must_use]
    pub fn account(&self) -> Option<&Account> {
        self.account.as_ref()
    }

    /// Why the signature is malformed or does not match, if `Verifier::diagnose` was called, which needs the feature
    /// `diagnosis`, and the cause is known. It is for the receiver alone: no answer depends on it.
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
            | RejectionKind::MissingAccount
            | RejectionKind::MalformedAccount
            | RejectionKind::UnknownAccount
            | RejectionKind::TooOld => 401,
            RejectionKind::BodyTooSlow => 408,
            RejectionKind::BodyTooLarge => 413,
            RejectionKind::BodyEncoded => 415,
            RejectionKind::MissingMiddleware => 500,
            RejectionKind::TooManyLookups
            | RejectionKind::LookupFailed
            | RejectionKind::LookupTooSlow
            | RejectionKind::TooManyBodies
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

    /// The text for a log: what [`Display`](fmt::Display) writes, and behind it the cause, with its own
    /// causes, if it comes from this crate, from an [inbox](crate::Accept) or from a [lookup](crate::Accounts). Another error
    /// of your own type may quote the body, and is left out.
    #[must_use]
    pub fn log_text(&self) -> String {
        let mut text = self.to_string();
        let mut cause = self.loggable();
        while let Some(error) = cause {
            let more = error.to_string();
            // Some errors write their cause themselves.
            if !text.ends_with(&more) {
                text = text + ": " + &more;
            }
            cause = error.source();
        }
        text
    }

    /// The source if it is ours or an inbox's.
    fn loggable(&self) -> Option<&(dyn Error + 'static)> {
        let source = self.source()?;
        let is_ours = matches!(self.kind, RejectionKind::NotStored | RejectionKind::LookupFailed);
        (is_ours || source.is::<EventError>()).then_some(source)
    }

    /// Why no cause of a mismatch was found. It did not cause the rejection, so it is part of its text.
    fn undiagnosed(&self) -> Option<Undiagnosed> {
        self.source.as_deref()?.downcast_ref().copied()
    }
}

impl From<RejectionKind> for Rejection {
    fn from(kind: RejectionKind) -> Self {
        Self { kind, account: None, source: None }
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.text())?;
        match (self.kind, &self.source, self.undiagnosed()) {
            (_, _, Some(undiagnosed)) => write!(f, ": {undiagnosed}"),
            (RejectionKind::SignatureMismatch, None, _) => f.write_str(diagnosis::HINT),
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let because = self.undiagnosed().map(|undiagnosed| undiagnosed.to_string());
        let because = because.or_else(|| self.loggable().map(|cause| cause.to_string()));
        f.debug_struct("Rejection")
            .field("kind", &self.kind)
            .field("because", &because)
            .field("diagnosis", &self.diagnosis())
            .finish_non_exhaustive()
    }
}

impl Error for Rejection {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        let source = self.source.as_deref().filter(|source| !source.is::<Undiagnosed>());
        source.map(|source| source as &(dyn Error + 'static))
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
    /// All [`Accounts::max_lookups`](crate::Accounts::max_lookups) places are taken.
    TooManyLookups,
    /// The account could not be [looked up](crate::Accounts); the source says why.
    LookupFailed,
    /// The lookup of the account took longer than its [timeout](crate::Accounts::lookup_timeout).
    LookupTooSlow,
    /// The body is larger than [`Verifier::body_limit`](crate::Verifier::body_limit), by its
    /// declared length or as it arrived.
    BodyTooLarge,
    /// All [`Verifier::max_held_bodies`](crate::Verifier::max_held_bodies) places are taken.
    TooManyBodies,
    /// The body took longer than [`Verifier::body_timeout`](crate::Verifier::body_timeout), or than the
    /// limit of something in front of the receiver.
    BodyTooSlow,
    /// The body ended early: the sender went away, or its framing was broken.
    BodyBrokenOff,
    /// No accepted secret made the signature, or the body was changed on its way.
    SignatureMismatch,
    /// The app found no name of an [account](crate::Accounts) in the request. Like the next two kinds, it is answered once the
    /// body is read, as a signature that does not match.
    MissingAccount,
    /// The name that the app found is not one of an [account](crate::Account).
    MalformedAccount,
    /// There is no [account](crate::Accounts) of that name.
    UnknownAccount,
    /// The body is authentic but has a `Content-Encoding`, which is never undone.
    BodyEncoded,
    /// The body is authentic but older than [`Verifier::max_age`](crate::Verifier::max_age), or
    /// has no readable timestamp.
    TooOld,
    /// The body is authentic but is not what the handler asks for; the source says why.
    Untypable,
    /// The [inbox](crate::Accept) could not store the event; the source says why.
    NotStored,
    /// The [inbox](crate::Accept) took longer than its timeout. The event may be stored all the
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
            Self::TooManyLookups => "too_many_lookups",
            Self::LookupFailed => "lookup_failed",
            Self::LookupTooSlow => "lookup_too_slow",
            Self::BodyTooLarge => "body_too_large",
            Self::TooManyBodies => "too_many_bodies",
            Self::BodyTooSlow => "body_too_slow",
            Self::BodyBrokenOff => "body_broken_off",
            Self::SignatureMismatch => "signature_mismatch",
            Self::MissingAccount => "missing_account",
            Self::MalformedAccount => "malformed_account",
            Self::UnknownAccount => "unknown_account",
            Self::BodyEncoded => "body_encoded",
            Self::TooOld => "too_old",
            Self::Untypable => "untypable",
            Self::NotStored => "not_stored",
            Self::StoredTooSlowly => "stored_too_slowly",
            Self::MissingMiddleware => "missing_middleware",
        }
    }

    /// Which kind an error of a body's stream is: [`BodyTooSlow`](Self::BodyTooSlow) if something in front
    /// of the receiver has run out of patience, as the kind of an I/O error or a message says, and otherwise
    /// [`BodyBrokenOff`](Self::BodyBrokenOff). An adapter looks for limits on the size first, which have
    /// types of their own.
    #[must_use]
    pub fn of_body_error(error: &(dyn Error + 'static)) -> Self {
        let mut cause = Some(error);
        while let Some(error) = cause {
            if is_timeout(error) {
                return Self::BodyTooSlow;
            }
            cause = error.source();
        }
        Self::BodyBrokenOff
    }

    fn text(self) -> &'static str {
        match self {
            Self::MissingSignature => "there is no x-number7ai-signature header",
            Self::RepeatedSignature => "there is more than one x-number7ai-signature header",
            Self::MalformedSignature => "the x-number7ai-signature header is not 64 hex digits",
            Self::TooManyLookups => "too many requests wait for the lookup of an account",
            Self::LookupFailed => "the account could not be looked up",
            Self::LookupTooSlow => "the account was not looked up within the timeout",
            Self::BodyTooLarge => "the body is larger than the limit",
            Self::TooManyBodies => "too many unverified bodies are being waited for",
            Self::BodyTooSlow => "the body did not arrive in time",
            Self::BodyBrokenOff => "the body broke off before its end",
            Self::SignatureMismatch => {
                "the signature matches no accepted secret: another secret signed the body, or the \
                 body was changed on its way"
            }
            Self::MissingAccount => {
                "the request names no account: the extractor of its name failed, or was not ready at once"
            }
            Self::MalformedAccount => {
                "the name of the account is not valid: it must have 1 to 64 ASCII letters, digits, -, _ or ., and begin with \
                 a letter or digit"
            }
            Self::UnknownAccount => "there is no account with that name",
            Self::BodyEncoded => "the body has a content-encoding, which is never undone",
            Self::TooOld => "the event is too old, or has no readable timestamp",
            Self::Untypable => "the body is authentic but not what the handler asks for",
            Self::NotStored => "the event could not be stored",
            Self::StoredTooSlowly => "the event was not stored within the timeout",
            Self::MissingMiddleware => {
                "no verified delivery was found: put VerifyNumber7 in front of \
                 this handler, by .layer(VerifyNumber7::new(secret)) in axum or \
                 .wrap(VerifyNumber7::new(secret)) in actix-web"
            }
        }
    }
}

/// There is no type that all timeouts share, so some are known by their text only.
fn is_timeout(error: &(dyn Error + 'static)) -> bool {
    match error.downcast_ref::<io::Error>() {
        Some(error) => error.kind() == io::ErrorKind::TimedOut,
        None => {
            let text = error.to_string().to_ascii_lowercase();
            ["timeout", "timed out", "time out", "deadline has elapsed"]
                .iter()
                .any(|words| text.contains(words))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_a_body_is_a_timeout_or_an_early_end() {
        #[derive(Debug)]
        struct Around(Box<dyn Error>);
        impl fmt::Display for Around {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("error reading a body")
            }
        }
        impl Error for Around {
            fn source(&self) -> Option<&(dyn Error + 'static)> {
                Some(&*self.0)
            }
        }
        let kind = |error: Box<dyn Error>| RejectionKind::of_body_error(&Around(error));
        for timeout in [
            Box::from(io::Error::from(io::ErrorKind::TimedOut)),
            Box::from("data was not received within the designated timeout"),
            "deadline has elapsed".into(),
        ] {
            assert_eq!(kind(timeout), RejectionKind::BodyTooSlow);
        }
        for other in [io::ErrorKind::UnexpectedEof, io::ErrorKind::ConnectionReset] {
            assert_eq!(kind(io::Error::from(other).into()), RejectionKind::BodyBrokenOff);
        }
        assert_eq!(kind("the connection is gone".into()), RejectionKind::BodyBrokenOff);
    }
}
