//! What a worker does with events, failures and leases, on every store.
#![allow(clippy::unwrap_used)]

use std::{
    future::{pending, ready},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use number7_core::Acceptance;
use number7_inbox::{
    AcceptedEvent, BoxError, Entry, Event, Failure, Filter, Inbox, MAX_LEASE, MIN_LEASE, State,
};
use number7_tests::{
    body,
    gate::Gate,
    on_every_store,
    running::{Handled, PATIENCE, Running, accept, dead_letters, until},
    sign,
    store::Store,
    verifier,
};
use tokio::{
    sync::Notify,
    time::{sleep, timeout},
};

async fn failed_and_completed_of_one_job_are_two_events(store: Store) {
    let (inbox, handled) = (store.open().await, Handled::default());
    for event in ["job.failed", "job.completed", "job.failed", "job.completed"] {
        accept(&inbox, event, "job_1").await;
    }
    handled.worker(&inbox).run_until(store.settled(PATIENCE)).await;
    assert_eq!((handled.of("job.failed:job_1"), handled.of("job.completed:job_1")), (1, 1));
}

async fn what_fails_is_tried_again_and_then_rests(store: Store) {
    let (inbox, starts) = (store.open().await, Arc::new(Mutex::new(Vec::new())));
    accept(&inbox, "job.completed", "job_1").await;
    let seen = Arc::clone(&starts);
    let worker = inbox.worker(move |event: AcceptedEvent| {
        seen.lock().unwrap().push((event.attempt(), Instant::now()));
        async move {
            match event.attempt() {
                1 => Err("the first time"),
                2 => panic!("the second time"),
                _ => Ok(()),
            }
        }
    });
    let rest = Duration::from_secs(1);
    worker.backoff(rest, rest).run_until(store.settled(PATIENCE)).await;
    let starts = starts.lock().unwrap().clone();
    assert_eq!(starts.iter().map(|start| start.0).collect::<Vec<_>>(), [1, 2, 3]);
    for pair in starts.windows(2) {
        let rested = pair[1].1 - pair[0].1;
        // The store and the test have different clocks.
        assert!(rested > Duration::from_millis(950), "{rested:?}");
    }
    assert_eq!(dead_letters(&inbox).await.len(), 0);
}

async fn what_always_fails_is_a_dead_letter_and_can_be_put_back(store: Store) {
    let (inbox, attempts) = (store.open().await, Arc::new(AtomicU32::new(0)));
    accept(&inbox, "job.completed", "job_1").await;
    accept(&inbox, "job.completed", "job_2").await;
    let counted = Arc::clone(&attempts);
    let broken = inbox.worker(move |event: AcceptedEvent| {
        counted.fetch_add(1, Ordering::Relaxed);
        async move {
            assert_eq!(event.is_last_attempt(), event.attempt() == 3);
            let text = "the database of invoices is away\0";
            if event.key().ends_with('2') { panic!("{text}") } else { Err(text) }
        }
    });
    let broken = broken.attempts(3).backoff(Duration::ZERO, Duration::ZERO);
    broken.run_until(store.settled(PATIENCE)).await;
    assert_eq!(attempts.load(Ordering::Relaxed), 6);

    let mut letters = dead_letters(&inbox).await;
    letters.sort_by(|a, b| a.key().cmp(b.key()));
    let keys: Vec<_> = letters.iter().map(|letter| (letter.key(), letter.attempts())).collect();
    assert_eq!(keys, [("job.completed:job_1", 3), ("job.completed:job_2", 3)]);
    assert_eq!(letters[0].error(), "the database of invoices is away\u{fffd}");
    assert_eq!(letters[1].error(), "panicked: the database of invoices is away\u{fffd}");
    assert!(letters[0].since().elapsed().unwrap() < PATIENCE);
    assert_eq!(letters[0].stored().unwrap().json(), body("job.completed", "job_1").as_bytes());

    // The key of a dead letter is known: the sender's retry does not revive it, but an operator can.
    assert_eq!(accept(&inbox, "job.completed", "job_1").await, Acceptance::Duplicate);
    assert_eq!(store.unfinished().await, 0);
    assert_eq!(inbox.requeue("job.completed:job_1").await.unwrap().events, 1);
    assert_eq!(
        inbox.requeue("job.completed:job_1").await.unwrap().events,
        0,
        "it is not a dead letter any more"
    );
    assert_eq!(inbox.requeue("job.completed:job_3").await.unwrap().events, 0);
    let handled = Handled::default();
    handled.worker(&inbox).run_until(store.settled(PATIENCE)).await;
    assert_eq!((handled.of("job.completed:job_1"), handled.of("job.completed:job_2")), (1, 0));
    assert_eq!(dead_letters(&inbox).await.len(), 1);
    assert_eq!(inbox.discard("job.completed:job_1").await.unwrap().events, 0, "it is done");

    // The other one is given up for good, and its key stays known for the retention.
    let letter = inbox.show("job.completed:job_2").await.unwrap().unwrap();
    assert_eq!(letter.state(), State::Dead);
    assert_eq!(letter.error(), letters[1].error());
    assert_eq!(letter.stored().unwrap().json(), body("job.completed", "job_2").as_bytes());
    assert_eq!(inbox.discard("job.completed:job_2").await.unwrap().events, 1);
    assert_eq!(inbox.discard("job.completed:job_2").await.unwrap().events, 0);
    assert_eq!(inbox.show("job.completed:job_2").await.unwrap().unwrap().state(), State::Done);
    assert!(inbox.show("job.completed:job_3").await.unwrap().is_none());
    assert_eq!(inbox.requeue("job.completed:job_2").await.unwrap().events, 0);
    assert_eq!(dead_letters(&inbox).await.len(), 0);
    assert_eq!(accept(&inbox, "job.completed", "job_2").await, Acceptance::Duplicate);
    assert_eq!(store.unfinished().await, 0);
    let forgotten = async {
        let begun = Instant::now();
        while accept(&inbox, "job.completed", "job_2").await == Acceptance::Duplicate {
            assert!(begun.elapsed() < PATIENCE, "a discarded event is never forgotten");
            sleep(Duration::from_millis(100)).await;
        }
    };
    handled.worker(&inbox).retention(Duration::from_secs(1)).run_until(forgotten).await;
}

async fn what_cannot_be_typed_is_accepted_and_kept(store: Store) {
    let inbox = store.open().await;
    let untypable = r#"{"event":"job.completed","jobId":"job_1","documentType":7}"#;
    let delivery = verifier().verify(sign(untypable), untypable).unwrap();
    assert_eq!(inbox.accept(&delivery).await.unwrap(), Acceptance::New);
    let worker = inbox.worker(async |event: AcceptedEvent| -> Result<(), BoxError> {
        event.event()?;
        Ok(())
    });
    worker.attempts(1).run_until(store.settled(PATIENCE)).await;
    let letters = dead_letters(&inbox).await;
    assert_eq!(letters[0].error(), "field `fileStatus` is missing");
    assert_eq!(letters[0].stored().unwrap().json(), untypable.as_bytes());
}

async fn an_idle_worker_starts_at_once(store: Store) {
    let (inbox, (started, mut starts)) = (store.open().await, tokio::sync::mpsc::channel(1));
    let worker = Running::start(inbox.worker(move |event: AcceptedEvent| {
        let started = started.clone();
        async move {
            let Event::JobCompleted(_) = event.event()? else { return Err("another".into()) };
            started.send(Instant::now()).await?;
            Ok::<_, BoxError>(())
        }
    }));
    let mut delays = Vec::new();
    for number in 0..10 {
        sleep(Duration::from_millis(200)).await;
        accept(&inbox, "job.completed", &format!("job_{number}")).await;
        let accepted = Instant::now();
        delays.push(starts.recv().await.unwrap().saturating_duration_since(accepted));
    }
    // The best of ten, because the test machine may be busy.
    let best = delays.iter().min().unwrap();
    assert!(*best < Duration::from_millis(100), "{delays:?}");
    worker.stop().await;
}

async fn stopping_finishes_what_runs_and_gives_back_the_rest(store: Store) {
    let inbox = store.open().await;
    let gate = Gate::default();
    let handlers = gate.clone();
    let ended = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&ended);
    let worker = inbox.worker(move |_: AcceptedEvent| {
        let gate = handlers.clone();
        let ended = Arc::clone(&counted);
        async move {
            gate.pass().await;
            ended.fetch_add(1, Ordering::Relaxed);
            Ok::<_, BoxError>(())
        }
    });
    for number in 0..5 {
        accept(&inbox, "job.completed", &format!("job_{number}")).await;
    }
    // Longer than the lease. Meanwhile no other worker may take over.
    let other = Handled::default();
    let worker = Running::start(worker.concurrency(1).lease(MIN_LEASE));
    gate.begun().await;
    let stopping = tokio::spawn(worker.stop());
    sleep(Duration::from_millis(200)).await;
    let observer = Running::start(other.worker(&inbox).lease(MIN_LEASE));
    sleep(MIN_LEASE * 2).await;
    assert!(!stopping.is_finished(), "the worker did not wait for its handler");
    gate.open();
    stopping.await.unwrap();
    store.settled(PATIENCE).await;
    observer.stop().await;
    assert_eq!(ended.load(Ordering::Relaxed), 1, "a stopped worker began something");
    assert_eq!(other.events(), 4, "an event was lost, or handled twice");
}

