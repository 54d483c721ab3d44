//! A refusal whose cause may still be looked for.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use crate::Rejection;

/// Why [`Intake::conclude`](crate::Intake::conclude) refuses a body.
#[derive(Debug)]
pub enum Refusal {
    /// There is nothing to look for: answer.
    Final(Rejection),
    /// The signature does not match, and the cause is looked for before the answer.
    Diagnosing(Diagnosing),
}

impl Refusal {
    /// The rejection, and the cause of a mismatch if it is found. Looking for it at once takes milliseconds.
    #[must_use]
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

/// A search for the cause of a mismatch, by [`Verifier::diagnose`](crate::Verifier::diagnose).
///
/// It takes some hundred steps of some ten microseconds each. An adapter lets other requests have the thread
/// between two of them, so that a forged request does not keep a thread from its neighbours.
///
/// # Example
///
/// ```
/// use number7_core::{DiagnosisKind, Refusal, SIGNATURE_HEADER, Secret, Verifier};
///
/// let secret = Secret::new("a long random secret")?;
/// let signature = secret.sign("{}").to_string();
/// let verifier = Verifier::new(secret).diagnose(std::time::SystemTime::now);
/// let headers = [(SIGNATURE_HEADER, signature.as_bytes())];
///
/// let mut intake = verifier.begin(headers).unwrap();
/// intake.push("{}".into()).unwrap();
/// assert!(intake.conclude().is_ok());
///
/// let mut intake = verifier.begin(headers).unwrap();
/// intake.push("{}\n".into()).unwrap();
/// let Err(Refusal::Diagnosing(mut diagnosing)) = intake.conclude() else { panic!("it was signed") };
/// let rejection = loop {
///     match diagnosing.step() {
///         Some(rejection) => break rejection,
///         None => {} // in an adapter: go on when others had their turn
///     }
/// };
/// assert_eq!(rejection.diagnosis().unwrap().kind(), DiagnosisKind::FinalNewlineAdded);
/// # Ok::<(), number7_core::SecretError>(())
/// ```
pub struct Diagnosing(Search);

/// A search that ends with the rejection.
type Search = Pin<Box<dyn Future<Output = Rejection> + Send + Sync>>;

impl Diagnosing {
    pub(crate) fn new(search: impl Future<Output = Rejection> + Send + Sync + 'static) -> Self {
        Self(Box::pin(search))
    }

    /// Goes on for some ten microseconds. `None` says that there is more to do: let others have the
    /// thread, and call it again.
    ///
    /// # Panics
    ///
    /// If it is called after it has returned the rejection.
    pub fn step(&mut self) -> Option<Rejection> {
        // Nobody has to wake it: it is pending only between two steps.
        match self.0.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(rejection) => Some(rejection),
            Poll::Pending => None,
        }
    }
}

impl fmt::Debug for Diagnosing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Diagnosing(..)")
    }
}
