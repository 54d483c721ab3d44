//! Whether an answer keeps the rules, and what to mend if it does not.

use super::{Answer, Ending, Probe, Seen, table::INFLATES};
use crate::RejectionKind as Kind;

impl Probe {
    /// Whether a receiver may do this. Where the vendor leaves it open, more than one answer is
    /// good.
    #[must_use]
    pub fn allows(&self, seen: &Seen) -> bool {
        let is_client_error = |status: u16| (400..500).contains(&status);
        match (self.answer(), seen) {
            (Answer::Accepted(_), Seen::Answer { status, .. }) => (200..300).contains(status),
            // Nobody gets any further, so no answer is as good. One that comes while a body is still
            // being sent may get lost.
            (Answer::Refused(kind), Seen::Closed) => {
                self.also() == Some(413)
                    || matches!(kind, Kind::BodyBrokenOff | Kind::BodyTooLarge | Kind::BodyTooSlow)
            }
            (Answer::Refused(_), Seen::Answer { status, .. }) if self.also() == Some(*status) => {
                true
            }
            (Answer::Refused(kind), Seen::Answer { status, .. }) => match kind {
                Kind::BodyBrokenOff | Kind::BodyEncoded => is_client_error(*status),
                Kind::BodyTooSlow => matches!(status, 400 | 408),
                Kind::Untypable => is_client_error(*status) || (200..300).contains(status),
                _ => *status == self.answer().status(),
            },
            _ => false,
        }
    }

    /// What to mend, if the receiver may not do this.
    #[must_use]
    pub fn meaning(&self, seen: &Seen) -> Option<&'static str> {
        if self.allows(seen) {
            return None;
        }
        Some(match seen {
            Seen::Answer { status, .. } => {
                of_any(*status).unwrap_or_else(|| self.of_status(*status))
            }
            Seen::Closed => self.otherwise(),
            Seen::Silence(_) => match self.answer() {
                Answer::Accepted(_) => {
                    "there is no answer: the handler works before it answers, or waits for a body \
                     that something in front has consumed"
                }
                Answer::Refused(Kind::BodyTooLarge | Kind::BodyTooSlow) => self.otherwise(),
                Answer::Refused(_) => "there is no answer: the receiver waits for more of the body",
            },
        })
    }

    fn of_status(&self, status: u16) -> &'static str {
        match (self.answer(), status) {
            (Answer::Refused(Kind::BodyBrokenOff), 500..) => {
                "the receiver fails where a body breaks off: answer 400"
            }
            (Answer::Refused(Kind::MissingSignature), 500..)
                if self.request().ending() != Ending::Raw =>
            {
                "the receiver fails where there is no signature header: answer 401"
            }
            (Answer::Refused(Kind::MissingSignature), 500..) => self.otherwise(),
            (answer, _) if answer.status() != 401 => self.otherwise(),
            (_, 500..) => "the receiver fails where the signature is wrong: answer 401",
            (_, 403) => "a bad signature is answered 403: the vendor asks for 401",
            (_, 400 | 415 | 422) if self.claims_an_encoding() => INFLATES,
            (_, 400 | 415 | 422) => {
                "a body is parsed or judged before its signature is verified: verify the raw bytes \
                 first"
            }
            _ => self.otherwise(),
        }
    }

    /// Good JSON under a wrong name: whoever only parses it is content.
    fn claims_an_encoding(&self) -> bool {
        let request = self.request();
        let is_encoded = request.headers().any(|(name, _)| name == "content-encoding");
        is_encoded && request.body().starts_with(b"{")
    }
}

/// What an answer means whatever was sent.
fn of_any(status: u16) -> Option<&'static str> {
    Some(match status {
        300..400 => {
            "it redirects, and the vendor is not said to follow: register the URL at the end"
        }
        404 => "there is nothing at this path",
        405 => "there is no POST at this path",
        413 => "the limit for bodies is lower than it is said to be",
        429 => "a rate limit answers: exempt the vendor, which gives up after three retries",
        502 | 504 => "a proxy answers: the receiver behind it is down, or closed the connection",
        _ => return None,
    })
}
