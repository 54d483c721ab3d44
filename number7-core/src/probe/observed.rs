use std::time::Duration;

use bytes::Bytes;

/// What a receiver did with a probe.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Observed {
    /// It answered.
    Answer {
        /// The status code.
        status: u16,
        /// The names, in lower case, and values of its headers.
        headers: Vec<(String, String)>,
        /// The body of the answer.
        body: Bytes,
        /// The time from the end of the request to the answer. Subtract the time that every answer takes on the
        /// network and in proxies.
        after: Duration,
    },
    /// It closed the connection without an answer.
    Closed,
    /// It neither answered nor closed the connection for this long.
    Silence(Duration),
    /// The probe was not sent, because it [needs an unbuffered body](super::Probe::needs_unbuffered_body), and a
    /// proxy in front of the receiver buffers bodies.
    Unseen,
}

impl Observed {
    /// An answer with this status, at once and without a body.
    #[must_use]
    pub fn answer(status: u16) -> Self {
        Self::Answer { status, headers: Vec::new(), body: Bytes::new(), after: Duration::ZERO }
    }

    /// The status, if it answered.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Answer { status, .. } => Some(*status),
            Self::Closed | Self::Silence(_) | Self::Unseen => None,
        }
    }

    /// Whether the status is 2xx.
    pub(super) fn is_success(&self) -> bool {
        self.status().is_some_and(|status| (200..300).contains(&status))
    }
}

impl std::fmt::Display for Observed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Answer { status, .. } => write!(f, "{status}"),
            Self::Closed => f.write_str("closed"),
            Self::Silence(time) => write!(f, "no answer in {} s", time.as_secs()),
            Self::Unseen => f.write_str("not checked"),
        }
    }
}
