//! The inboxes of a process in one store: it wakes their workers, and announces their events to other processes.

use std::{
    collections::{BTreeSet, HashMap},
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use tokio::{sync::Notify, time::timeout};

use crate::model::wake::Wake;

/// How long to wait between two announcements: 2 milliseconds. What happens meanwhile is announced together.
pub(super) const PAUSE: Duration = Duration::from_millis(2);

/// How long to wait for an announcement before checking that announcements still arrive: 30 seconds. A pooler may swallow them,
/// and a network may break silently.
const CHECK_EVERY: Duration = Duration::from_secs(30);

/// How long this check may take.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);

/// How long to wait before listening again after a failure: 1 second.
pub(super) const RETRY: Duration = Duration::from_secs(1);

/// The announcement that is sent for this check. No inbox can have this name.
pub(super) const CHECK: &str = "?";

#[derive(Default)]
pub(super) struct Wakes {
    of: Mutex<HashMap<Arc<str>, Weak<Wake>>>,
    hears_others: Mutex<bool>,
    /// The inboxes that are to be announced.
    announced: Mutex<BTreeSet<Arc<str>>>,
    is_announced: Notify,
}

impl Wakes {
    /// The [`Wake`] of the workers of an inbox.
    pub(super) fn get(&self, inbox: &Arc<str>) -> Arc<Wake> {
        let mut of = lock(&self.of);
        if let Some(wake) = of.get(inbox).and_then(Weak::upgrade) {
            return wake;
        }
        // A name may come from a request, so unused names must not take memory.
        of.retain(|_, wake| wake.strong_count() > 0);
        let wake = Arc::<Wake>::default();
        wake.set_hears_others(*lock(&self.hears_others));
        of.insert(Arc::clone(inbox), Arc::downgrade(&wake));
        wake
    }

    /// Announces to other processes that events of an inbox are ready.
    pub(super) fn announce(&self, inbox: &Arc<str>) {
        lock(&self.announced).insert(Arc::clone(inbox));
        self.is_announced.notify_one();
    }

    /// Waits until something is to be announced, and takes it. What happens meanwhile is announced together.
    pub(super) async fn announced(&self) -> Vec<String> {
        self.is_announced.notified().await;
        mem::take(&mut *lock(&self.announced)).iter().map(ToString::to_string).collect()
    }

    /// Another process, or this one, announced that events of an inbox are ready.
    pub(super) fn heard(&self, inbox: &str) {
        let wake = lock(&self.of).get(inbox).and_then(Weak::upgrade);
        if let Some(wake) = wake {
            wake.events_are_ready();
        }
    }

    /// Whether announcements of other processes arrive from now on. If that changes, some may have been missed.
    pub(super) fn set_hears_others(&self, hears: bool) {
        if mem::replace(&mut *lock(&self.hears_others), hears) == hears {
            return;
        }
        for wake in lock(&self.of).values().filter_map(Weak::upgrade) {
            wake.set_hears_others(hears);
            wake.events_are_ready();
        }
    }
}

/// Receives announcements of other processes, and checks now and then that they still arrive.
pub(super) struct Hearing<'a> {
    wakes: &'a Wakes,
    is_checked: bool,
}

impl<'a> Hearing<'a> {
    pub(super) fn new(wakes: &'a Wakes) -> Self {
        Self { wakes, is_checked: false }
    }

    /// Whether [`CHECK`] has to be announced, because nothing has arrived yet.
    pub(super) fn is_to_check(&self) -> bool {
        !self.is_checked
    }

    /// Waits for the next announcement; `None` if the connection is gone. Returns whether to continue.
    pub(super) async fn hear(&mut self, next: impl Future<Output = Option<String>>) -> bool {
        let patience = if self.is_checked { CHECK_EVERY } else { CHECK_TIMEOUT };
        match timeout(patience, next).await {
            Ok(None) => false,
            Ok(Some(inbox)) => {
                if !self.is_checked {
                    self.is_checked = true;
                    self.wakes.set_hears_others(true);
                }
                self.wakes.heard(&inbox);
                true
            }
            Err(_) => mem::take(&mut self.is_checked),
        }
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[tokio::test]
    async fn what_happens_meanwhile_is_announced_together() {
        let wakes = Wakes::default();
        let [one, two] = ["", "two"].map(Arc::from);
        for inbox in [&one, &two, &one] {
            wakes.announce(inbox);
        }
        assert_eq!(wakes.announced().await, ["", "two"]);
        assert_eq!(wakes.announced().now_or_never(), None);
        wakes.announce(&two);
        assert_eq!(wakes.announced().await, ["two"]);
    }

    #[tokio::test]
    async fn all_handles_of_an_inbox_have_one_wake_as_long_as_there_is_one() {
        let wakes = Wakes::default();
        let name = Arc::from("name");
        let wake = wakes.get(&name);
        assert!(Arc::ptr_eq(&wake, &wakes.get(&name)));
        wakes.set_hears_others(true);
        assert!(wake.hears_others() && wakes.get(&Arc::from("other")).hears_others());
        wake.by_events().await;
        wakes.heard("name");
        wake.by_events().await;
        wakes.heard("other");
        assert_eq!(wake.by_events().now_or_never(), None);
        drop(wake);
        _ = wakes.get(&Arc::from("third"));
        assert_eq!(lock(&wakes.of).len(), 1);
    }
}