/// Without waiting for the lease, which is longer than the test.
async fn what_a_stopped_worker_had_claimed_is_free_at_once(store: Store) {
    let inbox = store.open().await;
    accept(&inbox, "job.completed", "job_1").await;
    let gate = Gate::default();
    let worker = gate.worker(&inbox).concurrency(1).lease(MAX_LEASE);
    let worker = Running::start(worker);
    gate.begun().await;
    let stopping = tokio::spawn(worker.stop());
    accept(&inbox, "job.completed", "job_2").await;
    // If the worker has the event already, it claimed it itself.
    claim_the_other(&store).await;
    gate.open();
    stopping.await.unwrap();
    let handled = Handled::default();
    handled.worker(&inbox).lease(MAX_LEASE).run_until(store.settled(PATIENCE)).await;
    assert_eq!((handled.of("job.completed:job_1"), handled.of("job.completed:job_2")), (0, 1));
}

async fn a_stale_worker_changes_nothing(store: Store) {
    let inbox = store.open().await;
    accept(&inbox, "job.completed", "job_1").await;
    let gate = Gate::default();
    let handlers = gate.clone();
    let stale = Running::start(inbox.worker(move |_: AcceptedEvent| {
        let gate = handlers.clone();
        async move {
            gate.pass().await;
            Err::<(), _>("what the stale worker says must not count")
        }
    }));
    gate.begun().await;
    // The lease ends, and another worker must claim the event, not the stale one.
    let stopping = tokio::spawn(stale.stop());
    sleep(Duration::from_millis(200)).await;
    store.take_over().await;
    let handled = Handled::default();
    handled.worker(&inbox).run_until(store.settled(PATIENCE)).await;
    assert_eq!(handled.of("job.completed:job_1"), 1);
    gate.open();
    stopping.await.unwrap();
    assert_eq!(store.unfinished().await, 0, "the stale worker put the event back to work");
    assert_eq!(dead_letters(&inbox).await.len(), 0);
    assert_eq!(accept(&inbox, "job.completed", "job_1").await, Acceptance::Duplicate);
}

