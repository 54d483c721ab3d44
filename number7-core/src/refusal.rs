//! A refusal whose cause may still be looked for.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use crate::{Rejection, RejectionKind, Verifier};

/// A refused body, on the way to its answer.
///
/// Usually the [`Rejection`] is there at the first [`step`](Self::step). With
/// [`Verifier::diagnose`], a mismatch takes some hundred steps of some ten microseconds each: an adapter lets other
/// requests have the thread between two of them.
///
/// # Example
///
/// ```
/// use number7_core::{DiagnosisKind, SIGNATURE_HEADER, Secret, Verifier};
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
/// let mut refusal = intake.conclude().unwrap_err();
/// let rejection = loop {
///     match refusal.step() {
///         Some(rejection) => break rejection,
///         None => {} // in an adapter: go on when others had their turn
///     }
/// };
/// assert_eq!(rejection.diagnosis().unwrap().kind(), DiagnosisKind::FinalNewlineAdded);
/// # Ok::<(), number7_core::SecretError>(())
/// ```
pub struct Refusal {
    verifier: Verifier,
    reason: Reason,
}

/// A search that ends with the rejection.
pub(crate) type Search = Pin<Box<dyn Future<Output = Rejection> + Send + Sync>>;

pub(crate) enum Reason {
    Known(Rejection),
    Sought(Search),
}

impl Refusal {
    pub(crate) fn new(verifier: Verifier, reason: Reason) -> Self {
        Self { verifier, reason }
    }

    /// Goes on for some ten microseconds. `None` says that there is more to do: let others have the
    /// thread, and call it again.
    pub fn step(&mut self) -> Option<Rejection> {
        if let Reason::Sought(search) = &mut self.reason {
            // Nobody has to wake it: it is pending only between two steps.
            match search.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(rejection) => self.reason = Reason::Known(rejection),
                Poll::Pending => return None,
            }
        }
        match &self.reason {
            Reason::Known(rejection) => Some(rejection.clone()),
            Reason::Sought(_) => None,
        }
    }

    /// Goes on to the end.
    pub(crate) fn finish(mut self) -> Rejection {
        loop {
            if let Some(rejection) = self.step() {
                return rejection;
            }
        }
    }

    /// Who refuses.
    #[must_use]
    pub fn verifier(&self) -> &Verifier {
        &self.verifier
    }
}

impl fmt::Debug for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.reason {
            Reason::Known(rejection) => rejection.kind(),
            Reason::Sought(_) => RejectionKind::SignatureMismatch,
        };
        f.debug_struct("Refusal").field("kind", &kind).finish_non_exhaustive()
    }
}
