//! The test suite of the contract, put to inboxes that break it.
#![allow(clippy::unwrap_used)]

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex},
};

use number7_core::{
    Accept, Acceptance, Record, StoreFuture,
    contract::{self, Place},
};
use tokio::task::yield_now;

/// How a store is broken.
#[derive(Clone, Copy, PartialEq)]
enum Broken {
    Not,
    /// What is stored lives as long as the one who stored it.
    Forgetful,
    /// Looks first, and claims later.
    CheckThenAct,
    /// The claim of the key and the record are two writes.
    ClaimThenStore,
    /// Answers duplicates of what is still on its way.
    Early,
    /// Reads the JSON and writes it anew.
    Reformats,
    /// Forgets the key with the work.
    ForgetsKeys,
    /// Takes the bytes for the key.
    KeyedByBytes,
}

/// The claimed keys with what is stored of them, and the keys that nobody worked on yet.
type Rows = (HashMap<String, Option<Record>>, VecDeque<String>);

#[derive(Clone, Default)]
struct Store(Arc<Mutex<Rows>>);

impl Store {
    fn knows(&self, key: &str) -> bool {
        self.0.lock().unwrap().0.contains_key(key)
    }

    fn insert(&self, record: Record) -> Acceptance {
        self.insert_as(record.key().to_owned(), record)
    }

    fn insert_as(&self, key: String, record: Record) -> Acceptance {
        let (records, queue) = &mut *self.0.lock().unwrap();
        if let Some(Some(_)) = records.get(&key) {
            return Acceptance::Duplicate;
        }
        queue.push_back(key.clone());
        records.insert(key, Some(record));
        Acceptance::New
    }
}

struct Inbox(Store, Broken);

impl Accept for Inbox {
    fn store(&self, record: Record) -> StoreFuture<'_> {
        Box::pin(async move { Ok(self.accepted(record).await) })
    }
}

impl Inbox {
    async fn accepted(&self, record: Record) -> Acceptance {
        let Self(store, broken) = self;
        yield_now().await;
        match broken {
            Broken::CheckThenAct => {
                if store.knows(record.key()) {
                    return Acceptance::Duplicate;
                }
                yield_now().await;
                store.insert(record);
                return Acceptance::New;
            }
            Broken::ClaimThenStore | Broken::Early => {
                if store.knows(record.key()) {
                    return Acceptance::Duplicate;
                }
                store.0.lock().unwrap().0.insert(record.key().to_owned(), None);
                yield_now().await;
            }
            _ => {}
        }
        let accepted = match broken {
            Broken::KeyedByBytes => store.insert_as(format!("{:?}", record.json()), record),
            _ => store.insert(record),
        };
        yield_now().await;
        accepted
    }
}

struct Places(Store, Broken);

impl Place for Places {
    async fn open(&self) -> Arc<dyn Accept> {
        let store = match self.1 {
            Broken::Forgetful => Store::default(),
            _ => self.0.clone(),
        };
        Arc::new(Inbox(store, self.1))
    }

    async fn work(&self) -> Vec<Vec<u8>> {
        let (records, queue) = &mut *self.0.0.lock().unwrap();
        let mut observed = Vec::new();
        for key in queue.drain(..) {
            let json = records[&key].as_ref().unwrap().json().to_vec();
            observed.push(match self.1 {
                Broken::Reformats => json.trim_ascii().to_vec(),
                _ => json,
            });
            if self.1 == Broken::ForgetsKeys {
                records.remove(&key);
            }
        }
        observed
    }
}

fn places(broken: Broken) -> Places {
    Places(Store::default(), broken)
}

#[tokio::test]
async fn what_keeps_all_promises_passes() {
    let place = places(Broken::Not);
    contract::survives_a_crash(&place).await;
    contract::one_of_many_is_new(&place).await;
    contract::a_dropped_future_loses_nothing(&place).await;
    contract::reaches_the_handler(&place).await;
    contract::stays_known(&place).await;
}

#[tokio::test]
#[should_panic = "the key is lost"]
async fn what_lives_in_the_process_does_not_survive() {
    contract::survives_a_crash(&places(Broken::Forgetful)).await;
}

#[tokio::test]
#[should_panic = "100 of 100 concurrent calls were new"]
async fn checking_before_acting_makes_many_new() {
    contract::one_of_many_is_new(&places(Broken::CheckThenAct)).await;
}

#[tokio::test]
#[should_panic = "a call answered before the record was there"]
async fn a_duplicate_must_not_be_answered_early() {
    contract::one_of_many_is_new(&places(Broken::Early)).await;
}

#[tokio::test]
#[should_panic = "a record is lost"]
async fn a_claim_without_its_record_is_a_lie() {
    contract::a_dropped_future_loses_nothing(&places(Broken::ClaimThenStore)).await;
}

#[tokio::test]
#[should_panic = "a record is lost or changed"]
async fn the_handler_gets_the_bytes_that_were_signed() {
    contract::reaches_the_handler(&places(Broken::Reformats)).await;
}

#[tokio::test]
#[should_panic = "the bytes are the key"]
async fn a_retry_may_differ_in_its_bytes() {
    contract::stays_known(&places(Broken::KeyedByBytes)).await;
}

#[tokio::test]
#[should_panic = "the key is forgotten"]
async fn a_key_must_outlive_the_work() {
    contract::stays_known(&places(Broken::ForgetsKeys)).await;
}
