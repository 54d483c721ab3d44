//! A refusal whose cause may still be looked for.

use crate::{Rejection, diagnosis::Diagnosing};

/// Why [`Intake::conclude`](crate::Intake::conclude) refuses a body.
#[derive(Debug)]
#[non_exhaustive]
pub enum Refusal {
    /// There is nothing to look for: answer.
    Final(Rejection),
    /// The signature does not match, and the cause is looked for before the answer.
    Diagnosing(Diagnosing),
}

impl Refusal {
    /// The rejection, and the cause of a mismatch if it is found. Looking for it at once takes milliseconds.
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