/// The answer to the end of the first attempt was lost, so the end is recorded again. By then the same worker has
/// begun the second attempt.
async fn a_late_end_of_an_attempt_does_not_end_the_next(store: Store) {
    const NEXT: &str = r#"
        local member = redis.call('ZRANGE', key('running'), 0, 0)[1]
        change(string.match(member, '%d+'), '"attempt":1', '"attempt":2')
        redis.call('ZREM', key('running'), member)
        return redis.call('ZADD', key('running'), 1, (string.gsub(member, ':1:', ':2:')))"#;
    let inbox = store.open().await;
    accept(&inbox, "job.completed", "job_1").await;
    let gate = Gate::default();
    let first = Running::start(gate.worker(&inbox));
    gate.begun().await;
    store.execute("SET attempt = 2", NEXT).await;
    gate.open();
    first.stop().await;
    assert_eq!(store.unfinished().await, 1, "the first attempt ended the second");
    let attempts = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&attempts);
    let worker = inbox.worker(move |event: AcceptedEvent| {
        seen.lock().unwrap().push(event.attempt());
        async { Ok::<_, BoxError>(()) }
    });
    worker.run_until(store.settled(PATIENCE)).await;
    // Nobody began the claimed event, so it was released, and the attempt did not count.
    assert_eq!(*attempts.lock().unwrap(), [2]);
}

