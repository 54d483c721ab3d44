//! A worker that is alone with its store: how soon it continues, how often it asks, and what it does in an outage.

use std::{
    future::pending,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use number7_core::Accept;
use tokio::{
    sync::{Notify, oneshot},
    task::yield_now,
    time::{Instant, sleep, sleep_until, timeout},
};

use super::{
    record,
    rules::{LEASE, Life},
    store::{Broken, LONGEST_CALL, Node, World},
};
use crate::{
    AcceptedEvent, Failure, Inbox, State, Worker,
    model::options::{Options, Polling},
};

/// An inbox with this many events, in a store that works.
async fn inbox_of(events: usize) -> (World, Inbox) {
    inbox_with(events, &Options::default()).await
}

async fn inbox_with(events: usize, options: &Options) -> (World, Inbox) {
    let world = World::new(0, 1, Broken::Nothing);
    (world.seen().is_faulty, world.seen().lives[0]) = (false, Life::new(1, false));
    let node = Node::new(&world, 0, 1);
    let inbox = Inbox::on(Arc::new(node), options);
    inbox.wake().set_hears_others(false);
    for job in 0..events {
        inbox.store(record(job).await).await.unwrap();
    }
    (world, inbox)
}

/// A worker that records the events whose handler was called.
fn worker<F>(
    world: &World,
    inbox: &Inbox,
    handler: impl Fn(AcceptedEvent) -> F + Send + Sync + 'static,
) -> Worker
where
    F: Future<Output = Result<(), Failure>> + Send + 'static,
{
    let world = world.clone();
    inbox.worker(move |event: AcceptedEvent| {
        world.seen().handled.insert(event.key.clone());
        handler(event)
    })
}

#[tokio::test(start_paused = true)]
async fn an_idle_worker_asks_twenty_times_a_second_at_most() {
    let (world, inbox) = inbox_of(0).await;
    let worker = inbox.worker(async |_| Ok::<_, Failure>(()));
    worker.run_until(sleep(Duration::from_secs(60))).await;
    let calls = world.seen().calls;
    assert!((600..=1_100).contains(&calls), "{calls} calls");
}

/// Of these, 30 ask for events, 12 renew the lease, 6 look for claims to rescue, and the others for overdue jobs.
#[tokio::test(start_paused = true)]
async fn an_idle_worker_that_hears_of_events_asks_once_a_second_at_most() {
    let (world, inbox) = inbox_of(0).await;
    inbox.wake().set_hears_others(true);
    let worker = inbox.worker(async |_| Ok::<_, Failure>(()));
    let an_hour = async {
        sleep(Duration::from_secs(60)).await;
        world.seen().calls = 0;
        sleep(Duration::from_secs(3_600)).await;
    };
    worker.run_until(an_hour).await;
    let calls = world.seen().calls;
    assert!((3_000..=3_600).contains(&calls), "{calls} calls");
}

/// No matter how seldom it asks.
#[tokio::test(start_paused = true)]
async fn an_idle_worker_begins_at_once_what_it_hears_of_and_what_was_scheduled() {
    let (world, inbox) = inbox_of(0).await;
    inbox.wake().set_hears_others(true);
    let begun = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&begun);
    let worker = worker(&world, &inbox, move |event| {
        seen.lock().unwrap().push(Instant::now());
        async move {
            match event.attempt() {
                1 => Err("once more".into()),
                _ => Ok(()),
            }
        }
    });
    let (mut accepted, backoff) = (Instant::now(), Duration::from_secs(10));
    let done = async {
        sleep(Duration::from_secs(60)).await;
        accepted = Instant::now();
        inbox.store(record(0).await).await.unwrap();
        world.all_are_done().await;
    };
    worker.backoff(backoff, backoff).run_until(done).await;
    let begun = begun.lock().unwrap();
    assert!(begun[0] - accepted <= 2 * LONGEST_CALL, "begun after {:?}", begun[0] - accepted);
    // The second attempt comes at most a quarter later, and after one more exchange.
    let rest = begun[1] - begun[0];
    assert!(rest >= backoff && rest <= backoff * 5 / 4 + 4 * LONGEST_CALL, "rested for {rest:?}");
}

