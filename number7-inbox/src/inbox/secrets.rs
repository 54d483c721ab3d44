//! Which secrets signed what is there.

use std::{collections::BTreeMap, time::SystemTime};

use crate::{
    inbox::Inbox,
    model::{entry::State, error::InboxError},
    store::STEP,
};

/// What a secret has signed: what [`Inbox::secrets`] returns.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SecretUse {
    /// The name of the secret, as the [`Verifier`](number7_core::Verifier#rotation) had it.
    pub name: String,
    /// How many bodies it signed: events, and [conflicts](crate::Conflict).
    pub bodies: u64,
    /// When the first of them was accepted, by the store's clock.
    pub first: SystemTime,
    /// When the last of them was accepted.
    pub last: SystemTime,
}

impl Inbox {
    /// Which secrets signed the events that are there, by name.
    ///
    /// After a rotation it says when the old secret was last used, and so when it can be removed: the vendor retries for
    /// a while. After a leak it says whether there is anything to look at, and a [`Filter`](crate::Filter::signed_by) lists
    /// it.
    ///
    /// It goes through all events, some thousands a second, in steps that keep nobody waiting. What changes its state
    /// meanwhile may be counted twice, or not at all. A delivery that repeats an event is not kept, so it does not count
    /// here: the metric `number7_deliveries_total` has those.
    ///
    /// # Errors
    ///
    /// The store failed.
    pub async fn secrets(&self) -> Result<Vec<SecretUse>, InboxError> {
        let mut uses = BTreeMap::<String, SecretUse>::new();
        for state in State::ALL {
            let mut after = None;
            loop {
                let (entries, next) = self.store.list(state, after.as_deref(), STEP).await?;
                for (name, at) in entries.iter().flat_map(|entry| entry.signatures()) {
                    match uses.get_mut(name) {
                        Some(known) => known.add(at),
                        None => _ = uses.insert(name.to_owned(), SecretUse::new(name, at)),
                    }
                }
                after = next;
                if after.is_none() {
                    break;
                }
            }
        }
        Ok(uses.into_values().collect())
    }
}

impl SecretUse {
    fn new(name: &str, at: SystemTime) -> Self {
        Self { name: name.to_owned(), bodies: 1, first: at, last: at }
    }

    fn add(&mut self, at: SystemTime) {
        self.bodies += 1;
        (self.first, self.last) = (self.first.min(at), self.last.max(at));
    }
}
