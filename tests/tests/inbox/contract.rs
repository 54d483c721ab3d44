//! The stores keep the contract of inboxes.
#![allow(clippy::unwrap_used)]

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use number7_core::{
    Accept,
    contract::{self, Place},
};
use number7_inbox::AcceptedEvent;
use number7_tests::{on_every_store, store::Store};

struct Places(Store);

impl Place for Places {
    async fn open(&self) -> Arc<dyn Accept> {
        Arc::new(self.0.open().await)
    }

    async fn work(&self) -> Vec<Vec<u8>> {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let handled = Arc::clone(&seen);
        let worker = self.0.open().await.worker(move |event: AcceptedEvent| {
            handled.lock().unwrap().push(event.json().to_vec());
            async { Ok::<_, std::io::Error>(()) }
        });
        worker.run_until(self.0.settled(Duration::from_secs(60))).await;
        Arc::into_inner(seen).unwrap().into_inner().unwrap()
    }
}

async fn survives_a_crash(store: Store) {
    contract::survives_a_crash(&Places(store)).await;
}

async fn one_of_many_is_new(store: Store) {
    contract::one_of_many_is_new(&Places(store)).await;
}

async fn a_dropped_future_loses_nothing(store: Store) {
    contract::a_dropped_future_loses_nothing(&Places(store)).await;
}

async fn reaches_the_handler(store: Store) {
    contract::reaches_the_handler(&Places(store)).await;
}

async fn stays_known(store: Store) {
    contract::stays_known(&Places(store)).await;
}

on_every_store!(
    and in memory:
    survives_a_crash,
    one_of_many_is_new,
    a_dropped_future_loses_nothing,
    reaches_the_handler,
    stays_known;
);
