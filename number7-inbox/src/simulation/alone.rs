//! A worker that is alone with its store: how soon it goes on, how often it asks, and what it does in an
//! outage.

use std::{
    future::pending,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use number7_core::Accept;
use tokio::{
    sync::Notify,
    task::yield_now,
    time::{Instant, sleep, sleep_until, timeout},
};

use super::{
    record,
    rules::{LEASE, Life},
    store::{LONGEST_CALL, Node, World},
};
use crate::{AcceptedEvent, Failure, Inbox, engine::memory::Broken};

/// An inbox with so many events, in a store that works.
async fn inbox_of(events: usize) -> (World, Inbox) {
    let world = World::new(0, 1, Broken::Nothing);
    (world.seen().is_faulty, world.seen().lives[0]) = (false, Life::new(1, false));
    let inbox = Inbox::test(Arc::new(Node { world: world.clone(), number: 0, life: 1 }));
    for job in 0..events {
        inbox.store(record(job)).await.unwrap();
    }
    (world, inbox)
}

#[tokio::test(start_paused = true)]
async fn an_idle_worker_asks_twenty_times_a_second_at_most() {
    let (world, inbox) = inbox_of(0).await;
    let worker = inbox.worker(async |_| Ok::<_, Failure>(()));
    worker.run_until(sleep(Duration::from_secs(60))).await;
    let calls = world.seen().calls;
    assert!((600..=1_100).contains(&calls), "{calls} calls");
}

#[tokio::test(start_paused = true)]
async fn what_one_turn_has_no_room_for_follows_at_once() {
    let (world, inbox) = inbox_of(1_000).await;
    let begun = Arc::new(Mutex::new(Vec::new()));
    let start = Instant::now();
    let ends_at = start + Duration::from_secs(8);
    let (seen, node) = (Arc::clone(&begun), world.clone());
    let worker = inbox.worker(move |event: AcceptedEvent| {
        seen.lock().unwrap().push(Instant::now());
        node.seen().handled.insert(event.key);
        async move {
            sleep_until(ends_at).await;
            Ok::<_, Failure>(())
        }
    });
    let recorded = async {
        sleep_until(ends_at).await;
        world.memory.all_are_done().await;
        // At most 256 are claimed or recorded at once.
        assert!(ends_at.elapsed() <= 4 * LONGEST_CALL, "recorded after {:?}", ends_at.elapsed());
    };
    worker.concurrency(1_000).run_until(recorded).await;
    let begun = begun.lock().unwrap();
    // After the call that makes the worker known.
    assert!(begun[0] - start <= 2 * LONGEST_CALL, "begun after {:?}", begun[0] - start);
    assert!(begun[999] - begun[0] <= 3 * LONGEST_CALL, "begun within {:?}", begun[999] - begun[0]);
    assert_eq!(world.seen().violation, None);
}

#[tokio::test(start_paused = true)]
async fn what_ends_at_nearly_the_same_time_is_recorded_together() {
    let (world, inbox) = inbox_of(1_600).await;
    let before = world.seen().calls;
    let node = world.clone();
    let worker = inbox.worker(move |event: AcceptedEvent| {
        let handled = node.seen().handled.len();
        node.seen().handled.insert(event.key);
        async move {
            for _ in 0..handled % 16 {
                yield_now().await;
            }
            Ok::<_, Failure>(())
        }
    });
    worker.concurrency(16).run_until(world.memory.all_are_done()).await;
    // A hundred turns claim 16 each, and record what the turn before has claimed. Some more calls are made
    // when the worker starts and stops.
    let calls = world.seen().calls - before;
    assert!(calls <= 110, "{calls} calls");
    assert_eq!(world.seen().violation, None);
}

/// The first one was late: its lease was lost, and the same worker has the event again.
#[tokio::test(start_paused = true)]
async fn of_two_ends_at_the_same_time_one_counts() {
    static LETTERS: AtomicU32 = AtomicU32::new(0);
    let (world, inbox) = inbox_of(1).await;
    let ends_at = Instant::now() + Duration::from_secs(8);
    let node = world.clone();
    let worker = inbox.worker(move |event: AcceptedEvent| {
        let attempt = event.attempt();
        node.seen().handled.insert(event.key);
        async move {
            sleep_until(ends_at).await;
            if attempt == 1 { Err(Failure::permanent("late")) } else { Ok(()) }
        }
    });
    let worker = worker.on_dead_letter(async |_| _ = LETTERS.fetch_add(1, Ordering::Relaxed));
    let lost = async {
        sleep(Duration::from_secs(1)).await;
        world.memory.apply(|tables| {
            let task = tables.tasks.first_entry().unwrap().into_mut();
            (task.status, task.worker) = ("Pending", None);
        });
        world.memory.all_are_done().await;
    };
    worker.run_until(lost).await;
    assert_eq!(world.seen().violation, None);
    assert_eq!(LETTERS.load(Ordering::Relaxed), 0, "the hook was called for an end that is lost");
}

#[tokio::test(start_paused = true)]
async fn a_failing_store_is_asked_ever_less_often() {
    let (world, inbox) = inbox_of(0).await;
    let worker = inbox.worker(async |_| Ok::<_, Failure>(())).lease(LEASE);
    let outage = async {
        sleep(LEASE).await;
        let before = {
            let mut seen = world.seen();
            seen.away_until = Instant::now() + Duration::from_secs(60);
            seen.calls
        };
        sleep(Duration::from_secs(60)).await;
        // The renewal of the lease is tried every half second, 119 times. The other calls are tried after 50
        // milliseconds, 100, 200 and so on, and then every 2 seconds, 35 times.
        let calls = world.seen().calls - before;
        assert!((150..=158).contains(&calls), "{calls} calls");
    };
    worker.run_until(outage).await;
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_stops_records_what_it_can_within_a_lease() {
    let (world, inbox) = inbox_of(1).await;
    let node = world.clone();
    let worker = inbox.worker(move |event: AcceptedEvent| {
        node.seen().handled.insert(event.key);
        async {
            sleep(Duration::from_secs(1)).await;
            Ok::<_, Failure>(())
        }
    });
    let outage = async {
        sleep(Duration::from_millis(500)).await;
        world.seen().away_until = Instant::now() + LEASE / 2;
    };
    worker.lease(LEASE).run_until(outage).await;
    let is_done =
        world.memory.apply(|tables| tables.tasks.values().all(|task| task.status == "Done"));
    assert!(is_done, "the event was handled, and will be handled again");
}

/// Nobody else took its event over, but somebody may have.
#[tokio::test(start_paused = true)]
async fn who_cannot_renew_for_a_lease_is_told_that_it_is_lost() {
    static BEGUN: Notify = Notify::const_new();
    static TOLD: Notify = Notify::const_new();
    let (world, inbox) = inbox_of(1).await;
    let handler = async |event: AcceptedEvent| {
        BEGUN.notify_one();
        event.lease_lost().cancelled().await;
        TOLD.notify_one();
        Ok::<_, Failure>(())
    };
    let worker = tokio::spawn(inbox.worker(handler).lease(LEASE).run_until(pending()));
    BEGUN.notified().await;
    let away = Instant::now();
    // Calls that are not answered must not hold it up.
    (world.seen().is_faulty, world.seen().away_until) = (true, away + 3 * LEASE);
    _ = timeout(2 * LEASE, TOLD.notified()).await;
    let heartbeat = LEASE / 4;
    let (earliest, latest) = (LEASE - heartbeat, LEASE + heartbeat);
    assert!((earliest..latest).contains(&away.elapsed()), "{:?}", away.elapsed());
    worker.abort();
}
