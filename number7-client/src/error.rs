//! Why a request failed.

use std::{error, fmt, io, time::Duration};

use number7_core::RetryHint;

/// How long to wait for a new API key after the vendor has refused the current one: 1 minute.
const KEY_PATIENCE: Duration = Duration::from_secs(60);

/// Why a request to the vendor failed.
///
/// Its text says what failed, but contains neither the API key nor what the vendor sent. In the handler of a `number7-inbox`
/// worker a `?` is enough, because the error carries a [`RetryHint`]:
///
/// - If the vendor allows no more requests, the event is snoozed until it does.
/// - If the vendor refuses the API key, the event is snoozed for a minute, because only an operator can help.
/// - If the vendor does not know the job, the event becomes a dead letter at once.
/// - Everything else is tried again after the worker's backoff.
pub struct Error {
    kind: ErrorKind,
    text: Box<str>,
    hint: Option<RetryHint>,
}

/// The kinds of [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// 401: the vendor refuses the API key.
    Unauthorized,
    /// 404: this account has no such job.
    UnknownJob,
    /// The plan allows no more requests now. Either the vendor answered 429, or a request was not sent, because it would have
    /// had to wait longer than [`Client::timeout`](crate::Client::timeout).
    RateLimited,
    /// 5xx: the vendor is at fault.
    Server,
    /// The connection failed or broke off. If a document was being uploaded, it may have arrived, unless
    /// the connection was refused.
    Network,
    /// The answer did not arrive in time. If a document was being uploaded, it may have arrived.
    Timeout,
    /// Any other status, such as 400: the vendor refuses the request.
    Refused,
    /// The answer is not what the vendor publishes: not JSON, of another form, or too large.
    NotUnderstood,
    /// The document could not be read.
    Document,
    /// A setting is invalid, such as a base URL of plain `http` to another machine.
    Invalid,
}

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub(crate) fn new(kind: ErrorKind, text: impl Into<Box<str>>) -> Self {
        let hint = match kind {
            ErrorKind::Unauthorized => Some(RetryHint::After(KEY_PATIENCE)),
            ErrorKind::UnknownJob => Some(RetryHint::Never),
            _ => None,
        };
        Self { kind, text: text.into(), hint }
    }

    pub(crate) fn rate_limited(text: impl Into<Box<str>>, retry_after: Duration) -> Self {
        let hint = Some(RetryHint::After(retry_after));
        Self { hint, ..Self::new(ErrorKind::RateLimited, text) }
    }

    /// The error of `reqwest`, without the URL, because that contains the id of a job.
    pub(crate) fn of_request(error: reqwest::Error) -> Self {
        let mut source = error::Error::source(&error);
        while let Some(cause) = source {
            if let Some(unreadable) = cause.downcast_ref::<Unreadable>() {
                return Self::new(ErrorKind::Document, unreadable.to_string());
            }
            // An I/O error hides its content from `source`.
            let inner = cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
            source = inner.map(|inner| inner as _).or_else(|| cause.source());
        }
        let kind = if error.is_timeout() && !error.is_connect() {
            ErrorKind::Timeout
        } else {
            ErrorKind::Network
        };
        let what = match kind {
            ErrorKind::Timeout => "the vendor did not answer in time",
            _ if error.is_connect() => "no connection to the vendor",
            _ => "the connection to the vendor broke off",
        };
        let error = error.without_url();
        let mut cause: &dyn error::Error = &error;
        while let Some(source) = cause.source() {
            cause = source;
        }
        Self::new(kind, format!("{what}: {cause}"))
    }

    /// Says where the answer differs from the published form, but not what is there.
    pub(crate) fn not_understood(error: serde_json::Error) -> Self {
        let what = match error.classify() {
            serde_json::error::Category::Data => "is not of the published form",
            _ => "is not JSON",
        };
        let (line, column) = (error.line(), error.column());
        let text = format!("the vendor's answer {what}, at line {line} column {column}");
        Self::new(ErrorKind::NotUnderstood, text)
    }

    /// The kind of this error.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Whether the same request may succeed later if nobody does anything: it was rate limited, the vendor or the network was
    /// at fault, or the answer did not arrive in time.
    ///
    /// An upload that failed in this way may have arrived nevertheless: the vendor may send a webhook for it.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(
            self.kind,
            ErrorKind::RateLimited | ErrorKind::Server | ErrorKind::Network | ErrorKind::Timeout
        )
    }

    /// If the kind is [`RateLimited`](ErrorKind::RateLimited): how long until the vendor allows another
    /// request.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match (self.kind, self.hint) {
            (ErrorKind::RateLimited, Some(RetryHint::After(time))) => Some(time),
            _ => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// [`Debug`](fmt::Debug) prints the same as [`Display`](fmt::Display), because `main` prints a returned
/// error with [`Debug`](fmt::Debug).
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl error::Error for Error {
    /// The [`RetryHint`], if there is one.
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        self.hint.as_ref().map(|hint| hint as &(dyn error::Error + 'static))
    }
}

/// Why a document could not be read while it was sent.
#[derive(Debug)]
pub(crate) enum Unreadable {
    Failed(io::Error),
    Longer(u64),
    Shorter(u64),
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(error) => write!(f, "the document could not be read: {error}"),
            Self::Longer(length) => write!(f, "the document is longer than {length} bytes"),
            Self::Shorter(length) => write!(f, "the document is shorter than {length} bytes"),
        }
    }
}

impl error::Error for Unreadable {}
