use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use crate::Rejection;

/// How many steps come before a rest: a tenth of a millisecond of work.
const STEPS: u32 = 8;

/// How long the rest is: the shortest time of the runtimes' timers. On a busy machine, a thread that never rests loses its
/// processor to others for milliseconds, and delays all its requests.
const REST: Duration = Duration::from_millis(1);

/// A search for the cause of a mismatch, started by [`Verifier::diagnose`](crate::Verifier::diagnose).
///
/// It takes some steps of about ten microseconds each, or up to some hundred with a body of 16 KiB. Between two steps, an
/// adapter serves other requests on the thread, so a forged request does not delay them. Now and then it rests: see
/// [`rest`](Self::rest). If the sender hangs up meanwhile, the adapter logs and counts what is known so far: see
/// [`abandoned`](Self::abandoned).
///
/// # Example
///
/// ```
/// use number7_core::{DiagnosisKind, SIGNATURE_HEADER, Secret, Verifier, adapter::Refusal};
///
/// let secret = Secret::new("a long random secret")?;
/// let signature = secret.sign("{}").to_string();
/// let verifier = Verifier::new(secret).diagnose();
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
///         None => {} // in an adapter: yield to other tasks here
///     }
/// };
/// assert_eq!(rejection.diagnosis().unwrap().kind(), DiagnosisKind::FinalNewlineAdded);
/// # Ok::<(), number7_core::SecretError>(())
/// ```
pub struct Diagnosing {
    abandoned: Rejection,
    search: Search,
    steps: u32,
}

/// A search that ends with the rejection.
type Search = Pin<Box<dyn Future<Output = Rejection> + Send + Sync>>;

impl Diagnosing {
    pub(crate) fn new(
        abandoned: Rejection,
        search: impl Future<Output = Rejection> + Send + Sync + 'static,
    ) -> Self {
        Self { abandoned, search: Box::pin(search), steps: 0 }
    }

    /// Continues for about ten microseconds. If it returns `None`, let others have the thread, and then call it again.
    ///
    /// # Panics
    ///
    /// If it is called after it has returned the rejection.
    pub fn step(&mut self) -> Option<Rejection> {
        // Nobody has to wake it: it is pending only between two steps.
        match self.search.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(rejection) => Some(rejection),
            Poll::Pending => {
                self.steps += 1;
                None
            }
        }
    }

    /// The rejection without its cause, to log and count if nobody waits for the end of the search anymore.
    #[must_use]
    pub fn abandoned(&self) -> Rejection {
        self.abandoned.clone()
    }

    /// How long to wait before the next step, if it is time for a rest. Otherwise, or without a timer, yielding is enough.
    #[must_use]
    pub fn rest(&self) -> Option<Duration> {
        self.steps.is_multiple_of(STEPS).then_some(REST)
    }
}

impl fmt::Debug for Diagnosing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Diagnosing(..)")
    }
}
