//! What a handler can say, and what a worker does with handlers, on every store.
#![allow(clippy::unwrap_used)]

use std::{
    future::pending,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use number7_inbox::{AcceptedEvent, BoxError, Failure, MIN_LEASE, RetryHint, State};
use number7_tests::{
    gate::Gate,
    on_every_store,
    running::{Handled, PATIENCE, Running, accept, until},
    store::Store,
};
use tokio::time::{sleep, timeout};
use tower::{ServiceBuilder, service_fn};

/// A permanent failure: one attempt, even if others are left.
async fn what_fails_for_good_is_a_dead_letter_at_once(store: Store) {
    let inbox = store.open().await;
    accept(&inbox, "job.completed", "job_1").await;
    let worker = inbox.worker(async |event: AcceptedEvent| -> Result<(), Failure> {
        event.event()?;
        Err(Failure::permanent("no such customer"))
    });
    worker.run_until(store.settled(PATIENCE)).await;
    let letter = inbox.show("job.completed:job_1").await.unwrap().unwrap();
    assert_eq!((letter.state(), letter.attempts()), (State::Dead, 1));
    assert_eq!(letter.error(), "no such customer");
}

/// It is snoozed more often than there are attempts, each time for as long as the handler says, and after an error
/// that stays in the history.
async fn a_snooze_uses_no_attempt_and_keeps_the_errors(store: Store) {
    let (inbox, starts) = (store.open().await, Arc::new(Mutex::new(Vec::new())));
    accept(&inbox, "job.completed", "job_1").await;
    let seen = Arc::clone(&starts);
    let worker = inbox.worker(move |event: AcceptedEvent| {
        let mut seen = seen.lock().unwrap();
        seen.push((event.attempt(), Instant::now()));
        let number = seen.len();
        async move {
            match number {
                1 => Err("the real error".into()),
                2 => Err(Failure::snooze(Duration::ZERO, "too early")),
                3 | 4 => Err(Failure::snooze(Duration::from_secs(1), "still too early")),
                _ => Ok(()),
            }
        }
    });
    let worker = worker.attempts(2).backoff(Duration::ZERO, Duration::ZERO);
    worker.run_until(store.settled(PATIENCE)).await;
    let starts = starts.lock().unwrap().clone();
    assert_eq!(starts.iter().map(|start| start.0).collect::<Vec<_>>(), [1, 2, 2, 2, 2]);
    for pair in starts[1..].windows(2) {
        // A snooze for no time is one for a second.
        assert!(pair[1].1 - pair[0].1 > Duration::from_millis(950), "{starts:?}");
    }
    let done = inbox.show("job.completed:job_1").await.unwrap().unwrap();
    assert_eq!((done.state(), done.attempts()), (State::Done, 2));
    let notes: Vec<_> = done
        .errors()
        .iter()
        .map(|error| (error.text(), error.attempt(), error.snoozes()))
        .collect();
    assert_eq!(notes, [("the real error", 1, 0), ("still too early", 2, 3)]);
}

async fn an_attempt_that_takes_too_long_has_failed(store: Store) {
    let (inbox, handled) = (store.open().await, Handled::default());
    accept(&inbox, "job.completed", "slow").await;
    accept(&inbox, "job.completed", "fast").await;
    let counted = handled.clone();
    let worker = inbox.worker(move |event: AcceptedEvent| {
        let counted = counted.clone();
        async move {
            if event.key().ends_with("slow") && event.attempt() == 1 {
                pending::<()>().await;
            }
            counted.count(&event);
            Ok::<_, BoxError>(())
        }
    });
    // One at a time: the slow one gives up its place.
    let worker = worker.concurrency(1).backoff(Duration::ZERO, Duration::ZERO);
    worker.timeout(Duration::from_millis(200)).run_until(store.settled(PATIENCE)).await;
    assert_eq!(handled.events(), 2);
    let slow = inbox.show("job.completed:slow").await.unwrap().unwrap();
    assert_eq!((slow.state(), slow.attempts()), (State::Done, 2));
    assert_eq!(slow.error(), "the attempt took longer than its limit of 200ms");
}

/// Limits come from tower's layers, and the hint of an error about trying again passes through them.
async fn a_tower_service_handles_events(store: Store) {
    let inbox = store.open().await;
    let jobs: [_; 6] = std::array::from_fn(|job| format!("job_{job}"));
    for job in &jobs {
        accept(&inbox, "job.completed", job).await;
    }
    accept(&inbox, "job.completed", "hopeless").await;
    let running = Arc::new(Mutex::new((0, 0)));
    let seen = Arc::clone(&running);
    let service = service_fn(move |event: AcceptedEvent| {
        let running = Arc::clone(&seen);
        async move {
            if event.key().ends_with("hopeless") {
                return Err(BoxError::from(RetryHint::Never));
            }
            {
                let (now, most) = &mut *running.lock().unwrap();
                *now += 1;
                *most = (*most).max(*now);
            }
            sleep(Duration::from_millis(50)).await;
            running.lock().unwrap().0 -= 1;
            match event.attempt() {
                1 if event.key().ends_with("job_0") => pending().await,
                _ => Ok(()),
            }
        }
    });
    let service =
        ServiceBuilder::new().concurrency_limit(2).timeout(Duration::from_secs(1)).service(service);
    let worker = inbox.worker_service(service).backoff(Duration::ZERO, Duration::ZERO);
    worker.concurrency(8).run_until(store.settled(PATIENCE)).await;
    assert_eq!(*running.lock().unwrap(), (0, 2), "the limit is not the layer's");
    let slow = inbox.show("job.completed:job_0").await.unwrap().unwrap();
    assert_eq!(
        (slow.state(), slow.attempts(), slow.error()),
        (State::Done, 2, "request timed out")
    );
    let hopeless = inbox.show("job.completed:hopeless").await.unwrap().unwrap();
    assert_eq!((hopeless.state(), hopeless.attempts()), (State::Dead, 1));
    assert_eq!(inbox.stats().await.unwrap().done, 6);
}

/// It panics when it is dropped.
struct Grenade;

impl Drop for Grenade {
    fn drop(&mut self) {
        panic!("dropped");
    }
}

async fn a_handler_that_panics_when_it_is_given_up_has_failed(store: Store) {
    let inbox = store.open().await;
    accept(&inbox, "job.completed", "job_1").await;
    let worker = inbox.worker(async |event: AcceptedEvent| -> Result<(), Failure> {
        if event.attempt() == 1 {
            let _grenade = Grenade;
            pending::<()>().await;
        }
        Ok(())
    });
    let worker = worker.timeout(Duration::from_millis(100)).concurrency(1);
    let worker = Running::start(worker.backoff(Duration::ZERO, Duration::ZERO));
    until(async || inbox.stats().await.unwrap().done == 1).await;
    timeout(PATIENCE, worker.stop()).await.expect("its place is taken forever");
    let errors = inbox.show("job.completed:job_1").await.unwrap().unwrap();
    assert_eq!(errors.error(), "panicked: dropped");
}

async fn stopping_waits_no_longer_than_it_may(store: Store) {
    let (inbox, gate) = (store.open().await, Gate::default());
    accept(&inbox, "job.completed", "job_1").await;
    let handlers = gate.clone();
    let worker = inbox.worker(move |_: AcceptedEvent| {
        let gate = handlers.clone();
        async move {
            gate.pass().await;
            Ok::<_, BoxError>(())
        }
    });
    let worker = Running::start(worker.attempts(1).shutdown_timeout(Duration::from_millis(300)));
    gate.begun().await;
    let begun = Instant::now();
    timeout(PATIENCE, worker.stop()).await.expect("it waits for the handler");
    assert!(begun.elapsed() >= Duration::from_millis(300), "it did not wait");
    // At once, even though it was the last attempt.
    let entry = inbox.show("job.completed:job_1").await.unwrap().unwrap();
    assert_eq!((entry.attempts(), entry.errors().len()), (0, 1));
    let handled = Handled::default();
    handled.worker(&inbox).attempts(1).run_until(store.settled(PATIENCE)).await;
    assert_eq!(handled.of("job.completed:job_1"), 1);
}

async fn a_paused_worker_claims_nothing(store: Store) {
    let (inbox, handled) = (store.open().await, Handled::default());
    let worker = handled.worker(&inbox);
    let pause = worker.pause();
    pause.pause();
    let worker = Running::start(worker);
    accept(&inbox, "job.completed", "job_1").await;
    sleep(Duration::from_millis(500)).await;
    assert!(pause.is_paused() && handled.events() == 0, "a paused worker works");
    pause.resume();
    until(async || handled.events() == 1).await;
    pause.pause();
    // A claim that was on its way may still claim an event.
    sleep(Duration::from_millis(500)).await;
    accept(&inbox, "job.completed", "job_2").await;
    sleep(Duration::from_millis(500)).await;
    assert_eq!(handled.events(), 1);
    // It stops even if it is paused forever.
    timeout(PATIENCE, worker.stop()).await.unwrap();
}

async fn somebody_is_told_of_each_dead_letter(store: Store) {
    let (inbox, told) = (store.open().await, Arc::new(Mutex::new(Vec::new())));
    for job in ["job_4", "job_1", "job_2", "job_3"] {
        accept(&inbox, "job.completed", job).await;
    }
    let worker = inbox.worker(
        async |event: AcceptedEvent| {
            if event.key().ends_with('2') { Ok(()) } else { Err("broken") }
        },
    );
    let letters = Arc::clone(&told);
    let worker = worker.on_dead_letter(move |letter| {
        let letters = Arc::clone(&letters);
        assert!(!letter.key().ends_with('4'), "nor does one that panics at once");
        async move {
            // The worker waits for this before it ends.
            sleep(Duration::from_millis(100)).await;
            let about = (letter.key().to_owned(), letter.attempts(), letter.error().to_owned());
            letters.lock().unwrap().push(about);
            assert!(letter.key().ends_with('1'), "a hook that panics harms nobody");
        }
    });
    let worker = worker.attempts(2).backoff(Duration::ZERO, Duration::ZERO);
    worker.run_until(store.settled(PATIENCE)).await;
    let mut told = told.lock().unwrap().clone();
    told.sort();
    let about = |job: &str| (format!("job.completed:{job}"), 2, "broken".to_owned());
    assert_eq!(told, [about("job_1"), about("job_3")]);
}

async fn a_handler_hears_that_its_lease_was_lost(store: Store) {
    let (inbox, gate) = (store.open().await, Gate::default());
    accept(&inbox, "job.completed", "job_1").await;
    let (lost, mut losses) = tokio::sync::mpsc::unbounded_channel();
    let handlers = gate.clone();
    let worker = inbox.worker(move |event: AcceptedEvent| {
        let (gate, lost) = (handlers.clone(), lost.clone());
        async move {
            assert!(!event.lease_lost().is_cancelled());
            tokio::select! {
                () = gate.pass() => {}
                () = event.lease_lost().cancelled() => lost.send(event.attempt()).unwrap(),
            }
            Ok::<_, BoxError>(())
        }
    });
    let worker = Running::start(worker.concurrency(1).lease(MIN_LEASE));
    gate.begun().await;
    // The lease is renewed and kept.
    sleep(MIN_LEASE / 2).await;
    assert!(losses.try_recv().is_err());
    store.take_over().await;
    let attempt = timeout(PATIENCE, losses.recv()).await.unwrap();
    assert_eq!(attempt, Some(1));
    gate.open();
    worker.stop().await;
}

on_every_store!(
    and in memory:
    what_fails_for_good_is_a_dead_letter_at_once,
    a_snooze_uses_no_attempt_and_keeps_the_errors,
    an_attempt_that_takes_too_long_has_failed,
    a_tower_service_handles_events,
    a_handler_that_panics_when_it_is_given_up_has_failed,
    stopping_waits_no_longer_than_it_may,
    a_paused_worker_claims_nothing,
    somebody_is_told_of_each_dead_letter;
    a_handler_hears_that_its_lease_was_lost,
);
