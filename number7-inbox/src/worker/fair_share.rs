//! Which accounts a worker claims events of, so that one with many events does not hold up the others.

use std::{collections::HashMap, time::Duration};

use number7_core::Record;
use tokio::time::Instant;

use crate::{model::claim::Claim, store::WaitingAccounts};

/// How often a worker that has more to do than it can looks for the accounts that wait: so often that nobody notices
/// the wait, and so seldom that nobody notices the look.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The same while no event has an account.
const LOOK_EVERY_WITHOUT: Duration = Duration::from_secs(1);

/// While more events are ready than a worker can claim, it goes round the accounts that have some, and claims the same
/// number of each. The oldest events of all have a share like that of an account, so that events without an account get
/// theirs.
#[derive(Default)]
pub(super) struct FairShare {
    /// Whether more was ready than was claimed.
    is_behind: bool,
    /// The accounts of this round, in the order in which the store has them, and how many of them had their turn. The last one is
    /// followed by the oldest events of all.
    accounts: Vec<String>,
    served: usize,
    looked_at: Option<Instant>,
    /// Where the next look begins: the round may have more accounts than one look finds.
    after: String,
}

impl FairShare {
    /// If it is time to look for accounts that wait: after which one.
    pub(super) fn looks_after(&self) -> Option<&str> {
        let is_over = self.served == 0 || self.served > self.accounts.len();
        let every = if self.accounts.is_empty() { LOOK_EVERY_WITHOUT } else { LOOK_EVERY };
        let is_time = self.looked_at.is_none_or(|at| at.elapsed() >= every);
        (self.is_behind && is_over && (is_time || !self.after.is_empty())).then_some(&self.after)
    }

    /// These accounts wait.
    pub(super) fn found(&mut self, WaitingAccounts { accounts, go_on_after }: WaitingAccounts) {
        let (served, looked_at, after) = (0, Some(Instant::now()), go_on_after.unwrap_or_default());
        *self = Self { accounts, served, looked_at, after, ..*self };
    }

    /// The accounts whose turn it is if so many events are claimed, and how many of each are: what remains is for the
    /// oldest events of all.
    pub(super) fn next(&mut self, most: usize) -> (Vec<String>, usize) {
        if !self.is_behind || self.accounts.is_empty() || most == 0 {
            return Default::default();
        }
        let served = if self.served > self.accounts.len() { 0 } else { self.served };
        // One more than there are accounts: the oldest events of all.
        let now = most.min(self.accounts.len() + 1 - served);
        self.served = served + now;
        let accounts = self.accounts[served..].iter().take(now).cloned().collect();
        (accounts, most / now)
    }

    /// A claim got as many events as were wanted, or not.
    pub(super) fn claimed(&mut self, is_full: bool) {
        self.is_behind = is_full;
    }

    /// These events were claimed when so many were wanted of each of some accounts. An account that had fewer has none
    /// left, and is out of the round until it is found again.
    pub(super) fn served(&mut self, accounts: &[String], of_each: usize, claims: &[Claim]) {
        if claims.iter().any(|claim| claim.is_quarantined) {
            // It has taken the place of one of theirs.
            return;
        }
        let mut claimed = HashMap::<_, usize>::new();
        for account in claims.iter().filter_map(|claim| Record::account_of(&claim.key)) {
            *claimed.entry(account).or_default() += 1;
        }
        for account in accounts {
            if claimed.get(&**account).copied().unwrap_or_default() < of_each
                && let Some(at) = self.accounts.iter().position(|other| other == account)
            {
                self.accounts.remove(at);
                self.served -= usize::from(at < self.served);
            }
        }
    }
}
