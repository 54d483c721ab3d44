use std::sync::Arc;

use http::request::Parts;
use number7_core::{Accounts, LiveVerifier, Verifier, metrics};
use tower_layer::Layer;

use crate::{
    VerifyNumber7Service,
    verifiers::{NameOf, Verifiers},
};

/// Lets through what Number7 AI signed, and answers everything else itself.
///
/// The verified [`Delivery`](number7_core::Delivery) is in the request's extensions, and the body
/// is put back, so that whatever stands behind the layer can read it again. See the
/// [crate docs](crate) for an example.
#[derive(Clone, Debug)]
pub struct VerifyNumber7 {
    verifiers: Verifiers,
}

impl VerifyNumber7 {
    /// Takes a [`Secret`](number7_core::Secret), or a [`Verifier`] if several secrets are accepted
    /// or the limits differ.
    #[must_use]
    pub fn new(verifier: impl Into<Verifier>) -> Self {
        Self::by(Verifiers::Fixed(verifier.into()))
    }

    /// Takes a verifier whose secret can be replaced while it serves.
    #[must_use]
    pub fn live(verifier: LiveVerifier) -> Self {
        Self::by(Verifiers::Live(verifier))
    }

    /// Looks up the verifier of the account that a request names, for a receiver with a secret for each of its accounts.
    /// `name` reads the name from the head of the request. If it returns `None`, the answer is 401, as for an unknown account.
    ///
    /// In axum, [`accounts`](Self::accounts) takes an extractor instead.
    #[must_use]
    pub fn accounts_from_parts(
        accounts: Accounts,
        name: impl Fn(&Parts) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        Self::by_name(accounts, Arc::new(move |parts| name(parts)))
    }

    pub(crate) fn by_name(accounts: Accounts, name: NameOf) -> Self {
        Self::by(Verifiers::Accounts(accounts, name))
    }

    fn by(verifiers: Verifiers) -> Self {
        metrics::describe();
        Self { verifiers }
    }
}

impl<S> Layer<S> for VerifyNumber7 {
    type Service = VerifyNumber7Service<S>;

    fn layer(&self, inner: S) -> Self::Service {
        VerifyNumber7Service::by(inner, self.verifiers.clone())
    }
}
