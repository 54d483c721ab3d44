//! Notifies other processes that events are ready, and listens to them.
//!
//! A message of Redis's `PUBLISH` reaches all who listen, on all nodes of a cluster, and is not stored for others.

use std::sync::{Arc, Once};

use futures_util::StreamExt;
use tokio::time::{sleep, timeout};

use super::{ask, link::Link};
use crate::{
    model::error::InboxError,
    store::{
        CONNECT_TIMEOUT,
        driver::Driver,
        wakes::{CHECK, Hearing, PAUSE, RETRY, Wakes},
    },
};

/// The channel. A message is the name of an inbox.
const CHANNEL: &str = "{number7}:announcements";

/// The messages for all inboxes of a process on one server.
pub(super) struct Messages {
    wakes: Arc<Wakes>,
    is_telling: Once,
    is_listening: Once,
}

impl Messages {
    pub(super) fn new(wakes: Arc<Wakes>) -> Self {
        Self { wakes, is_telling: Once::new(), is_listening: Once::new() }
    }

    /// From now on, notifies other processes of what the inboxes announce. If that fails, they still look for
    /// events themselves.
    pub(super) fn tell(&self, link: &Link, driver: &Driver) {
        self.is_telling.call_once(|| {
            let (wakes, link) = (Arc::clone(&self.wakes), link.clone());
            driver.runtime().spawn(async move {
                loop {
                    for inbox in wakes.announced().await {
                        publish(&link, &inbox).await;
                    }
                    sleep(PAUSE).await;
                }
            });
        });
    }

    /// From now on, listens to other processes.
    pub(super) fn listen(&self, link: &Link, driver: &Driver) {
        self.is_listening.call_once(|| {
            let (wakes, link) = (Arc::clone(&self.wakes), link.clone());
            driver.runtime().spawn(async move {
                loop {
                    _ = hear(&wakes, &link).await;
                    wakes.set_hears_others(false);
                    sleep(RETRY).await;
                }
            });
        });
    }
}

async fn publish(link: &Link, message: &str) {
    let mut publish = redis::cmd("PUBLISH");
    publish.arg(CHANNEL).arg(message);
    _ = ask(link, publish).await;
}

/// Listens until nothing more can be received, or another server is the master.
async fn hear(wakes: &Wakes, link: &Link) -> Result<(), InboxError> {
    let client = link.client().await?;
    let connect = async {
        let mut listener = client.get_async_pubsub().await?;
        listener.subscribe(CHANNEL).await?;
        Ok::<_, InboxError>(listener)
    };
    let Ok(listener) = timeout(CONNECT_TIMEOUT, connect).await else { return Ok(()) };
    let mut listener = listener?;
    let mut messages = listener.on_message();
    let mut hearing = Hearing::new(wakes);
    loop {
        if hearing.is_to_check() {
            publish(link, CHECK).await;
        }
        let next = async {
            tokio::select! {
                message = messages.next() => Some(message?.get_payload().unwrap_or_default()),
                () = link.moved_from(&client) => None,
            }
        };
        if !hearing.hear(next).await {
            return Ok(());
        }
    }
}