/// Claims the only free event for the worker that has the other one, like a claim whose answer was lost.
async fn claim_the_other(store: &Store) {
    const CLAIM: &str = "SET state = 'running', attempt = attempt + 1, (claimed_by, claimed_at) = (
            SELECT other.claimed_by, other.claimed_at FROM TABLE AS other WHERE other.state = 'running'
        ) WHERE state = 'ready'";
    let table =
        if matches!(store, Store::Postgres(_)) { "number7.events" } else { "number7_events" };
    let claim = r#"
        local event = redis.call('ZRANGE', key('ready'), 0, 0)[1]
        local worker = string.match(redis.call('ZRANGE', key('running'), 0, 0)[1], ':.-:(.+)$')
        if event then
            change(event, '"state":"ready","attempt":0', '"state":"running","attempt":1')
            change(event, '"claimed_by":null,"claimed_at":null',
                '"claimed_by":"' .. worker .. '","claimed_at":' .. redis.call('TIME')[1] .. '000')
            redis.call('ZREM', key('ready'), event)
            redis.call('ZADD', key('running'), redis.call('TIME')[1] .. '000', event .. ':1:' .. worker)
        end
        return 0"#;
    store.execute(&CLAIM.replace("TABLE", table), claim).await;
}

/// The store claims an event, the connection breaks before the answer, and the worker starts again. An earlier attempt is still
/// running, and must keep its lease.
async fn a_claim_whose_answer_was_lost_is_begun(store: Store) {
    let inbox = store.open().await;
    accept(&inbox, "job.completed", "job_1").await;
    let gate = Gate::default();
    let handlers = gate.clone();
    let handled = Handled::default();
    let counted = handled.clone();
    let worker = inbox.worker(move |event: AcceptedEvent| {
        counted.count(&event);
        let gate = handlers.clone();
        async move {
            if event.key().ends_with("job_1") {
                gate.pass().await;
            }
            Ok::<_, BoxError>(())
        }
    });
    let worker = Running::start(worker.concurrency(1).lease(MIN_LEASE));
    gate.begun().await;
    accept(&inbox, "job.completed", "job_2").await;
    claim_the_other(&store).await;
    store.fail_heartbeats(MIN_LEASE * 3 / 2).await;
    sleep(Duration::from_millis(1_500)).await;
    gate.open();
    store.settled(PATIENCE).await;
    worker.stop().await;
    let counts = (handled.of("job.completed:job_1"), handled.of("job.completed:job_2"));
    assert_eq!(counts, (1, 1));
}

async fn what_ends_the_process_every_time_is_a_dead_letter(store: Store) {
    let (inbox, handled) = (store.open().await, Handled::default());
    accept(&inbox, "job.completed", "job_1").await;
    for _ in 0..3 {
        let gate = Gate::default();
        let handlers = gate.clone();
        let counted = handled.clone();
        let worker = inbox.worker(move |event: AcceptedEvent| {
            counted.count(&event);
            let gate = handlers.clone();
            async move {
                gate.pass().await;
                Ok::<_, BoxError>(())
            }
        });
        let worker = Running::start(worker.attempts(3));
        gate.begun().await;
        worker.crash().await;
        store.take_over().await;
    }
    let told = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&told);
    let worker = handled.worker(&inbox).on_dead_letter(move |_| {
        count.fetch_add(1, Ordering::Relaxed);
        ready(())
    });
    worker.attempts(3).run_until(store.settled(PATIENCE)).await;
    assert_eq!((handled.of("job.completed:job_1"), told.load(Ordering::Relaxed)), (3, 1));
    let letters = dead_letters(&inbox).await;
    assert_eq!(
        letters[0].error(),
        "no attempt is left: the lease of the last one expired, or fewer are allowed now"
    );
}

