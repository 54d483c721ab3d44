//! Tests whether an inbox keeps the [contract](Accept#contract), for any implementation.
//!
//! Describe your inbox as a [`Place`] and call the five functions, each in its own test. They need no particular async runtime,
//! and panic if a promise is broken.
//!
//! # Example
//!
//! ```
//! use std::{collections::{HashMap, VecDeque}, sync::{Arc, Mutex}};
//!
//! use number7_core::{Accept, Acceptance, Record, StoreFuture, contract::{self, Place}};
//!
//! /// Keeps its promises for as long as the test has it.
//! #[derive(Clone, Default)]
//! struct Memory(Arc<Mutex<(HashMap<String, Record>, VecDeque<String>)>>);
//!
//! impl Accept for Memory {
//!     fn store(&self, record: Record) -> StoreFuture<'_> {
//!         Box::pin(async move {
//!             let (records, queue) = &mut *self.0.lock().expect("no panic under the lock");
//!             if records.contains_key(record.key()) {
//!                 return Ok(Acceptance::Duplicate);
//!             }
//!             queue.push_back(record.key().to_owned());
//!             records.insert(record.key().to_owned(), record);
//!             Ok(Acceptance::New)
//!         })
//!     }
//! }
//!
//! impl Place for Memory {
//!     async fn open(&self) -> Arc<dyn Accept> {
//!         Arc::new(self.clone())
//!     }
//!
//!     async fn work(&self) -> Vec<Vec<u8>> {
//!         let (records, queue) = &mut *self.0.lock().expect("no panic under the lock");
//!         queue.drain(..).map(|key| records[&key].json().to_vec()).collect()
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let place = Memory::default();
//! contract::survives_a_crash(&place).await;
//! contract::one_of_many_is_new(&place).await;
//! contract::a_dropped_future_loses_nothing(&place).await;
//! contract::reaches_the_handler(&place).await;
//! contract::stays_known(&place).await;
//! # }
//! ```

use std::{
    future::{Future, poll_fn},
    mem,
    pin::{Pin, pin},
    process, slice,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::Poll,
};

use crate::{Accept, Acceptance, Delivery, Rejection, Secret, Verifier};

/// The body of most deliveries.
const JSON: &str = r#"{"event":"job.completed","jobId":"JOB"}"#;

/// How many deliveries of one key [`one_of_many_is_new`] makes at once.
const CONCURRENT: usize = 100;

/// The most polls that [`a_dropped_future_loses_nothing`] tries.
const MOST_POLLS: usize = 1_000;

/// A store that can be opened more than once, and a worker for it.
#[expect(async_fn_in_trait, reason = "the suite awaits in place, so nothing has to be Send")]
pub trait Place {
    /// Opens the store as a starting process would, and returns the inbox under test. Every call opens the same store.
    async fn open(&self) -> Arc<dyn Accept>;

    /// Handles every event that is accepted and not yet handled, and returns the JSON that the handler got for
    /// each. No event is returned twice.
    async fn work(&self) -> Vec<Vec<u8>>;
}

/// Promise 1: `Ok` means that the record survives a crash of the process.
///
/// # Panics
///
/// If the key or the record is lost.
pub async fn survives_a_crash<P: Place>(place: &P) {
    let inbox = place.open().await;
    let delivery = delivery();
    assert_eq!(ok(inbox.accept(&delivery).await), Acceptance::New);
    // A crash runs no destructors.
    mem::forget(inbox);
    let inbox = place.open().await;
    assert_eq!(ok(inbox.accept(&delivery).await), Acceptance::Duplicate, "the key is lost");
    assert!(works_on(place, &[delivery]).await, "the record is lost");
}

/// Promise 2: of any number of concurrent calls with one key, exactly one is new, and the others return only when
/// that record is durable.
///
/// # Panics
///
/// If no call or more than one is new, or if a call answers before the record is stored.
pub async fn one_of_many_is_new<P: Place>(place: &P) {
    let inbox = place.open().await;
    let delivery = delivery();
    let mut calls: Vec<Option<Pin<Box<_>>>> =
        (0..CONCURRENT).map(|_| Some(Box::pin(inbox.accept(&delivery)))).collect();
    let mut answers = Vec::new();
    while answers.len() < CONCURRENT {
        let answer = poll_fn(|cx| {
            let mut ready = Poll::Pending;
            for slot in &mut calls {
                let Some(call) = slot else { continue };
                if let Poll::Ready(answer) = call.as_mut().poll(cx) {
                    *slot = None;
                    ready = Poll::Ready(answer);
                    break;
                }
            }
            ready
        });
        answers.push(ok(answer.await));
        if answers.len() == 1 {
            let there = works_on(place, slice::from_ref(&delivery)).await;
            assert!(there, "a call answered before the record was there");
        }
    }
    let new = answers.iter().filter(|answer| **answer == Acceptance::New).count();
    assert_eq!(new, 1, "{new} of {CONCURRENT} concurrent calls were new");
}