/// Otherwise many of them would keep a slow store from renewing leases.
#[tokio::test(start_paused = true)]
async fn an_idle_worker_uses_a_fifth_of_a_slow_store_at_most() {
    let (world, inbox) = inbox_of(0).await;
    let takes = Duration::from_millis(200);
    world.seen().call_takes = Some(takes);
    let worker = inbox.worker(async |_| Ok::<_, Failure>(()));
    worker.run_until(sleep(Duration::from_secs(100))).await;
    let exchanges = world.seen().exchanges;
    assert!((75..=101).contains(&exchanges), "{exchanges} exchanges");
}

#[tokio::test(start_paused = true)]
async fn a_stop_without_a_limit_can_say_so() {
    let (world, inbox) = inbox_of(1).await;
    let worker = inbox.worker(async |_| {
        sleep(Duration::from_secs(5)).await;
        Ok::<_, Failure>(())
    });
    worker.shutdown_timeout(Duration::MAX).run_until(sleep(Duration::from_secs(1))).await;
    assert!(world.are_done());
}

#[tokio::test(start_paused = true)]
async fn what_one_exchange_has_no_room_for_follows_at_once() {
    let (world, inbox) = inbox_of(1_000).await;
    let begun = Arc::new(Mutex::new(Vec::new()));
    let start = Instant::now();
    let ends_at = start + Duration::from_secs(8);
    let seen = Arc::clone(&begun);
    let worker = worker(&world, &inbox, move |_| {
        seen.lock().unwrap().push(Instant::now());
        async move {
            sleep_until(ends_at).await;
            Ok(())
        }
    });
    let recorded = async {
        sleep_until(ends_at).await;
        world.all_are_done().await;
        // At most 256 are claimed or recorded at once.
        assert!(ends_at.elapsed() <= 4 * LONGEST_CALL, "recorded after {:?}", ends_at.elapsed());
    };
    worker.concurrency(1_000).run_until(recorded).await;
    let begun = begun.lock().unwrap();
    // After the call that registers the worker.
    assert!(begun[0] - start <= 2 * LONGEST_CALL, "begun after {:?}", begun[0] - start);
    assert!(begun[999] - begun[0] <= 3 * LONGEST_CALL, "begun within {:?}", begun[999] - begun[0]);
    assert_eq!(world.seen().violation, None);
}

#[tokio::test(start_paused = true)]
async fn what_ends_at_nearly_the_same_time_is_recorded_together() {
    let (world, inbox) = inbox_of(1_600).await;
    let before = world.seen().calls;
    let node = world.clone();
    let worker = worker(&world, &inbox, move |_| {
        let handled = node.seen().handled.len();
        async move {
            for _ in 0..handled % 16 {
                yield_now().await;
            }
            Ok(())
        }
    });
    worker.concurrency(16).run_until(world.all_are_done()).await;
    // A hundred exchanges claim 16 each, and record what the one before has claimed. Some more calls are made at
    // the start and at the stop.
    let calls = world.seen().calls - before;
    assert!(calls <= 110, "{calls} calls");
    assert_eq!(world.seen().violation, None);
}

/// An exchange takes 20 milliseconds. In this time handlers finish what was claimed ahead of them.
#[tokio::test(start_paused = true)]
async fn quick_handlers_do_not_wait_for_the_store() {
    let (world, inbox) = inbox_of(4_000).await;
    world.seen().call_takes = Some(LONGEST_CALL);
    let worker = worker(&world, &inbox, async |_| {
        sleep(Duration::from_millis(1)).await;
        Ok(())
    });
    worker.concurrency(16).run_until(world.all_are_done()).await;
    // It would be 250 exchanges if each claimed only as many as there are handlers.
    let exchanges = world.seen().exchanges;
    assert!((15..=50).contains(&exchanges), "{exchanges} exchanges");
    assert_eq!(world.seen().violation, None);
}