async fn a_key_is_known_for_the_retention_and_no_longer(store: Store) {
    let (inbox, handled) = (store.open().await, Handled::default());
    accept(&inbox, "job.completed", "job_1").await;
    // The default is a week: sweeps run, but forget nothing.
    let worker = Running::start(handled.worker(&inbox));
    store.settled(PATIENCE).await;
    sleep(Duration::from_secs(3)).await;
    worker.stop().await;
    assert_eq!(accept(&inbox, "job.completed", "job_1").await, Acceptance::Duplicate);

    let worker = Running::start(handled.worker(&inbox).retention(Duration::from_secs(30)));
    sleep(Duration::from_secs(2)).await;
    assert_eq!(store.keys().await, 1, "a key was forgotten early");
    worker.stop().await;

    let broken = inbox.worker(|_: AcceptedEvent| async { Err::<(), _>("broken") }).attempts(1);
    let broken = Running::start(broken.retention(Duration::from_secs(1)));
    accept(&inbox, "job.completed", "job_dead").await;
    until(async || dead_letters(&inbox).await.len() == 1).await;
    until(async || store.keys().await == 1).await;
    sleep(Duration::from_secs(3)).await;
    assert_eq!(accept(&inbox, "job.completed", "job_dead").await, Acceptance::Duplicate);
    assert_eq!(dead_letters(&inbox).await.len(), 1, "a dead letter was forgotten");
    broken.stop().await;
    assert_eq!(accept(&inbox, "job.completed", "job_1").await, Acceptance::New);
}

async fn a_payload_is_forgotten_after_its_retention_and_its_key_stays(store: Store) {
    /// More than one step checks.
    const EVENTS: usize = 600;
    let (inbox, second) = (store.open().await, Duration::from_secs(1));
    for number in 0..EVENTS {
        accept(&inbox, "job.completed", &format!("job_{number}")).await;
    }
    accept(&inbox, "job.failed", "job_dead").await;
    let worker = || {
        inbox.worker(async |event: AcceptedEvent| match event.event()? {
            Event::JobFailed(_) => Err(Failure::permanent("it failed")),
            _ => Ok(()),
        })
    };
    let done = async || inbox.list(State::Done, &Filter::new(), None, 1_000).await.unwrap().entries;
    let payloads = |done: &[Entry]| done.iter().filter(|entry| entry.stored().is_some()).count();
    // It forgets them neither by default nor early.
    let running = Running::start(worker());
    until(async || inbox.stats().await.unwrap().done == EVENTS as u64).await;
    running.stop().await;
    let running = Running::start(worker().payload_retention(60 * second));
    sleep(2 * second).await;
    assert_eq!(payloads(&done().await), EVENTS);
    running.stop().await;

    let running = Running::start(worker().payload_retention(second));
    until(async || payloads(&done().await) == 0).await;
    // The same is true of events that are done later.
    accept(&inbox, "job.completed", "job_late").await;
    until(async || done().await.len() == EVENTS + 1 && payloads(&done().await) == 0).await;
    running.stop().await;
    let shown = inbox.show("job.completed:job_7").await.unwrap().unwrap();
    assert_eq!((shown.state(), shown.job_id()), (State::Done, Some("job_7")));
    assert_eq!(shown.stored(), None);
    assert_eq!(accept(&inbox, "job.completed", "job_7").await, Acceptance::Duplicate);
    let dead = dead_letters(&inbox).await;
    assert_eq!(dead[0].stored().unwrap().json(), body("job.failed", "job_dead").as_bytes());
    assert_eq!(inbox.requeue(dead[0].key()).await.unwrap().events, 1);
}

async fn many_old_keys_are_forgotten_in_one_go(store: Store) {
    const EVENTS: i64 = 1_200;
    let (inbox, handled) = (store.open().await, Handled::default());
    for number in 0..EVENTS {
        accept(&inbox, "job.completed", &format!("job_{number}")).await;
    }
    handled.worker(&inbox).run_until(store.settled(PATIENCE * 3)).await;
    // Two days pass.
    let done = match &store {
        Store::Postgres(_) => "finished_at - interval '2 days'",
        _ => "finished_at - 172800000",
    };
    let old = "
        for _, event in ipairs(redis.call('ZRANGE', key('done'), 0, -1)) do
            redis.call('ZINCRBY', key('done'), -172800000, event)
        end
        return 0";
    store.execute(&format!("SET finished_at = {done}"), old).await;
    assert_eq!(store.keys().await, EVENTS);
    // It waits for ten minutes only if there was no more to forget.
    let a_day = Duration::from_secs(24 * 60 * 60);
    let worker = Running::start(handled.worker(&inbox).retention(a_day));
    until(async || store.keys().await == 0).await;
    worker.stop().await;
}

