//! Whether an answer keeps the rules, and what to mend if it does not.

use super::{Answer, Probe, Seen};
use crate::RejectionKind as Kind;

impl Probe {
    /// Whether a receiver may do this. Where the vendor leaves it open, more than one answer is
    /// good.
    #[must_use]
    pub fn allows(&self, seen: &Seen) -> bool {
        let is_client_error = |status: u16| (400..500).contains(&status);
        match (self.answer(), seen) {
            (Answer::Accepted(_), Seen::Answer { status, .. }) => (200..300).contains(status),
            // Nobody gets any further, so no answer is as good.
            (Answer::Refused(Kind::BodyBrokenOff), Seen::Closed) => true,
            (Answer::Refused(Kind::BodyTooLarge | Kind::BodyTooSlow), Seen::Closed) => true,
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
            Seen::Answer { status: 300..400, .. } => {
                "it redirects, and the vendor is not said to follow: register the URL at the end"
            }
            Seen::Answer { status: 404, .. } => "there is nothing at this path",
            Seen::Answer { status: 405, .. } => "there is no POST at this path",
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
            _ => self.otherwise(),
        })
    }
}
