//! A refusal, perhaps with a search for the cause.

use crate::{Rejection, diagnosis::Diagnosing};

/// Why [`Intake::conclude`](crate::Intake::conclude) refuses a body.
#[derive(Debug)]
#[non_exhaustive]
pub enum Refusal {
    /// No search is needed: answer.
    Final(Rejection),
    /// The signature does not match, and the cause is searched before the answer.
    Diagnosing(Diagnosing),
}

impl Refusal {
    /// The rejection, with the cause of a mismatch if it is found. The search runs at once, and takes milliseconds.
    #[must_use]
    #[inline]
    pub fn finish(self) -> Rejection {
        match self {
            Self::Final(rejection) => rejection,
            Self::Diagnosing(mut diagnosing) => loop {
                if let Some(rejection) = diagnosing.step() {
                    break rejection;
                }
            },
        }
    }
}

impl From<Rejection> for Refusal {
    fn from(rejection: Rejection) -> Self {
        Self::Final(rejection)
    }
}
