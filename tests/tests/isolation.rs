//! A problem of one event, one worker or one inbox does no harm to the others in the same store.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use futures_util::{FutureExt, future::join_all};
use number7_core::{Acceptance, RejectionKind};
use number7_inbox::{AcceptedEvent, BoxError, Inbox, InboxErrorKind, MIN_LEASE};
use number7_tests::{
    delivery,
    gate::Gate,
    on_every_store,
    running::{Handled, PATIENCE, Running, accept, dead_letters, until},
    store::{Store, redis_script},
};
use tokio::time::sleep;

const OTHERS: usize = 20;

async fn accept_others(inbox: &Inbox) {
    for number in 0..OTHERS {
        accept(inbox, "job.completed", &format!("job_{number}")).await;
    }
}

/// The process of the first attempt seemed to have died, but it had not.
async fn who_succeeds_late_leaves_no_dead_letter(store: Store) {
    let (inbox, gate, handled) = (store.open().await, Gate::default(), Handled::default());
    accept(&inbox, "job.completed", "job_1").await;
    let first = Running::start(gate.worker(&inbox).attempts(1));
    gate.begun().await;
    store.take_over().await;
    let second = Running::start(handled.worker(&inbox).attempts(1));
    until(async || dead_letters(&inbox).await.len() == 1).await;
    let letters = dead_letters(&inbox).await;
    assert_eq!(letters[0].attempts(), 1);
    gate.open();
    until(async || dead_letters(&inbox).await.is_empty()).await;
    assert_eq!((store.unfinished().await, handled.events()), (0, 0));
    assert_eq!(inbox.requeue("job.completed:job_1").await.unwrap().events, 0);
    assert_eq!(accept(&inbox, "job.completed", "job_1").await, Acceptance::Duplicate);
    first.stop().await;
    second.stop().await;
}

/// Another thread renews its lease.
async fn who_blocks_its_thread_keeps_its_events(store: Store) {
    const EVENTS: usize = 8;
    let (inbox, handled) = (store.open().await, Handled::default());
    for job in 0..EVENTS {
        accept(&inbox, "job.completed", &format!("job_{job}")).await;
    }
    let (blocks, has_blocked) = std::sync::mpsc::channel();
    let (counted, of_thread) = (handled.clone(), inbox.clone());
    let worker = of_thread.worker(move |event: AcceptedEvent| {
        let (blocks, counted) = (blocks.clone(), counted.clone());
        async move {
            if blocks.send(()).is_ok() && event.key().ends_with('0') {
                std::thread::sleep(MIN_LEASE * 2);
            }
            counted.count(&event);
            Ok::<_, BoxError>(())
        }
    });
    let worker = worker.lease(MIN_LEASE);
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(worker.run_until(async { _ = stopped.await }));
    });
    // All are claimed at once, when the first is begun.
    tokio::task::block_in_place(|| has_blocked.recv().unwrap());
    let other = Running::start(handled.worker(&inbox).lease(MIN_LEASE));
    until(async || store.unfinished().await == 0).await;
    other.stop().await;
    drop(stop);
    tokio::task::block_in_place(|| thread.join().unwrap());
    assert_eq!(handled.events(), EVENTS);
}

async fn inboxes_of_two_names_share_nothing(store: Store) {
    let (live, gate, handled) = (store.open().await, Gate::default(), Handled::default());
    let staging = live.named("staging").unwrap();
    for inbox in [&live, &staging] {
        assert_eq!(accept(inbox, "job.completed", "job_1").await, Acceptance::New);
        assert_eq!(accept(inbox, "job.completed", "job_1").await, Acceptance::Duplicate);
    }
    let again = store.open().await.named("staging").unwrap();
    assert_eq!(accept(&again, "job.completed", "job_1").await, Acceptance::Duplicate);

    // One inbox has a stopped worker and a running event. The other is worked on.
    let stopped = Running::start(gate.worker(&live).concurrency(1).lease(MIN_LEASE));
    gate.begun().await;
    stopped.crash().await;
    let broken = staging.worker(|_: AcceptedEvent| async { Err::<(), _>("broken") }).attempts(1);
    let broken = Running::start(broken.lease(MIN_LEASE));
    until(async || dead_letters(&staging).await.len() == 1).await;
    sleep(MIN_LEASE * 3).await;
    broken.stop().await;
    assert!(dead_letters(&live).await.is_empty());
    assert_eq!(live.requeue("job.completed:job_1").await.unwrap().events, 0);

    handled.worker(&live).lease(MIN_LEASE).run_until(store.settled(PATIENCE)).await;
    assert_eq!(handled.events(), 1);
    assert_eq!(dead_letters(&staging).await.len(), 1);
    assert_eq!(again.requeue("job.completed:job_1").await.unwrap().events, 1);
}

