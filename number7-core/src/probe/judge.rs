//! Whether an answer obeys the rules, and what to fix if it does not.

use super::{Answer, Ending, Observed, Probe, table::INFLATES};
use crate::RejectionKind as Kind;

impl Probe {
    /// Whether a receiver may do this. If the vendor does not say, more than one answer is right.
    #[must_use]
    pub fn allows(&self, observed: &Observed) -> bool {
        let is_client_error = |status: u16| (400..500).contains(&status);
        match (self.answer(), observed) {
            (_, Observed::Unseen) => true,
            (Answer::Accepted(_), Observed::Answer { status, .. }) => (200..300).contains(status),
            // The request got no further, so a closed connection is as good as an answer. An answer that is sent while the body
            // is still arriving may be lost.
            (Answer::Refused(kind), Observed::Closed) => {
                self.also() == Some(413)
                    || matches!(kind, Kind::BodyBrokenOff | Kind::BodyTooLarge | Kind::BodyTooSlow)
            }
            (Answer::Refused(_), Observed::Answer { status, .. })
                if self.also() == Some(*status) =>
            {
                true
            }
            (Answer::Refused(kind), Observed::Answer { status, .. }) => match kind {
                Kind::BodyBrokenOff | Kind::BodyEncoded => is_client_error(*status),
                Kind::BodyTooSlow => matches!(status, 400 | 408),
                Kind::Untypable => is_client_error(*status) || (200..300).contains(status),
                _ => *status == self.answer().status(),
            },
            _ => false,
        }
    }

    /// What to fix, if the receiver may not do this.
    #[must_use]
    pub fn meaning(&self, observed: &Observed) -> Option<&'static str> {
        if self.allows(observed) {
            return None;
        }
        Some(match (self.answer(), observed) {
            (_, Observed::Unseen) => return None,
            (_, Observed::Closed) => {
                "the connection was closed without an answer: by the receiver, or by something in \
                 front"
            }
            (Answer::Accepted(_), Observed::Answer { status, .. }) => self.of_a_refusal(*status),
            (Answer::Refused(_), Observed::Answer { .. }) if observed.is_success() => {
                self.otherwise()
            }
            (Answer::Refused(kind), Observed::Answer { status, .. }) => {
                self.of_another_refusal(kind, *status)
            }
            (Answer::Accepted(_), Observed::Silence(_)) => {
                "there is no answer: the handler works before it answers, or waits for a body that \
                 something in front has consumed"
            }
            (Answer::Refused(Kind::BodyTooLarge | Kind::BodyTooSlow), Observed::Silence(_)) => {
                self.otherwise()
            }
            (Answer::Refused(Kind::MissingSignature | Kind::MalformedSignature), _) => {
                "there is no answer: the receiver waits for a body that its headers already refuse"
            }
            (Answer::Refused(_), Observed::Silence(_)) => {
                "there is no answer: the receiver waits for more of the body"
            }
        })
    }

    /// For an authentic event that was refused.
    fn of_a_refusal(&self, status: u16) -> &'static str {
        match status {
            300..400 => "it redirects, and the vendor may not follow: register the final URL",
            404 => "there is nothing at this path",
            405 => "there is no POST at this path",
            409 => "a repeated event is not answered 2xx: the vendor retries it in vain",
            411 => NO_CHUNKS,
            413 => "the body limit is lower than the probes expect",
            429 => "a rate limit answers: exempt the vendor, which gives up after three retries",
            502 | 504 => {
                "a proxy answers: the receiver behind it is down, or closed the connection"
            }
            503 => OVERLOADED,
            _ => self.otherwise(),
        }
    }

    /// For a request that was refused, but with the wrong status.
    fn of_another_refusal(&self, kind: Kind, status: u16) -> &'static str {
        match (self.answer().status(), status) {
            (_, 411) => NO_CHUNKS,
            (_, 429 | 502 | 503 | 504) => OVERLOADED,
            (_, 500..) if kind == Kind::BodyBrokenOff => {
                "the receiver fails where a body breaks off: answer 400"
            }
            (_, 500..) if kind == Kind::Untypable => self.otherwise(),
            (401, 500..) if kind != Kind::MissingSignature => {
                "the receiver fails where the signature is wrong: answer 401"
            }
            (401, 500..) if self.request().ending() == Ending::Raw => self.otherwise(),
            (401, 500..) => "the receiver fails if there is no signature header: answer 401",
            (401, 400 | 415 | 422) if self.claims_an_encoding() => INFLATES,
            (401, 400 | 415 | 422) => {
                "a body is parsed or judged before its signature is verified: verify the raw bytes \
                 first"
            }
            (401, 408) => {
                "the receiver waits for a body that its headers already refuse: look at them first"
            }
            (401, _) => "a bad signature is answered by another status: the vendor asks for 401",
            (413, 408) | (503, _) => self.otherwise(),
            (413, 401) => {
                "a body over the limit is cut, or read to its end, before it is refused: refuse it \
                 by its length"
            }
            (_, 500..) => "the receiver fails on what it should refuse",
            _ => "it is rightly refused, but with an unusual status",
        }
    }

    /// Whether the request claims a content-encoding although its body is plain JSON.
    fn claims_an_encoding(&self) -> bool {
        let request = self.request();
        let is_encoded = request.headers().any(|(name, _)| name == "content-encoding");
        is_encoded && request.body().starts_with(b"{")
    }
}

const NO_CHUNKS: &str = "a chunked body is not taken: something in front wants a content-length";

const OVERLOADED: &str = "the receiver, or something in front, is overloaded or limits the rate: try \
                          again, and exempt the vendor";