/// All handlers become slow at once.
#[tokio::test(start_paused = true)]
async fn what_was_claimed_ahead_of_handlers_that_became_slow_is_another_workers() {
    static BEGUN: AtomicU32 = AtomicU32::new(0);
    let (world, inbox) = inbox_of(2_000).await;
    world.seen().call_takes = Some(LONGEST_CALL);
    let slow = worker(&world, &inbox, async |_| {
        let is_slow = BEGUN.fetch_add(1, Ordering::Relaxed) >= 1_000;
        sleep(Duration::from_millis(if is_slow { 3_600_000 } else { 1 })).await;
        Ok(())
    });
    let slow = tokio::spawn(slow.concurrency(16).run_until(pending()));
    while BEGUN.load(Ordering::Relaxed) < 1_016 {
        sleep(Duration::from_millis(1)).await;
    }
    let became_slow = Instant::now();
    let other = worker(&world, &inbox, async |_| Ok(()));
    let are_others_done = async {
        let running = |world: &World| {
            world.memory.apply(|tables| {
                tables.events.values().filter(|row| row.state() != State::Done).count()
            })
        };
        while running(&world) > 16 {
            sleep(Duration::from_millis(10)).await;
        }
    };
    other.run_until(are_others_done).await;
    let took = became_slow.elapsed();
    assert!(took < Duration::from_secs(2), "{took:?}");
    slow.abort();
}

/// The first end was late: its lease was lost, and the same worker has the event again.
#[tokio::test(start_paused = true)]
async fn of_two_ends_at_the_same_time_one_counts() {
    static DEAD: AtomicU32 = AtomicU32::new(0);
    static IS_TOLD: AtomicBool = AtomicBool::new(false);
    let (world, inbox) = inbox_of(1).await;
    let ends_at = Instant::now() + Duration::from_secs(8);
    let worker = worker(&world, &inbox, move |event| async move {
        sleep_until(ends_at).await;
        if event.attempt() > 1 {
            return Ok(());
        }
        IS_TOLD.store(event.lease_lost().is_cancelled(), Ordering::Relaxed);
        Err(Failure::permanent("late"))
    });
    let worker = worker.on_dead_letter(async |_| _ = DEAD.fetch_add(1, Ordering::Relaxed));
    let lost = async {
        sleep(Duration::from_secs(1)).await;
        world.memory.apply(|tables| {
            let id = *tables.events.keys().next().unwrap();
            tables.put_back(id, State::Ready);
        });
        world.all_are_done().await;
    };
    worker.run_until(lost).await;
    assert_eq!(world.seen().violation, None);
    assert_eq!(DEAD.load(Ordering::Relaxed), 0, "the hook was called for an end that is lost");
    assert!(IS_TOLD.load(Ordering::Relaxed), "the first one was not told that its lease was lost");
}

/// Not even an outage does, while they are recorded one by one.
#[tokio::test(start_paused = true)]
async fn an_end_that_the_store_refuses_holds_up_no_other() {
    static DEAD: AtomicU32 = AtomicU32::new(0);
    let (world, inbox) = inbox_of(4).await;
    let refused = "job.completed:job_2";
    world.seen().refused = Some((refused.to_owned(), Duration::from_secs(1)));
    let ends_at = Instant::now() + Duration::from_secs(8);
    let begun = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&begun);
    let worker = worker(&world, &inbox, move |event| {
        count.fetch_add(1, Ordering::Relaxed);
        async move {
            sleep_until(ends_at).await;
            match event.key == refused {
                true => Err(Failure::permanent("it cannot be handled")),
                false => Ok(()),
            }
        }
    });
    let worker = worker.on_dead_letter(async |_| _ = DEAD.fetch_add(1, Ordering::Relaxed));
    worker.run_until(sleep_until(ends_at + Duration::from_secs(60))).await;
    let left = world.memory.apply(|tables| {
        let left = tables.events.values().filter(|row| row.state() != State::Done);
        left.map(|row| (row.key.clone(), row.state())).collect::<Vec<_>>()
    });
    assert_eq!(
        left,
        [(refused.to_owned(), State::Running)],
        "it is released, or others are held up"
    );
    assert_eq!(begun.load(Ordering::Relaxed), 4, "it was begun again");
    assert_eq!(DEAD.load(Ordering::Relaxed), 0, "it is no dead letter");
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
        // The renewal of the lease is tried every half second, 119 times. The other calls are tried after 50 milliseconds, 100,
        // 200 and so on, and then every 2 seconds, 35 times. Expected jobs are looked up 12 times.
        let calls = world.seen().calls - before;
        assert!((162..=170).contains(&calls), "{calls} calls");
    };
    worker.run_until(outage).await;
}

