//! Replaces the diagnosis without the feature `diagnosis`: nothing is searched, and the text of a secret is not kept.

use std::{convert::Infallible, error::Error, fmt, time::Duration};

use crate::{
    Rejection, Signature, Verifier, chunks::Chunks, named_secret::NamedSecret, refusal::Refusal,
};

pub(crate) const HINT: &str = "; the feature `diagnosis` finds out which";

/// There is none without the feature `diagnosis`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DiagnosisKind {}

/// There is none without the feature `diagnosis`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnosis(Infallible);

impl Diagnosis {
    /// There is none.
    #[must_use]
    pub fn kind(&self) -> DiagnosisKind {
        match self.0 {}
    }
}

impl fmt::Display for Diagnosis {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {}
    }
}

impl Error for Diagnosis {}

/// There is none without the feature `diagnosis`.
#[derive(Debug)]
pub struct Diagnosing(Infallible);

impl Diagnosing {
    /// There is none.
    pub fn step(&mut self) -> Option<Rejection> {
        match self.0 {}
    }

    /// There is none.
    #[must_use]
    pub fn abandoned(&self) -> Rejection {
        match self.0 {}
    }

    /// There is none.
    #[must_use]
    pub fn rest(&self) -> Option<Duration> {
        match self.0 {}
    }
}

pub(crate) type Undiagnosed = Infallible;

#[derive(Default)]
pub(crate) struct SharedLimit(());

#[derive(Clone, Default)]
pub(crate) struct Diagnostics(());

impl Diagnostics {
    pub(crate) fn is_on(&self) -> bool {
        false
    }

    pub(crate) fn recognized(&self) -> &[NamedSecret] {
        &[]
    }

    pub(crate) fn share(&mut self, _: &SharedLimit) {}

    pub(crate) fn of_header(&self, _: &[u8]) -> Option<Diagnosis> {
        None
    }
}

impl Verifier {
    #[cold]
    pub(crate) fn refusal(self, refused: Rejection, _: Signature, _: Chunks, _: bool) -> Refusal {
        refused.into()
    }
}
