use std::fmt;

use serde::Serialize;

use crate::Happening;

/// What has happened so far, and what a correct receiver must have received.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Summary {
    /// Requests with the right key that were answered 2xx.
    pub served: u64,
    /// Requests that were answered 429.
    pub rate_limited: u64,
    /// Requests with any other answer.
    pub refused: u64,
    /// Attempts at a webhook.
    pub sent: u64,
    /// Webhooks that were never sent.
    pub lost: u64,
    /// Webhooks that were sent again after they had been accepted.
    pub repeated: u64,
    /// Webhooks that were forged.
    pub forged: u64,
    /// Webhooks that were signed with another secret.
    pub signed_otherwise: u64,
    /// Webhooks that were forged, or signed with another secret, but were not answered 401: a fault of the receiver.
    pub not_refused: u64,
    /// Webhooks whose attempts all failed.
    pub given_up: u64,
    /// Jobs that are neither done nor failed.
    pub running: u64,
    /// The keys of the events that a correct receiver has handled, or will handle: each once, and no others.
    pub to_handle: Vec<String>,
}

impl Summary {
    pub(crate) fn count(&mut self, happening: &Happening) {
        match happening {
            Happening::Uploaded { .. } => {
                self.served += 1;
                self.running += 1;
            }
            Happening::Fetched { .. } => self.served += 1,
            Happening::Finished { job } => self.ends(format!("job.completed:{job}")),
            Happening::Failed { job } => self.ends(format!("job.failed:{job}")),
            Happening::Refused { status: 429, .. } => self.rate_limited += 1,
            Happening::Refused { .. } => self.refused += 1,
            Happening::Sent { .. } => self.sent += 1,
            Happening::Repeated { .. } => self.repeated += 1,
            Happening::Forged { status, .. } => {
                self.forged += 1;
                self.must_be_refused(*status);
            }
            Happening::SignedOtherwise { status, .. } => {
                self.signed_otherwise += 1;
                self.must_be_refused(*status);
            }
            Happening::Lost { .. } => self.lost += 1,
            Happening::GivenUp { .. } => self.given_up += 1,
            Happening::OutageBegan | Happening::OutageEnded => {}
        }
    }

    /// A missing answer is not a fault.
    fn must_be_refused(&mut self, status: Option<u16>) {
        self.not_refused += u64::from(status.is_some_and(|status| status != 401));
    }

    fn ends(&mut self, key: String) {
        self.running -= 1;
        self.to_handle.push(key);
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { served, rate_limited, refused, .. } = self;
        writeln!(f, "requests: {served} served, {rate_limited} rate limited, {refused} refused")?;
        let Self { sent, lost, repeated, given_up, .. } = self;
        writeln!(
            f,
            "webhooks: {sent} sent, {lost} lost, {repeated} repeated, {given_up} given up"
        )?;
        let Self { forged, signed_otherwise, not_refused, .. } = self;
        write!(f, "to refuse: {forged} forged, {signed_otherwise} signed with another secret; ")?;
        match not_refused {
            0 => writeln!(f, "none was accepted")?,
            wrong => writeln!(f, "{wrong} were NOT answered 401")?,
        }
        let (events, running) = (self.to_handle.len(), self.running);
        write!(f, "a correct receiver handles {events} events, each once; {running} jobs still run")
    }
}
