//! Workers in the background of a test, and the events that they have handled.

use std::{
    collections::HashMap,
    panic::Location,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use number7_core::Acceptance;
use number7_inbox::{AcceptedEvent, BoxError, Entry, Filter, Inbox, State, Worker};
use sqlx::Connection;
use tokio::{
    sync::oneshot,
    task::JoinHandle,
    time::{sleep, timeout},
};

pub use crate::patience::PATIENCE;
use crate::{body, delivery, patience::in_time, sign, store::Store, verifier};

/// Waits until a job is accepted, and returns how long that took.
///
/// # Panics
///
/// If that does not happen.
pub async fn accepted_at_last(inbox: &Inbox, job: &str) -> Duration {
    let begun = Instant::now();
    while let Err(refused) = inbox.accept(&delivery("job.completed", job)).await {
        assert!(begun.elapsed() < PATIENCE, "it is not accepted: {refused}");
        sleep(Duration::from_millis(50)).await;
    }
    begun.elapsed()
}

/// A worker in the background. It runs until it is stopped.
pub struct Running(oneshot::Sender<()>, JoinHandle<()>);

impl Running {
    /// Starts a worker.
    #[must_use]
    pub fn start(worker: Worker) -> Self {
        let (stop, stopped) = oneshot::channel();
        let signal = async { _ = stopped.await };
        Self(stop, tokio::spawn(worker.run_until(signal)))
    }

    /// Stops it, and waits for its running attempts.
    pub async fn stop(self) {
        self.0.send(()).unwrap();
        in_time("the stop of a worker", self.1).await.unwrap();
    }

    /// Like a crash: its lease is no longer renewed.
    pub async fn crash(self) {
        self.1.abort();
        _ = in_time("the end of a worker that was aborted", self.1).await;
    }
}

/// How often each key was handled.
#[derive(Clone, Default)]
pub struct Handled(Arc<Mutex<HashMap<String, u32>>>);

impl Handled {
    /// Counts an event.
    pub fn count(&self, event: &AcceptedEvent) {
        *self.0.lock().unwrap().entry(event.key().to_owned()).or_default() += 1;
    }

    /// How often the event with this key was handled.
    #[must_use]
    pub fn of(&self, key: &str) -> u32 {
        self.0.lock().unwrap().get(key).copied().unwrap_or_default()
    }

    /// How many events were handled. Fails if one was handled twice.
    #[must_use]
    pub fn events(&self) -> usize {
        let handled = self.0.lock().unwrap();
        assert!(handled.values().all(|count| *count == 1), "handled twice: {handled:?}");
        handled.len()
    }

    /// A worker that counts.
    pub fn worker(&self, inbox: &Inbox) -> Worker {
        let handled = self.clone();
        inbox.worker(move |event: AcceptedEvent| {
            handled.count(&event);
            async { Ok::<_, BoxError>(()) }
        })
    }
}

/// Accepts the published payload for another event and job.
pub async fn accept(inbox: &Inbox, event: &str, job: &str) -> Acceptance {
    inbox.accept(&delivery(event, job)).await.unwrap()
}

/// Accepts an event, and another body for it.
pub async fn accept_again(inbox: &Inbox) {
    accept(inbox, "job.completed", "job_1").await;
    let body = body("job.completed", "job_1").replace("invoice", "grn");
    let again = verifier().verify(sign(&body), body).unwrap();
    assert_eq!(inbox.accept(&again).await.unwrap(), Acceptance::Conflict);
}

/// Delivers to an inbox on SQLite that another program has locked, and does not wait for the answer.
pub async fn abandon(store: &Store, inbox: &Inbox) {
    let mut other = store.sqlite_connection().await;
    let lock = other.begin_with("BEGIN IMMEDIATE").await.unwrap();
    let delivery = delivery("job.completed", "job_1");
    let accepted = inbox.accept(&delivery);
    assert!(timeout(Duration::from_millis(200), accepted).await.is_err());
    lock.rollback().await.unwrap();
}

/// The dead letters, the oldest first, at most a hundred.
pub async fn dead_letters(inbox: &Inbox) -> Vec<Entry> {
    inbox.list(State::Dead, &Filter::new(), None, 100).await.unwrap().entries
}

/// Waits for a condition.
///
/// # Panics
///
/// If it never becomes true, or if it cannot be checked.
#[track_caller]
pub fn until(mut condition: impl AsyncFnMut() -> bool) -> impl Future<Output = ()> {
    let what = format!("what has to happen at {}", Location::caller());
    let happens = async move {
        while !condition().await {
            sleep(Duration::from_millis(10)).await;
        }
    };
    async move { in_time(&what, happens).await }
}
