//! What a worker logs about pauses.

use std::{
    collections::BTreeSet,
    mem,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use number7_core::Account;
use tokio::time::Instant;

use crate::model::paused::Paused;

/// How many accounts a line names.
const MOST_NAMED: usize = 10;

/// How often a worker checks which accounts are paused, while some are: every 5 seconds.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Whether the inbox or accounts of it are paused, according to the last exchange. Changes are logged.
#[derive(Default)]
pub(super) struct PauseLog {
    is_inbox_paused: bool,
    has_paused_accounts: bool,
    looked_at: Option<Instant>,
    accounts: Arc<Mutex<BTreeSet<Account>>>,
}

/// A possible change.
pub(super) struct Change {
    was_inbox_paused: bool,
    is_inbox_paused: bool,
    /// The accounts that were paused before.
    accounts: Arc<Mutex<BTreeSet<Account>>>,
}

impl PauseLog {
    pub(super) fn is_inbox_paused(&self) -> bool {
        self.is_inbox_paused
    }

    pub(super) fn has_paused_accounts(&self) -> bool {
        self.has_paused_accounts
    }

    /// Takes over what an exchange says. Returns what to log, if that may have changed.
    pub(super) fn note(
        &mut self,
        is_inbox_paused: bool,
        has_paused_accounts: bool,
    ) -> Option<Change> {
        let was_inbox_paused = mem::replace(&mut self.is_inbox_paused, is_inbox_paused);
        // While all of the inbox is paused, an exchange does not mention accounts.
        let had_paused_accounts = match is_inbox_paused {
            true => self.has_paused_accounts,
            false => mem::replace(&mut self.has_paused_accounts, has_paused_accounts),
        };
        let is_new = was_inbox_paused != is_inbox_paused
            || had_paused_accounts != self.has_paused_accounts
            || self.has_paused_accounts
                && self.looked_at.is_none_or(|at| at.elapsed() >= LOOK_EVERY);
        is_new.then(|| {
            self.looked_at = Some(Instant::now());
            Change { was_inbox_paused, is_inbox_paused, accounts: Arc::clone(&self.accounts) }
        })
    }
}

impl Change {
    /// Logs it, with the pauses in the store.
    pub(super) fn log(self, inbox: &str, pauses: &[Paused]) {
        if self.was_inbox_paused && !self.is_inbox_paused {
            tracing::info!(target: "number7", inbox, "the inbox is no longer paused");
        }
        if self.is_inbox_paused && !self.was_inbox_paused {
            let paused = pauses.iter().find(|paused| paused.account.is_none());
            let by = paused.map(|paused| &*paused.by).unwrap_or_default();
            let why = paused.map(|paused| &*paused.why).unwrap_or_default();
            let until = paused.and_then(|paused| paused.until);
            let ends_in = until.and_then(|until| until.duration_since(SystemTime::now()).ok());
            tracing::info!(
                target: "number7", inbox, by, why, ?ends_in,
                "the inbox is paused: its workers claim nothing, and finish what they run"
            );
        }
        let now: BTreeSet<_> = pauses.iter().filter_map(|paused| paused.account.clone()).collect();
        let mut known = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        let before = mem::replace(&mut *known, now.clone());
        drop(known);
        if let Some((accounts, others)) = named(now.difference(&before)) {
            tracing::info!(
                target: "number7", inbox, ?accounts, others,
                "accounts are paused: the workers of the inbox claim none of their events"
            );
        }
        if let Some((accounts, others)) = named(before.difference(&now)) {
            tracing::info!(
                target: "number7", inbox, ?accounts, others, "accounts are no longer paused"
            );
        }
    }
}

/// The names of the first accounts, and how many others there are. `None` if there are none.
fn named<'a>(accounts: impl Iterator<Item = &'a Account>) -> Option<(Vec<&'a str>, usize)> {
    let mut names: Vec<_> = accounts.map(Account::as_str).collect();
    let others = names.len().saturating_sub(MOST_NAMED);
    names.truncate(MOST_NAMED);
    (!names.is_empty()).then_some((names, others))
}