on_every_store!(
    who_succeeds_late_leaves_no_dead_letter,
    inboxes_of_two_names_share_nothing,
    who_blocks_its_thread_keeps_its_events,
);

#[tokio::test]
async fn a_name_is_a_word() {
    let inbox = Store::sqlite().open().await;
    for good in ["staging", "a", "EU-west_1.live", &"n".repeat(64)] {
        assert!(inbox.named(good).is_ok(), "{good:?} is not a name");
    }
    for bad in ["", "a b", "a:b", "größe", "a\0", &"n".repeat(65)] {
        let error = inbox.named(bad).unwrap_err();
        assert_eq!(error.kind(), InboxErrorKind::Invalid, "{bad:?} is a name");
    }
}

/// All of them wait for the same commit.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_or_cancelled_acceptance_is_no_other_callers() {
    let store = Store::sqlite();
    let inbox = store.open().await;
    let trigger = "CREATE TRIGGER refuse BEFORE INSERT ON number7_events
        WHEN NEW.key LIKE '%refused' BEGIN SELECT RAISE(ABORT, 'never'); END";
    store.sql(trigger).await;
    for round in 0..20 {
        let jobs: Vec<String> = (0..30).map(|job| format!("job_{round}_{job}")).collect();
        let good = jobs.iter().map(|job| accept(&inbox, "job.completed", job));
        let refused = format!("job_{round}_refused");
        let refused = delivery("job.completed", &refused);
        // They wait in a group, and then stop waiting.
        let left = format!("job_{round}_left");
        let mut left: Vec<_> =
            (0..5).map(|_| Box::pin(accept(&inbox, "job.completed", &left))).collect();
        left.iter_mut().for_each(|call| _ = call.now_or_never());
        let (stored, refused, ()) =
            tokio::join!(join_all(good), inbox.accept(&refused), async { drop(left) });
        assert!(stored.iter().all(|stored| *stored == Acceptance::New));
        assert_eq!(refused.unwrap_err().kind(), RejectionKind::NotStored);
        let rounds = round + 1;
        assert!((30 * rounds..=31 * rounds).contains(&store.keys().await));
    }
}

/// Three processes, or three handles of one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_shares_a_file_gets_a_share_of_it() {
    const SPAN: Duration = Duration::from_secs(3);
    let store = Store::sqlite();
    let begun = Instant::now();
    let handles = (0..3).map(async |handle| {
        let (inbox, handled) = (store.open().await, Handled::default());
        let mut accepted = 0;
        let accepting = async {
            while begun.elapsed() < SPAN {
                accept(&inbox, "job.completed", &format!("job_{handle}_{accepted}")).await;
                accepted += 1;
            }
        };
        handled.worker(&inbox).run_until(accepting).await;
        accepted
    });
    let shares: Vec<u32> = join_all(handles).await;
    let fair = shares.iter().sum::<u32>() / 3;
    assert!(shares.iter().all(|share| *share > fair / 4), "{shares:?}");
}

/// A trigger that somebody created on the table refuses the end of one event, every time.
async fn a_refused_end_holds_up_no_other(
    store: Store,
    concurrency: usize,
    [refuse, allow]: [&str; 2],
) {
    const KEY: &str = "job.completed:job_refused";
    let (inbox, handled) = (store.open().await, Handled::default());
    store.sql(refuse).await;
    accept(&inbox, "job.completed", "job_refused").await;
    accept_others(&inbox).await;
    let worker = handled.worker(&inbox).lease(MIN_LEASE).concurrency(concurrency);
    let worker = Running::start(worker);
    until(async || handled.of(KEY) == 1 && store.unfinished().await == 1).await;
    // The worker does not handle it again and again, either, because it cannot record it.
    sleep(MIN_LEASE * 3).await;
    assert_eq!(handled.events(), OTHERS + 1);
    worker.stop().await;
    // It is repeated once the trigger is gone.
    store.sql(allow).await;
    let later = Handled::default();
    later.worker(&inbox).lease(MIN_LEASE).run_until(store.settled(PATIENCE)).await;
    assert_eq!((later.of(KEY), later.events()), (1, 1));
}