/// Accepts an event while a worker runs, and stops the worker in an outage, in the middle of the attempt. Another attempt may
/// then continue for a while, and end in a short outage.
async fn stops_in_an_outage(before_it: Duration, outage: Duration, other: Duration) -> World {
    let (world, inbox) = inbox_of(0).await;
    let node = world.clone();
    let worker = worker(&world, &inbox, move |event| {
        let node = node.clone();
        async move {
            let second = Duration::from_secs(1);
            let is_other = event.key.ends_with("_1");
            sleep(if is_other { other } else { second }).await;
            if is_other {
                node.seen().away_until = Instant::now() + second;
            }
            Ok(())
        }
    });
    let stop = async {
        inbox.store(record(0).await).await.unwrap();
        if !other.is_zero() {
            inbox.store(record(1).await).await.unwrap();
        }
        sleep(Duration::from_millis(500)).await;
        world.seen().away_until = Instant::now() + outage;
        sleep(before_it).await;
    };
    worker.lease(LEASE).run_until(stop).await;
    world
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_stops_records_what_it_can_within_a_lease() {
    let (none, second) = (Duration::ZERO, Duration::from_secs(1));
    assert!(stops_in_an_outage(none, LEASE / 2, none).await.are_done());
    // The lease is counted from the stop, and nothing is given up while a handler runs.
    assert!(stops_in_an_outage(LEASE, LEASE + LEASE / 2, none).await.are_done());
    assert!(stops_in_an_outage(second, 3 * LEASE, 5 * LEASE).await.are_done());
    assert!(!stops_in_an_outage(second, LEASE + LEASE / 2, none).await.are_done());
}

#[tokio::test(start_paused = true)]
async fn a_stop_takes_no_longer_than_its_limit() {
    let second = Duration::from_secs(1);
    // While the store is away, it is asked again after a pause.
    for (outage, latest) in [(Duration::ZERO, 6 * LONGEST_CALL), (60 * second, 2 * second)] {
        let (world, inbox) = inbox_of(1).await;
        let worker = inbox.worker(async |_| pending::<Result<(), Failure>>().await).concurrency(1);
        let start = Instant::now();
        let stop = async {
            sleep(second).await;
            world.seen().away_until = Instant::now() + outage;
        };
        worker.shutdown_timeout(second).run_until(stop).await;
        let took = start.elapsed() - second;
        assert!((second..second + latest).contains(&took), "{took:?}");
    }
}

/// The limit begins when the stop is requested, not when the running exchange ends.
#[tokio::test(start_paused = true)]
async fn a_stop_takes_no_longer_than_its_limit_in_the_middle_of_an_exchange() {
    let (second, milli) = (Duration::from_secs(1), Duration::from_millis(1));
    let (world, inbox) = inbox_of(1).await;
    let worker = inbox.worker(async |_| pending::<Result<(), Failure>>().await);
    let mut told_at = Instant::now();
    let stop = async {
        sleep(second).await;
        // Each call takes as long as it may.
        world.seen().call_takes = Some(4 * second - milli);
        sleep(second).await;
        told_at = Instant::now();
    };
    worker.shutdown_timeout(second).run_until(stop).await;
    let took = told_at.elapsed();
    assert!((second..=4 * second).contains(&took), "{took:?}");
}

/// It also sleeps while an event waits, and in the end for an hour at a time.
#[tokio::test(start_paused = true)]
async fn a_worker_that_sleeps_asks_nothing_and_wakes_up_for_what_is_to_do() {
    let (second, hour) = (Duration::from_secs(1), Duration::from_secs(3_600));
    let polling = Polling { sleep_after: Some(second), ..Polling::default() };
    let (world, inbox) = inbox_with(1, &Options { polling, ..Options::default() }).await;
    let worker = worker(&world, &inbox, async |event: AcceptedEvent| match event.attempt() {
        1 => Err("not yet".into()),
        _ => Ok(()),
    });
    let begun = Instant::now();
    let rounds = async {
        // In virtual time: at least ten minutes, and a quarter more at most.
        world.all_are_done().await;
        assert!((600 * second..=751 * second).contains(&begun.elapsed()), "{:?}", begun.elapsed());
        // Awake for 30 seconds, it polls 20 times a second at most.
        let calls = world.seen().calls;
        assert!((200..1_000).contains(&calls), "{calls}");
        sleep(60 * second).await;
        let asleep = world.seen().calls;
        sleep(hour - 70 * second).await;
        assert_eq!(world.seen().calls, asleep);
        inbox.store(record(7).await).await.unwrap();
        sleep(second).await;
        assert_eq!(world.seen().handled.len(), 2, "it was not woken up");
        // It also looks by itself, for what it is not notified of.
        let calls = world.seen().calls;
        sleep(2 * hour).await;
        assert!(world.seen().calls > calls + 200);
    };
    worker.backoff(600 * second, hour).run_until(rounds).await;
}

/// As after a kill under load, when many were claimed ahead.
#[tokio::test(start_paused = true)]
async fn quarantined_events_follow_each_other_at_once() {
    let (world, inbox) = inbox_of(50).await;
    world.memory.apply(|tables| {
        let ids: Vec<_> = tables.events.keys().copied().collect();
        ids.into_iter().for_each(|id| tables.put_back(id, State::Quarantined));
    });
    let start = Instant::now();
    let worker = worker(&world, &inbox, async |_| Ok(()));
    worker.run_until(world.all_are_done()).await;
    assert!(start.elapsed() <= 53 * LONGEST_CALL, "{:?}", start.elapsed());
}

/// Nobody else would rescue them before the lease is over.
#[tokio::test(start_paused = true)]
async fn a_worker_that_is_dropped_releases_what_it_has_claimed_ahead() {
    static BEGUN: AtomicU32 = AtomicU32::new(0);
    let (world, inbox) = inbox_of(2_000).await;
    world.seen().call_takes = Some(LONGEST_CALL);
    let worker = worker(&world, &inbox, async |event: AcceptedEvent| {
        let is_slow = BEGUN.fetch_add(1, Ordering::Relaxed) >= 1_000;
        match is_slow {
            true => event.lease_lost().cancelled().await,
            false => sleep(Duration::from_millis(1)).await,
        }
        Ok(())
    });
    let worker = tokio::spawn(worker.run_until(pending()));
    while BEGUN.load(Ordering::Relaxed) < 1_016 {
        sleep(Duration::from_millis(1)).await;
    }
    let running = || {
        world.memory.apply(|tables| {
            tables.events.values().filter(|row| row.state() == State::Running).count()
        })
    };
    // The running exchange is answered.
    sleep(2 * LONGEST_CALL).await;
    assert!(running() > 16, "nothing was claimed ahead");
    worker.abort();
    sleep(Duration::from_secs(1)).await;
    assert_eq!(running(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_paused_worker_claims_no_place_that_becomes_free_and_resumes_at_once() {
    let (world, inbox) = inbox_of(2).await;
    let begun = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&begun);
    let worker = worker(&world, &inbox, move |_| {
        seen.lock().unwrap().push(Instant::now());
        async {
            sleep(Duration::from_secs(2)).await;
            Ok(())
        }
    });
    let pause = worker.pause();
    let mut resumed = Instant::now();
    let all_done = async {
        sleep(Duration::from_secs(1)).await;
        pause.pause();
        sleep(Duration::from_secs(7)).await;
        assert_eq!(begun.lock().unwrap().len(), 1);
        pause.resume();
        resumed = Instant::now();
        world.all_are_done().await;
    };
    worker.concurrency(1).run_until(all_done).await;
    let waited = begun.lock().unwrap()[1] - resumed;
    assert!(waited <= 2 * LONGEST_CALL, "{waited:?}");
}

/// Its future is dropped, and what was running continues.
#[tokio::test(start_paused = true)]
async fn a_worker_that_is_dropped_tells_its_handlers_and_records_how_they_end() {
    static BEGUN: Notify = Notify::const_new();
    let (world, inbox) = inbox_of(1).await;
    let worker = worker(&world, &inbox, async |event: AcceptedEvent| {
        BEGUN.notify_one();
        event.lease_lost().cancelled().await;
        Ok(())
    });
    let worker = tokio::spawn(worker.run_until(pending()));
    BEGUN.notified().await;
    sleep(Duration::from_secs(1)).await;
    worker.abort();
    let recorded = timeout(Duration::from_secs(5), world.all_are_done()).await;
    assert!(recorded.is_ok(), "nobody told the handler, or recorded its end");
}

/// One of them was claimed again while its first attempt was running. The end of that attempt is not the end of the
/// quarantined one.
#[tokio::test(start_paused = true)]
async fn there_is_one_quarantined_event_at_a_time() {
    let (world, inbox) = inbox_of(2).await;
    let begun = Arc::new(Mutex::new(Vec::new()));
    let start = Instant::now();
    let seen = Arc::clone(&begun);
    let worker = worker(&world, &inbox, move |event| {
        let takes = match (event.attempt(), &*event.key) {
            (1, "job.completed:job_0") => 8,
            (1, _) => 30,
            _ => 20,
        };
        if event.attempt() > 1 {
            seen.lock().unwrap().push(start.elapsed().as_secs());
        }
        async move {
            sleep(Duration::from_secs(takes)).await;
            Ok(())
        }
    });
    let lost = async {
        for at in 1..=2 {
            sleep_until(start + Duration::from_secs(at)).await;
            world.memory.apply(|tables| {
                let mut rows = tables.events.iter();
                let (id, _) =
                    rows.find(|(_, row)| row.worker.is_some() && row.number.of_all == 1).unwrap();
                let id = *id;
                tables.put_back(id, State::Quarantined);
            });
        }
        world.all_are_done().await;
    };
    worker.run_until(lost).await;
    assert_eq!(*begun.lock().unwrap(), [1, 21]);
}

/// Nobody has rescued its event, but somebody might have.
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
    // Unanswered calls must not hold it up.
    (world.seen().is_faulty, world.seen().away_until) = (true, away + 3 * LEASE);
    _ = timeout(2 * LEASE, TOLD.notified()).await;
    let heartbeat = LEASE / 4;
    let (earliest, latest) = (LEASE - heartbeat, LEASE + heartbeat);
    assert!((earliest..latest).contains(&away.elapsed()), "{:?}", away.elapsed());
    worker.abort();
}

/// Also between two steps of its loop, on another thread.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_stops_whenever_it_is_told_to() {
    for round in 0..5_000 {
        let inbox = Inbox::memory();
        let (stop, stopped) = oneshot::channel();
        let signal = async { _ = stopped.await };
        let worker = inbox.worker(async |_| Ok::<_, Failure>(())).run_until(signal);
        let worker = tokio::spawn(worker);
        let (begun, mut stop) = (Instant::now(), Some(stop));
        while !worker.is_finished() {
            // It goes around its loop all the time.
            inbox.wake().events_are_ready();
            let running = begun.elapsed();
            if running > Duration::from_micros(200 + round % 100) {
                _ = stop.take().map(|stop| stop.send(()));
            }
            assert!(running < Duration::from_secs(20), "it did not stop in round {round}");
        }
    }
}
