//! Notifies other processes that events are ready, and listens to them.
//!
//! `NOTIFY` takes a lock that all notifying commits wait for, so no acceptance does it. It is a separate statement after the
//! commits, one for all that happened meanwhile.

use std::sync::{Arc, Once};

use sqlx::{
    postgres::{PgConnectOptions, PgListener, PgPoolOptions},
    query,
};
use tokio::time::{sleep, timeout};

use super::connections::{Connections, WeakConnections};
use crate::store::{
    CONNECT_TIMEOUT,
    driver::Driver,
    wakes::{CHECK, Hearing, PAUSE, RETRY, Wakes},
};

const NOTIFY: &str =
    "SELECT pg_catalog.pg_notify($1, inbox) FROM pg_catalog.unnest($2::text[]) AS inbox";

/// The notifications for all inboxes of a process in one schema. Their channel has the name of the schema.
pub(super) struct Notifications {
    channel: Arc<str>,
    wakes: Arc<Wakes>,
    is_telling: Once,
    is_listening: Once,
}

impl Notifications {
    pub(super) fn new(channel: Arc<str>, wakes: Arc<Wakes>) -> Self {
        Self { channel, wakes, is_telling: Once::new(), is_listening: Once::new() }
    }

    /// From now on, notifies other processes of what the inboxes announce. If that fails, they still look for
    /// events themselves.
    pub(super) fn tell(&self, by: &Connections, driver: &Driver) {
        self.is_telling.call_once(|| {
            let (wakes, channel, by) =
                (Arc::clone(&self.wakes), Arc::clone(&self.channel), by.downgrade());
            driver.runtime().spawn(async move {
                loop {
                    let inboxes = wakes.announced().await;
                    let Some(by) = by.upgrade() else { return };
                    _ = by.execute(query(NOTIFY).bind(&*channel).bind(inboxes)).await;
                    drop(by);
                    sleep(PAUSE).await;
                }
            });
        });
    }

    /// From now on, listens to other processes.
    pub(super) fn listen(&self, connect: &PgConnectOptions, by: &Connections, driver: &Driver) {
        self.is_listening.call_once(|| {
            let (wakes, channel, by) =
                (Arc::clone(&self.wakes), Arc::clone(&self.channel), by.downgrade());
            let connect = connect.clone();
            driver.runtime().spawn(async move {
                loop {
                    _ = hear(&wakes, &channel, &connect, &by).await;
                    wakes.set_hears_others(false);
                    sleep(RETRY).await;
                }
            });
        });
    }
}

/// Listens until nothing more can be received.
async fn hear(
    wakes: &Wakes,
    channel: &str,
    connect: &PgConnectOptions,
    by: &WeakConnections,
) -> Result<(), sqlx::Error> {
    let pool = PgPoolOptions::new().max_connections(1).acquire_timeout(CONNECT_TIMEOUT);
    let pool = pool.connect_lazy_with(connect.clone());
    let mut listener = PgListener::connect_with(&pool).await?;
    let Ok(listens) = timeout(CONNECT_TIMEOUT, listener.listen(channel)).await else {
        return Ok(());
    };
    listens?;
    let mut hearing = Hearing::new(wakes);
    loop {
        if hearing.is_to_check() {
            let Some(by) = by.upgrade() else { return Ok(()) };
            let check = query(NOTIFY).bind(channel.to_owned()).bind(vec![CHECK.to_owned()]);
            if by.execute(check).await.is_err() {
                return Ok(());
            }
        }
        let next = async { Some(listener.try_recv().await.ok()??.payload().to_owned()) };
        if !hearing.hear(next).await {
            return Ok(());
        }
    }
}