const SQLITE_TRIGGER: [&str; 2] = [
    "CREATE TRIGGER refuse BEFORE UPDATE ON number7_events
    WHEN NEW.key = 'job.completed:job_refused' AND NEW.state = 'done'
    BEGIN SELECT RAISE(ABORT, 'never'); END",
    "DROP TRIGGER refuse",
];

const POSTGRES_TRIGGER: [&str; 2] = [
    "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'never'; END $$;
    CREATE TRIGGER refuse BEFORE UPDATE ON number7.events FOR EACH ROW
        WHEN (NEW.key = 'job.completed:job_refused' AND NEW.state = 'done')
        EXECUTE FUNCTION refuse()",
    "DROP TRIGGER refuse ON number7.events",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_that_sqlite_refuses_forever_holds_up_no_other() {
    tokio::join!(
        a_refused_end_holds_up_no_other(Store::sqlite(), 1, SQLITE_TRIGGER),
        a_refused_end_holds_up_no_other(Store::sqlite(), 16, SQLITE_TRIGGER),
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(no_postgres, ignore = "PostgreSQL is not installed: see CONTRIBUTING.md")]
async fn an_end_that_postgres_refuses_forever_holds_up_no_other() {
    tokio::join!(
        a_refused_end_holds_up_no_other(Store::postgres().await, 1, POSTGRES_TRIGGER),
        a_refused_end_holds_up_no_other(Store::postgres().await, 16, POSTGRES_TRIGGER),
    );
}

/// Redis evicts data when it runs out of memory, unless it is configured not to.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(no_redis, ignore = "redis-server is not installed: see CONTRIBUTING.md")]
async fn an_event_that_redis_has_half_of_holds_up_no_other() {
    const EVICT: &str = "
        local event = redis.call('HGET', key('keys'), 'job.completed:job_evicted')
        redis.call('HDEL', key('events'), event)
        event = redis.call('HGET', key('keys'), 'job.completed:job_gone')
        return redis.call('HDEL', key('payloads'), event)";
    let store = Store::redis().await;
    let Store::Redis(url) = &store else { unreachable!() };
    let (inbox, handled) = (store.open().await, Handled::default());
    accept(&inbox, "job.completed", "job_evicted").await;
    accept(&inbox, "job.completed", "job_gone").await;
    accept_others(&inbox).await;
    redis_script::<i64>(url, EVICT).await;
    let worker = Running::start(handled.worker(&inbox));
    store.settled(PATIENCE).await;
    assert_eq!(handled.events(), OTHERS);

    // Of the first event the JSON is left, so it can be requeued.
    let letters = dead_letters(&inbox).await;
    let keys: Vec<_> = letters.iter().map(|letter| letter.key()).collect();
    assert_eq!(keys, ["job.completed:job_evicted"]);
    assert!(letters[0].error().contains("evicted"), "{}", letters[0].error());
    assert_eq!(accept(&inbox, "job.completed", "job_evicted").await, Acceptance::Duplicate);
    assert_eq!(inbox.requeue("job.completed:job_evicted").await.unwrap().events, 1);
    // Of the second event the key is left. It is forgotten, so that the vendor can deliver the event again.
    assert_eq!(accept(&inbox, "job.completed", "job_gone").await, Acceptance::New);
    until(async || handled.events() == OTHERS + 2).await;
    worker.stop().await;
}

/// A script that fails half-way is not undone. So its first writes must not make a retry a duplicate.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(no_redis, ignore = "redis-server is not installed: see CONTRIBUTING.md")]
async fn what_redis_has_stored_half_of_is_accepted_when_it_is_sent_again() {
    let store = Store::redis().await;
    let Store::Redis(url) = &store else { unreachable!() };
    let (inbox, handled) = (store.open().await, Handled::default());
    for list in ["ready", "events", "payloads"] {
        let of = |script: &str| format!("return redis.call({script}, key('{list}'))");
        redis_script::<String>(url, &format!("return redis.call('SET', key('{list}'), 'x')")).await;
        assert!(inbox.accept(&delivery("job.completed", list)).await.is_err());
        redis_script::<i64>(url, &of("'DEL'")).await;
        assert_eq!(accept(&inbox, "job.completed", list).await, Acceptance::New);
        handled.worker(&inbox).run_until(store.settled(PATIENCE)).await;
    }
    assert_eq!(handled.events(), 3);
}
