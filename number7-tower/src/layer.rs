use number7_core::{Verifier, metrics};
use tower_layer::Layer;

use crate::VerifyNumber7Service;

/// Lets through what Number7 AI signed, and answers everything else itself.
///
/// The verified [`Delivery`](number7_core::Delivery) is in the request's extensions, and the body
/// is put back, so that whatever stands behind the layer can read it again. See the
/// [crate docs](crate) for an example.
#[derive(Clone, Debug)]
pub struct VerifyNumber7 {
    verifier: Verifier,
}

impl VerifyNumber7 {
    /// Takes a [`Secret`](number7_core::Secret), or a [`Verifier`] if several secrets are accepted
    /// or the limits differ.
    #[must_use]
    pub fn new(verifier: impl Into<Verifier>) -> Self {
        metrics::describe();
        Self { verifier: verifier.into() }
    }
}

impl<S> Layer<S> for VerifyNumber7 {
    type Service = VerifyNumber7Service<S>;

    fn layer(&self, inner: S) -> Self::Service {
        VerifyNumber7Service::new(inner, self.verifier.clone())
    }
}