async fn the_longest_settings_are_no_error(store: Store) {
    let (inbox, handled) = (store.open().await, Handled::default());
    accept(&inbox, "job.completed", "job_1").await;
    let counted = handled.clone();
    let worker = inbox.worker(move |event: AcceptedEvent| {
        counted.count(&event);
        async { Err::<(), _>("it rests for long") }
    });
    let worker = worker.backoff(Duration::MAX, Duration::MAX).retention(Duration::MAX);
    let worker = Running::start(worker.lease(MAX_LEASE));
    until(async || handled.of("job.completed:job_1") == 1).await;
    // If the rest could not be recorded, this would take as long as the lease.
    timeout(PATIENCE, worker.stop()).await.unwrap();
    handled.worker(&inbox).run_until(sleep(Duration::from_secs(1))).await;
    assert_eq!((handled.of("job.completed:job_1"), store.unfinished().await), (1, 1));
}

/// Nobody knows which of these it had begun.
async fn what_a_dead_worker_had_claimed_ahead_is_quarantined_and_uses_no_attempt(store: Store) {
    const QUICK: u32 = 200;
    let (inbox, begun) = (store.open().await, Arc::new(AtomicU32::new(0)));
    for job in 0..QUICK * 3 {
        accept(&inbox, "job.completed", &format!("job_{job}")).await;
    }
    let slow = Arc::new(Notify::new());
    let (count, all_are_slow) = (Arc::clone(&begun), Arc::clone(&slow));
    let worker = inbox.worker(move |_: AcceptedEvent| {
        let number = count.fetch_add(1, Ordering::SeqCst);
        if number == QUICK + 3 {
            all_are_slow.notify_one();
        }
        async move {
            if number >= QUICK {
                pending::<()>().await;
            }
            Ok::<_, BoxError>(())
        }
    });
    let worker = Running::start(worker.concurrency(4).lease(MIN_LEASE));
    // All handlers are slow at once, so nothing can be claimed for. A second later it would release what it has claimed ahead,
    // so this does not poll.
    timeout(PATIENCE, slow.notified()).await.unwrap();
    worker.crash().await;
    let handled = Handled::default();
    let rescuer = handled.worker(&inbox).lease(MIN_LEASE);
    let paused = rescuer.pause();
    paused.pause();
    let rescuer = Running::start(rescuer);
    until(async || inbox.stats().await.unwrap().running == 0).await;
    let all = Filter::new();
    let ahead = inbox.list(State::Quarantined, &all, None, 500).await.unwrap().entries;
    assert!(!ahead.is_empty());
    assert!(ahead.iter().all(|entry| entry.attempts() == 0), "{ahead:?}");
    assert!(ahead[0].error().contains("lease"), "{ahead:?}");
    paused.resume();
    store.settled(PATIENCE).await;
    rescuer.stop().await;
    let done = inbox.stats().await.unwrap().done;
    assert_eq!((done, handled.events()), (u64::from(QUICK) * 3, QUICK as usize * 2));
}

/// By itself it would look for events only after a minute.
async fn a_worker_hears_of_what_another_process_accepts(store: Store) {
    let open =
        async || Inbox::options().poll_interval(PATIENCE * 2).open(&store.url()).await.unwrap();
    let (here, there, handled) = (open().await, open().await, Handled::default());
    for (here, there) in [(&here, &there), (&here.named("a").unwrap(), &there.named("a").unwrap())]
    {
        let before = handled.events();
        let worker = Running::start(handled.worker(here));
        // It may not be listening yet.
        let mut sent = before;
        until(async || {
            accept(there, "job.completed", &format!("job_{sent}")).await;
            sent += 1;
            sleep(Duration::from_millis(100)).await;
            handled.events() == sent
        })
        .await;
        for _ in 0..10 {
            accept(there, "job.completed", &format!("job_{sent}")).await;
            sent += 1;
            until(async || handled.events() == sent).await;
        }
        worker.stop().await;
    }
}

