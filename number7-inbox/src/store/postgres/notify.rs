//! Tells other processes that events are ready, and hears it from them.
//!
//! `NOTIFY` takes a lock that all commits which notify wait for, so no acceptance does it. It is a statement of its
//! own, after the commits, and one for all that happened meanwhile.

use std::{
    collections::{BTreeSet, HashMap},
    mem,
    sync::{Arc, Mutex, MutexGuard, Once, PoisonError, Weak},
    time::Duration,
};

use sqlx::{
    postgres::{PgConnectOptions, PgListener, PgPoolOptions},
    query,
};
use tokio::{
    sync::Notify,
    time::{sleep, timeout},
};

use super::connections::{Connections, WeakConnections};
use crate::{
    model::wake::Wake,
    store::{CONNECT_TIMEOUT, driver::Driver},
};

/// How long to wait for more to tell after one notification: 2 milliseconds.
const PAUSE: Duration = Duration::from_millis(2);

/// How often it is checked that notifications arrive if none does: every 30 seconds. A pooler may swallow them, and a
/// network may break without a word.
const CHECK_EVERY: Duration = Duration::from_secs(30);

/// How long one may take.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);

/// How long to wait before it is tried again to listen.
const RETRY: Duration = Duration::from_secs(1);

/// What a notification says that is only to arrive. No inbox can be named so.
const CHECK: &str = "?";

const NOTIFY: &str =
    "SELECT pg_catalog.pg_notify($1, inbox) FROM pg_catalog.unnest($2::text[]) AS inbox";

/// The notifications of all inboxes of a process in one schema, which is the name of their channel.
pub(super) struct Notifications {
    channel: Arc<str>,
    wakes: Mutex<HashMap<Arc<str>, Weak<Wake>>>,
    /// The inboxes that there is something to tell of.
    pending: Mutex<BTreeSet<Arc<str>>>,
    is_pending: Notify,
    is_telling: Once,
    is_listening: Once,
}

impl Notifications {
    pub(super) fn new(schema: &str) -> Self {
        Self {
            channel: Arc::from(schema),
            wakes: Mutex::default(),
            pending: Mutex::default(),
            is_pending: Notify::new(),
            is_telling: Once::new(),
            is_listening: Once::new(),
        }
    }

    /// What wakes the workers of an inbox.
    pub(super) fn wake(&self, inbox: &Arc<str>) -> Arc<Wake> {
        let mut wakes = lock(&self.wakes);
        if let Some(wake) = wakes.get(inbox).and_then(Weak::upgrade) {
            return wake;
        }
        // A name may come from a request, so those that are not in use take no memory.
        wakes.retain(|_, wake| wake.strong_count() > 0);
        let wake = Arc::<Wake>::default();
        wakes.insert(Arc::clone(inbox), Arc::downgrade(&wake));
        wake
    }

    /// Tells other processes that events of an inbox are ready.
    pub(super) fn announce(self: &Arc<Self>, inbox: &Arc<str>, by: &Connections, driver: &Driver) {
        lock(&self.pending).insert(Arc::clone(inbox));
        self.is_pending.notify_one();
        self.is_telling.call_once(|| {
            let (this, by) = (Arc::clone(self), by.downgrade());
            driver.runtime().spawn(async move {
                loop {
                    this.is_pending.notified().await;
                    let Some(by) = by.upgrade() else { return };
                    this.tell(&by).await;
                    drop(by);
                    sleep(PAUSE).await;
                }
            });
        });
    }

    /// If this fails, those who do not hear of it look for events by themselves.
    async fn tell(&self, by: &Connections) {
        let inboxes: Vec<String> =
            mem::take(&mut *lock(&self.pending)).iter().map(ToString::to_string).collect();
        _ = by.execute(query(NOTIFY).bind(&*self.channel).bind(inboxes)).await;
    }

    /// Hears from other processes from now on.
    pub(super) fn listen(
        self: &Arc<Self>,
        connect: &PgConnectOptions,
        by: &Connections,
        driver: &Driver,
    ) {
        self.is_listening.call_once(|| {
            let (this, connect, by) = (Arc::clone(self), connect.clone(), by.downgrade());
            driver.runtime().spawn(async move {
                loop {
                    _ = this.hear(&connect, &by).await;
                    this.each(|wake| wake.set_hears_others(false));
                    sleep(RETRY).await;
                }
            });
        });
    }

    /// Listens until nothing can be heard.
    async fn hear(
        &self,
        connect: &PgConnectOptions,
        by: &WeakConnections,
    ) -> Result<(), sqlx::Error> {
        let pool = PgPoolOptions::new().max_connections(1).acquire_timeout(CONNECT_TIMEOUT);
        let pool = pool.connect_lazy_with(connect.clone());
        let mut listener = PgListener::connect_with(&pool).await?;
        listener.listen(&self.channel).await?;
        let mut is_checked = false;
        loop {
            if !is_checked {
                let Some(by) = by.upgrade() else { return Ok(()) };
                let check = query(NOTIFY).bind(&*self.channel).bind(vec![CHECK.to_owned()]);
                if by.execute(check).await.is_err() {
                    return Ok(());
                }
            }
            let patience = if is_checked { CHECK_EVERY } else { CHECK_TIMEOUT };
            match timeout(patience, listener.try_recv()).await {
                Ok(heard) => {
                    // `None`: the connection is gone.
                    let Some(heard) = heard? else { return Ok(()) };
                    if !is_checked {
                        is_checked = true;
                        // What was told before was perhaps not heard.
                        self.each(|wake| {
                            wake.set_hears_others(true);
                            wake.events_are_ready();
                        });
                    }
                    let wake = lock(&self.wakes).get(heard.payload()).and_then(Weak::upgrade);
                    if let Some(wake) = wake {
                        wake.set_hears_others(true);
                        wake.events_are_ready();
                    }
                }
                Err(_) if is_checked => is_checked = false,
                Err(_) => return Ok(()),
            }
        }
    }

    fn each(&self, of: impl Fn(&Wake)) {
        lock(&self.wakes).values().filter_map(Weak::upgrade).for_each(|wake| of(&wake));
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}
