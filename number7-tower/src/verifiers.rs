use std::{fmt, sync::Arc};

use http::request::Parts;
use number7_core::{Accounts, LiveVerifier, Verifier};

/// Where the verifier of a request comes from.
#[derive(Clone)]
pub(crate) enum Verifiers {
    Fixed(Verifier),
    Live(LiveVerifier),
    Accounts(Accounts, NameOf),
}

/// Reads the name of the account.
pub(crate) type NameOf = Arc<dyn Fn(&mut Parts) -> Option<String> + Send + Sync>;

impl fmt::Debug for Verifiers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(verifier) => verifier.fmt(f),
            Self::Live(live) => live.fmt(f),
            Self::Accounts(accounts, _) => accounts.fmt(f),
        }
    }
}
