//! Whether an answer keeps the rules, and what to mend if it does not.

use super::{Answer, Probe, Seen, table::INFLATES};
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
            (Answer::Refused(kind), Seen::Answer { status, .. }) => match kind {
                Kind::BodyBrokenOff | Kind::BodyEncoded => is_client_error(*status),
                Kind::BodyTooSlow => matches!(status, 400 | 408),
                Kind::Untypable => is_client_error(*status) || (200..300).contains(status),
                _ => *status == self.answer().status() || self.also() == Some(*status),
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
            Seen::Answer { status: 300..400, .. } => {
                "it redirects, and the vendor is not said to follow: register the URL at the end"
            }
            Seen::Answer { status: 404, .. } => "there is nothing at this path",
            Seen::Answer { status: 405, .. } => "there is no POST at this path",
            Seen::Answer { status: 413, .. } => {
                "the limit for bodies is lower than it is said to be"
            }
            Seen::Answer { status: 429, .. } => {
                "a rate limit answers: exempt the vendor, which gives up after three retries"
            }
            Seen::Answer { status: 502 | 504, .. } => {
                "a proxy answers: the receiver behind it is down, or closed the connection"
            }
            Seen::Silence(_) if self.answer() != Answer::Refused(Kind::BodyTooSlow) => match self
                .answer()
            {
                Answer::Accepted(_) => {
                    "there is no answer: the handler works before it answers, or waits for a body \
                     that something in front has consumed"
                }
                Answer::Refused(_) => "there is no answer: the receiver waits for more of the body",
            },
            Seen::Answer { status, .. } if self.answer().status() == 401 => {
                self.meaning_of_no_401(*status)
            }
            Seen::Answer { status: 500.., .. } if self.answer().status() == 200 => {
                "the receiver fails on an authentic event: the vendor retries three times, and is \
                 silent after that"
            }
            _ => self.otherwise(),
        })
    }

    fn meaning_of_no_401(&self, status: u16) -> &'static str {
        // Good JSON, so that whoever only parses it is content.
        let claims_an_encoding =
            self.request().headers().any(|(name, _)| name == "content-encoding")
                && self.request().body().starts_with(b"{");
        match (status, self.answer()) {
            (400 | 415 | 422, _) if claims_an_encoding => INFLATES,
            (400 | 415 | 422, _) => {
                "a body is parsed or judged before its signature is verified: verify the raw bytes \
                 first"
            }
            (403, _) => "a bad signature is answered 403: the vendor asks for 401",
            (500.., Answer::Refused(Kind::MissingSignature)) => {
                "the receiver fails where there is no signature header: answer 401"
            }
            (500.., _) => "the receiver fails where the signature is wrong: answer 401",
            _ => self.otherwise(),
        }
    }
}
