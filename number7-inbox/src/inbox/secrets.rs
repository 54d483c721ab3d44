//! Which secrets signed the events of an inbox.

use std::{collections::BTreeMap, time::SystemTime};

use crate::{
    inbox::Inbox,
    model::{entry::State, error::InboxError},
    store::STEP,
};

/// How much a secret has signed: what [`Inbox::secrets`] returns.
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
    /// After a rotation, it shows when the old secret was last used, and so when you can remove it: the vendor
    /// retries for a while. After a leak, it shows whether there is anything to examine, and a
    /// [`Filter`](crate::Filter::signed_by) lists those events.
    ///
    /// It goes through all events, some thousands a second, in small steps that hold up nobody else. An event that changes its
    /// state meanwhile may be counted twice, or not at all. Deliveries that repeat an event are not kept, so they do not count
    /// here. The metric `number7_deliveries_total` counts them.
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
