//! Many events, every third of them repeated; handlers that fail; receivers that are killed, and their store as well. In the
//! end exactly the expected events are handled, and no key is without its payload.
//!
//! `NUMBER7_SOAK_EVENTS` is the number of events: 20,000 for a long run.
#![allow(clippy::unwrap_used)]

use std::{
    collections::HashSet,
    env,
    net::SocketAddr,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread::{scope, sleep},
    time::{Duration, Instant},
};

use number7_tests::{
    body,
    engine::{Engine, Server},
    on_every_store,
    receiver::{FRAMEWORKS, Setup, deliver},
    store::Store,
};
use tokio::task::block_in_place;

/// Few enough for a CI run.
const DEFAULT_EVENTS: usize = 1_500;

/// How many events are delivered at a time.
const SENDERS: usize = 4;

/// How long a receiver lives.
const LIFE: Duration = Duration::from_millis(1_500);

/// How many events of a killed receiver may have been running, and so be handled twice: as many as a worker runs at a time.
const IN_HAND: u32 = 16;

async fn nothing_is_lost_and_little_is_doubled(store: Store) {
    soak(&store, None).await;
}

/// Two receivers are killed in turn and, if it can be killed, their server.
async fn soak(store: &Store, mut server: Option<Server>) {
    let events =
        env::var("NUMBER7_SOAK_EVENTS").map_or(DEFAULT_EVENTS, |text| text.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let setups = FRAMEWORKS.map(|framework| Setup {
        program: env!("CARGO_BIN_EXE_inbox-receiver"),
        store,
        framework,
        effects: folder.path().join("effects"),
        failing: 20,
        vendor: None,
    });
    let (kills, receivers) = block_in_place(|| {
        let mut receivers = setups.each_ref().map(|setup| setup.start("never"));
        let addrs = Mutex::new(receivers.each_ref().map(|receiver| receiver.addr()));
        let (next, mut kills) = (AtomicUsize::new(0), 0);
        scope(|scope| {
            let senders: Vec<_> =
                (0..SENDERS).map(|_| scope.spawn(|| send(events, &next, &addrs))).collect();
            while senders.iter().any(|sender| !sender.is_finished()) {
                sleep(LIFE);
                let victim = kills as usize % receivers.len();
                if let Some(server) = &mut server {
                    server.kill();
                    sleep(LIFE);
                    server.restart();
                    sleep(LIFE);
                }
                receivers[victim].kill();
                receivers[victim] = setups[victim].start("never");
                addrs.lock().unwrap()[victim] = receivers[victim].addr();
                kills += 1;
            }
        });
        (kills, receivers)
    });
    store.settled(Duration::from_secs(120 + events as u64 / 10)).await;
    drop(receivers);

    let effects = setups[0].effects();
    let expected: HashSet<String> = (0..events).map(|number| key(number, events)).collect();
    assert_eq!(effects.keys().cloned().collect::<HashSet<_>>(), expected);
    assert_eq!(store.keys().await, i64::try_from(events).unwrap());
    assert_eq!(store.keys_without_payload().await, 0);
    let doubled: u32 = effects.values().map(|count| count - 1).sum();
    let url = store.url();
    eprintln!("{url}: {events} events, {kills} kills, {doubled} effects doubled");
    assert!(kills > 0 && doubled <= kills * IN_HAND, "{doubled} doubled by {kills} kills");
}

/// Half of the jobs fail, and the others are completed.
fn event(number: usize) -> (&'static str, String) {
    (["job.completed", "job.failed"][number % 2], format!("job_{}", number / 2))
}

fn key(number: usize, events: usize) -> String {
    assert!(number < events);
    let (event, job) = event(number);
    format!("{event}:{job}")
}

fn send(events: usize, next: &AtomicUsize, addrs: &Mutex<[SocketAddr; 2]>) {
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= events {
            return;
        }
        let (event, job) = event(number);
        let repeated = if number.is_multiple_of(3) { 2 } else { 1 };
        for way in 0..repeated {
            let begun = Instant::now();
            // Longer than the vendor tries, because these receivers are down more often.
            for attempt in 0.. {
                let addr = addrs.lock().unwrap()[(number + way + attempt) % 2];
                match deliver(addr, &body(event, &job)) {
                    Ok((200, _)) => break,
                    Ok((503, _)) | Err(_) => sleep(Duration::from_millis(20)),
                    Ok((status, _)) => panic!("{status}"),
                }
                assert!(begun.elapsed() < Duration::from_secs(60), "it is not accepted");
            }
        }
    }
}

on_every_store!(nothing_is_lost_and_little_is_doubled);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(no_postgres, ignore = "PostgreSQL is not installed: see CONTRIBUTING.md")]
async fn nor_where_postgres_is_killed_too() {
    let server = block_in_place(|| Server::start(Engine::Postgres));
    soak(&Store::postgres_on(&server, server.port()).await, Some(server)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(no_redis, ignore = "redis-server is not installed: see CONTRIBUTING.md")]
async fn nor_where_redis_is_killed_too() {
    let server = block_in_place(|| Server::start(Engine::Redis));
    soak(&Store::redis_on(&server, server.port()), Some(server)).await;
}
