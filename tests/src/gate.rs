//! A handler that waits in the middle until the test lets it continue.

use std::sync::Arc;

use number7_inbox::{AcceptedEvent, BoxError, Inbox, Worker};
use tokio::sync::Notify;

use crate::patience::in_time;

/// One gate, in the handler and in the test.
#[derive(Clone, Default)]
pub struct Gate {
    begun: Arc<Notify>,
    open: Arc<Notify>,
}

impl Gate {
    /// A worker whose handlers wait here, and then are done.
    pub fn worker(&self, inbox: &Inbox) -> Worker {
        let gate = self.clone();
        inbox.worker(move |_: AcceptedEvent| {
            let gate = gate.clone();
            async move {
                gate.pass().await;
                Ok::<_, BoxError>(())
            }
        })
    }

    /// In the handler: reports that it has begun, and waits until it is let through.
    pub async fn pass(&self) {
        self.begun.notify_one();
        self.open.notified().await;
    }

    /// In the test: waits for a handler at the gate.
    ///
    /// # Panics
    ///
    /// If none comes.
    pub async fn begun(&self) {
        in_time("a handler at the gate", self.begun.notified()).await;
    }

    /// In the test: lets one handler through.
    pub fn open(&self) {
        self.open.notify_one();
    }
}
