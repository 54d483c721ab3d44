//! Which accounts a worker claims events of, so that one with many events does not hold up the others.

use std::{
    collections::{HashMap, VecDeque},
    mem,
    time::Duration,
};

use number7_core::Record;
use tokio::time::Instant;

use crate::{model::claim::Claim, store::WaitingAccounts};

/// How often a worker that has more to do than it can looks for the accounts that wait: so often that nobody notices
/// the wait, and so seldom that nobody notices the look.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The same while no event has an account.
const LOOK_EVERY_WITHOUT: Duration = Duration::from_secs(1);

/// While more events are ready than a worker can claim, it goes round the accounts that have some, and claims the same
/// number of each. Events without an account are those of an account with an empty name.
///
/// While accounts are paused, it does so for all events: the store claims only those of the accounts that it is told.
#[derive(Default)]
pub(super) struct FairShare {
    /// Whether as much was claimed as was wanted, so that more may be ready.
    is_full: bool,
    has_paused_accounts: bool,
    /// The accounts that wait for their turn in this round, in the order in which the store has them, and those that had it and
    /// may have more.
    waiting: VecDeque<String>,
    served: Vec<String>,
    looked_at: Option<Instant>,
    /// Whether it has looked since the last claim.
    has_looked: bool,
    /// Where the next look begins: the round may have more accounts than one look finds.
    from: String,
}

impl FairShare {
    /// If it is time to look for accounts that wait: from which one on.
    pub(super) fn looks_from(&self) -> Option<&str> {
        let every = if self.has_accounts() { LOOK_EVERY } else { LOOK_EVERY_WITHOUT };
        let is_time = self.looked_at.is_none_or(|at| at.elapsed() >= every)
            // Nothing else finds what has become ready.
            || !self.is_full
            || !self.from.is_empty();
        (self.is_needed() && self.waiting.is_empty() && is_time).then_some(&self.from)
    }

    /// These accounts wait.
    pub(super) fn found(&mut self, WaitingAccounts { accounts, go_on_from }: WaitingAccounts) {
        (self.waiting, self.from) = (accounts.into(), go_on_from.unwrap_or_default());
        (self.looked_at, self.has_looked) = (Some(Instant::now()), true);
        self.served.clear();
    }

    /// The accounts whose turn it is if so many events are claimed, and how many of each are: what remains is for the
    /// oldest events of all.
    pub(super) fn next(&mut self, most: usize) -> (Vec<String>, usize) {
        if !self.is_needed() || !(self.has_accounts() || self.has_paused_accounts) {
            return Default::default();
        }
        if self.waiting.is_empty() {
            self.waiting = mem::take(&mut self.served).into();
        }
        let now = most.min(self.waiting.len());
        let accounts: Vec<_> = self.waiting.drain(..now).collect();
        self.served.extend_from_slice(&accounts);
        (accounts, most.checked_div(now).unwrap_or_default())
    }

    /// These events were claimed when so many were wanted of each of some accounts. An account that had fewer has none
    /// left, and is out of the round until it is found again.
    pub(super) fn served(&mut self, accounts: &[String], of_each: usize, claims: &[Claim]) {
        if claims.iter().any(|claim| claim.is_quarantined) {
            // It has taken the place of one of theirs.
            return;
        }
        let mut claimed: HashMap<_, _> = accounts.iter().map(|account| (&**account, 0)).collect();
        for claim in claims {
            let account = Record::account_of(&claim.key).unwrap_or_default();
            claimed.entry(account).and_modify(|claimed| *claimed += 1);
        }
        self.served.retain(|account| claimed.get(&**account).is_none_or(|had| *had >= of_each));
    }

    /// A claim has ended. Returns whether another one may find more at once.
    pub(super) fn claimed(&mut self, is_full: bool, has_paused_accounts: bool) -> bool {
        (self.is_full, self.has_paused_accounts) = (is_full, has_paused_accounts);
        let is_round_over = mem::take(&mut self.has_looked)
            && self.from.is_empty()
            && self.waiting.is_empty()
            && self.served.is_empty();
        is_full || has_paused_accounts && !is_round_over
    }

    fn is_needed(&self) -> bool {
        self.is_full || self.has_paused_accounts
    }

    /// Whether an event of the round has an account.
    fn has_accounts(&self) -> bool {
        self.waiting.iter().chain(&self.served).any(|account| !account.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::claim::{EventId, Number};

    fn claim(key: &str, is_quarantined: bool) -> Claim {
        let claim = Claim::of_test(EventId(1), Number::default());
        Claim { key: key.into(), is_quarantined, ..claim }
    }

    #[test]
    fn an_account_that_has_none_left_is_out_of_the_round_unless_a_quarantined_event_took_its_place()
    {
        let mut round = FairShare::default();
        round.claimed(true, false);
        let accounts = ["", "a", "b"].map(String::from).into();
        round.found(WaitingAccounts { accounts, go_on_from: None });
        let (accounts, of_each) = round.next(3);
        assert_eq!((&*accounts, of_each), (&["".into(), "a".into(), "b".into()][..], 1));
        let [none, a] = ["job.completed:1", "a/job.completed:1"].map(|key| claim(key, false));
        let mut claims = vec![none, a, claim("c/job.completed:1", true)];
        round.served(&accounts, of_each, &claims);
        assert_eq!(round.next(3).0, accounts, "b had no place");
        claims.pop();
        round.served(&accounts, of_each, &claims);
        assert_eq!(round.next(3).0, ["", "a"], "b has none");
    }
}
