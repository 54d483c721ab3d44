//! What `log.rs` does, without the feature `tracing`: nothing.

use number7_core::{Acceptance, Delivery, Rejection, Verifier};

pub(crate) struct Span;

impl Span {
    pub(crate) fn in_scope<T>(&self, f: impl FnOnce() -> T) -> T {
        f()
    }
}

#[derive(Clone)]
pub(crate) struct Refusals;

impl Refusals {
    pub(crate) fn of(_: &Verifier) -> Self {
        Self
    }

    pub(crate) fn behind() -> Self {
        Self
    }

    pub(crate) fn log(&self, _: &Rejection) {}
}

pub(crate) fn limit_not_raised() {}

pub(crate) fn accepted(_: Acceptance) {}

pub(crate) fn verified(_: &Delivery) -> Span {
    Span
}