/// Promise 3: a future that is dropped at any await point leaves either nothing or the whole record, and later
/// calls still answer truthfully.
///
/// In your own tests, check the same for errors, because only you can provoke one.
///
/// # Panics
///
/// If a record is lost or incomplete, or if a later call says that it is stored when it is not.
pub async fn a_dropped_future_loses_nothing<P: Place>(place: &P) {
    let mut all = Vec::new();
    for polls in 0..MOST_POLLS {
        let inbox = place.open().await;
        let (dropped, next) = (delivery(), delivery());
        let completed = poll_times(inbox.accept(&dropped), polls).await;
        // The next call is about another event, and must not overwrite the dropped one.
        assert_eq!(ok(inbox.accept(&next).await), Acceptance::New, "after {polls} polls");
        ok(inbox.accept(&dropped).await);
        assert_eq!(ok(inbox.accept(&dropped).await), Acceptance::Duplicate, "after {polls} polls");
        all.extend([dropped, next]);
        if let Some(answer) = completed {
            assert_eq!(ok(answer), Acceptance::New);
            assert!(works_on(place, &all).await, "a record is lost");
            return;
        }
    }
    panic!("a call did not complete within {MOST_POLLS} polls");
}

/// Promise 4: after `Ok`, the process that handles the events gets this one, byte for byte.
///
/// # Panics
///
/// If the event does not arrive, or was changed.
pub async fn reaches_the_handler<P: Place>(place: &P) {
    let inbox = place.open().await;
    let odd = [
        "  {\"event\" : \"job.completed\",\r\n\t\"jobId\":\"JOB\", \"n\":1e999, \"s\":\"\\ud800\\u0000\"} ",
        r#"{"event":"job.failed","jobId":"JOB","error":"käse – 火 🦀"}"#,
        r#"{"event":"JOB"}"#,
        r#"{"event":"job.completed","jobId":"JOB\u0000"}"#,
    ]
    .map(|json| of(json, &job()));
    for delivery in &odd {
        assert_eq!(ok(inbox.accept(delivery).await), Acceptance::New);
    }
    assert!(works_on(place, &odd).await, "a record is lost or changed");
}

/// Promise 5: a key stays known after its event was handled, even if a repeated delivery has other bytes. The vendor does not
/// publish whether its retries repeat the same bytes. Test the retention yourself, because only your tests can make time pass.
///
/// # Panics
///
/// If a key is new again after its event was handled.
pub async fn stays_known<P: Place>(place: &P) {
    let inbox = place.open().await;
    let job = job();
    let [first, again] =
        [JSON, r#"{"event":"job.completed","jobId":"JOB","attempt":2}"#].map(|json| of(json, &job));
    assert_eq!(ok(inbox.accept(&first).await), Acceptance::New);
    // A place may call other bytes a conflict, or may ignore them.
    assert_ne!(ok(inbox.accept(&again).await), Acceptance::New, "the bytes are the key");
    assert!(works_on(place, slice::from_ref(&first)).await, "the record is lost");
    for delivery in [first.clone(), again] {
        let known = ok(place.open().await.accept(&delivery).await);
        assert_ne!(known, Acceptance::New, "the key is forgotten");
        let is_same = delivery.body() == first.body();
        assert!(!is_same || known == Acceptance::Duplicate, "the same bytes are {known:?}");
        assert!(!works_on(place, &[delivery]).await, "a duplicate is worked on");
    }
}

/// Whether the handler gets all of them.
async fn works_on(place: &impl Place, deliveries: &[Delivery]) -> bool {
    let observed = place.work().await;
    deliveries.iter().all(|delivery| observed.iter().any(|json| json == delivery.body()))
}

#[track_caller]
fn ok(answer: Result<Acceptance, Rejection>) -> Acceptance {
    answer.unwrap_or_else(|rejection| panic!("the inbox failed: {rejection}"))
}

/// Polls a future this many times, and drops it if it is still pending.
async fn poll_times<F: Future>(future: F, mut polls: usize) -> Option<F::Output> {
    let mut future = pin!(future);
    poll_fn(|cx| {
        if polls == 0 {
            return Poll::Ready(None);
        }
        polls -= 1;
        match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if polls == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// A new job.
fn job() -> String {
    static JOBS: AtomicUsize = AtomicUsize::new(0);
    format!("contract_{}_{}", process::id(), JOBS.fetch_add(1, Ordering::Relaxed))
}

/// An event of a new job.
fn delivery() -> Delivery {
    of(JSON, &job())
}

/// A signed body, with this job instead of `JOB`.
fn of(json: &str, job: &str) -> Delivery {
    let body = json.replace("JOB", job);
    let secret = Secret::new("the secret of the contract").expect("a good secret");
    let signature = secret.sign(&body).to_string();
    Verifier::new(secret).verify(signature, body).expect("the signature is good")
}
