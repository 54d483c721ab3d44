use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use crate::{
    Account, Secret,
    adapter::metrics,
    clock::{Clock, since_1970},
};

/// A secret and its name.
#[derive(Clone)]
pub(crate) struct NamedSecret {
    pub(crate) signer: Arc<Signer>,
    pub(crate) secret: Secret,
    /// Set if it was replaced.
    pub(crate) overlap: Option<Overlap>,
}

/// The name and the account of a secret: what a delivery keeps.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Signer {
    pub(crate) name: Arc<str>,
    pub(crate) account: Option<Account>,
}

/// How long a replaced secret is still accepted.
#[derive(Clone)]
pub(crate) struct Overlap {
    clock: Clock,
    until: SystemTime,
    /// In milliseconds since 1970, and 0 if it has not signed since it was replaced.
    last_signed: Arc<AtomicU64>,
}

impl NamedSecret {
    pub(crate) fn new(name: Arc<str>, secret: Secret) -> Self {
        Self { signer: Arc::new(Signer { name, account: None }), secret, overlap: None }
    }

    pub(crate) fn name(&self) -> &str {
        &self.signer.name
    }

    pub(crate) fn of_account(&self, account: &Account) -> Self {
        let signer = Signer { name: Arc::clone(&self.signer.name), account: Some(account.clone()) };
        Self { signer: Arc::new(signer), ..self.clone() }
    }

    /// Without moving the others, because a move leaves a copy of the key behind.
    pub(crate) fn push_to(self, secrets: &mut Vec<Self>) {
        let mut all = Vec::with_capacity(secrets.len() + 1);
        all.extend_from_slice(secrets);
        all.push(self);
        *secrets = all;
    }

    /// Whether it was replaced, and its overlap is over.
    pub(crate) fn is_over(&self) -> bool {
        self.overlap.as_ref().is_some_and(|overlap| overlap.remaining().is_zero())
    }

    /// Records that it signed, if it was replaced.
    pub(crate) fn note_signed(&self) {
        if let Some(overlap) = &self.overlap {
            let now = since_1970((overlap.clock)());
            overlap.last_signed.store(now.as_millis().try_into().unwrap_or(0), Ordering::Relaxed);
            metrics::signed_by_replaced(&self.signer.name, now);
        }
    }
}

impl Overlap {
    pub(crate) fn new(clock: Clock, length: Duration) -> Self {
        // A clock can reach the end of this time, but perhaps not of a much longer one.
        const CENTURY: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);
        let until = clock() + length.min(CENTURY);
        Self { clock, until, last_signed: Arc::default() }
    }

    pub(crate) fn remaining(&self) -> Duration {
        self.until.duration_since((self.clock)()).unwrap_or_default()
    }

    pub(crate) fn last_signed(&self) -> Option<SystemTime> {
        match self.last_signed.load(Ordering::Relaxed) {
            0 => None,
            millis => SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(millis)),
        }
    }
}
