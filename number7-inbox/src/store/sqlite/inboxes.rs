//! The inboxes of one file.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use super::group::Waiting;
use crate::{model::wake::Wake, store::sql::Counted};

/// What all handles of an inbox share in a process.
pub(super) struct Inbox {
    pub(super) name: Box<str>,
    pub(super) waiting: Waiting,
    pub(super) done: Counted,
    pub(super) wake: Arc<Wake>,
}

/// The inboxes that the process uses.
#[derive(Default)]
pub(super) struct Inboxes(Mutex<HashMap<Box<str>, Weak<Inbox>>>);

impl Inboxes {
    pub(super) fn get(&self, name: &str) -> Arc<Inbox> {
        let mut inboxes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(inbox) = inboxes.get(name).and_then(Weak::upgrade) {
            return inbox;
        }
        // A name may come from a request, so unused names must not take memory.
        inboxes.retain(|_, inbox| inbox.strong_count() > 0);
        let (name, waiting) = (Box::from(name), Waiting::default());
        let inbox = Inbox { name, waiting, done: Counted::default(), wake: Arc::default() };
        let inbox = Arc::new(inbox);
        inboxes.insert(inbox.name.clone(), Arc::downgrade(&inbox));
        inbox
    }

    /// Wakes the workers of all of them.
    pub(super) fn wake(&self) {
        let inboxes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inboxes.values().filter_map(Weak::upgrade).for_each(|inbox| inbox.wake.events_are_ready());
    }
}