on_every_store!(
    and in memory:
    failed_and_completed_of_one_job_are_two_events,
    what_fails_is_tried_again_and_then_rests,
    what_always_fails_is_a_dead_letter_and_can_be_put_back,
    what_cannot_be_typed_is_accepted_and_kept,
    an_idle_worker_starts_at_once,
    stopping_finishes_what_runs_and_gives_back_the_rest,
    a_key_is_known_for_the_retention_and_no_longer,
    a_payload_is_forgotten_after_its_retention_and_its_key_stays,
    the_longest_settings_are_no_error;
    what_a_dead_worker_had_claimed_ahead_is_quarantined_and_uses_no_attempt,
    a_worker_hears_of_what_another_process_accepts,
    what_a_stopped_worker_had_claimed_is_free_at_once,
    a_stale_worker_changes_nothing,
    a_late_end_of_an_attempt_does_not_end_the_next,
    a_claim_whose_answer_was_lost_is_begun,
    what_ends_the_process_every_time_is_a_dead_letter,
    many_old_keys_are_forgotten_in_one_go,
);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(no_redis, ignore = "redis-server is not installed: see CONTRIBUTING.md")]
async fn redis_forgets_a_worker_that_crashed() {
    let store = Store::redis().await;
    let Store::Redis(url) = &store else { unreachable!() };
    let (inbox, handled) = (store.open().await, Handled::default());
    let workers = async || -> i64 {
        let count = "return redis.call('ZCARD', key('workers'))";
        number7_tests::store::redis_script(url, count).await
    };
    let crashed = Running::start(handled.worker(&inbox));
    until(async || workers().await == 1).await;
    crashed.crash().await;
    let worker = Running::start(handled.worker(&inbox).lease(MIN_LEASE));
    until(async || workers().await == 2).await;
    until(async || workers().await == 1).await;
    worker.stop().await;
    assert_eq!(workers().await, 0);
}

/// Its lease was lost while its process hung. If it claimed now and died, nobody would find its claims.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(no_redis, ignore = "redis-server is not installed: see CONTRIBUTING.md")]
async fn redis_lets_nobody_claim_who_is_not_registered() {
    let store = Store::redis().await;
    let Store::Redis(url) = &store else { unreachable!() };
    let (inbox, gate, handled) = (store.open().await, Gate::default(), Handled::default());
    let worker = Running::start(gate.worker(&inbox).lease(MAX_LEASE));
    until(async || inbox.stats().await.unwrap().workers == 1).await;
    let forget = "return redis.call('DEL', key('workers'))";
    assert_eq!(number7_tests::store::redis_script::<i64>(url, forget).await, 1);
    accept(&inbox, "job.completed", "job_1").await;
    sleep(Duration::from_millis(500)).await;
    worker.crash().await;
    handled.worker(&inbox).run_until(store.settled(PATIENCE)).await;
    assert_eq!(handled.of("job.completed:job_1"), 1);
}

/// Its handler has returned, but its end is not recorded.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_dropped_worker_had_to_record_is_recorded() {
    let store = Store::sqlite();
    let (inbox, gate) = (store.open().await, Gate::default());
    accept(&inbox, "job.completed", "job_1").await;
    let worker = Running::start(gate.worker(&inbox));
    gate.begun().await;
    let mut other = store.sqlite_connection().await;
    sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
    gate.open();
    sleep(Duration::from_millis(500)).await;
    worker.crash().await;
    sqlx::raw_sql("ROLLBACK").execute(&mut other).await.unwrap();
    until(async || inbox.stats().await.unwrap().done == 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(no_redis, ignore = "redis-server is not installed: see CONTRIBUTING.md")]
async fn more_than_redis_can_unpack_is_worked_through() {
    const EVENTS: usize = 9_000;
    let store = Store::redis().await;
    let Store::Redis(url) = &store else { unreachable!() };
    let (inbox, handled) = (store.open().await, Handled::default());
    // All of them failed at the same time, and are due at the same time.
    for number in 0..EVENTS {
        accept(&inbox, "job.completed", &format!("job_{number}")).await;
    }
    let all_due = "for _, event in ipairs(redis.call('ZRANGE', key('ready'), 0, -1)) do
            redis.call('ZADD', key('ready'), 1, event)
        end
        return 0";
    number7_tests::store::redis_script::<i64>(url, all_due).await;
    handled.worker(&inbox).run_until(store.settled(PATIENCE * 3)).await;
    assert_eq!(handled.events(), EVENTS);
}
