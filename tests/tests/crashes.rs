//! Receivers are killed at awkward moments, on every store. The vendor tries again, and the effects are counted.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use number7_tests::{
    body, on_every_store,
    receiver::{FRAMEWORKS, Setup},
    running::dead_letters,
    store::Store,
};
use tempfile::TempDir;
use tokio::{task::block_in_place, time::sleep};

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn setup<'a>(store: &'a Store, framework: &'a str, folder: &TempDir) -> Setup<'a> {
    Setup::new(env!("CARGO_BIN_EXE_inbox-receiver"), store, framework, folder.path())
}

/// Crashes a receiver once, delivers again like the vendor, and counts the effects.
async fn effects_after(crash: &str, store: &Store, answered: bool) -> Vec<u32> {
    let folder = tempfile::tempdir().unwrap();
    let mut counts = Vec::new();
    for framework in FRAMEWORKS {
        let setup = setup(store, framework, &folder);
        let job = format!("job_{crash}_{framework}");
        let body = body("job.completed", &job);
        let receiver = block_in_place(|| {
            let mut receiver = setup.start(crash);
            let first = receiver.deliver(&body);
            match answered {
                // The answer and the crash of the handler race.
                true => assert!(first.is_err() || first.is_ok_and(|status| status == 200)),
                false => assert!(first.is_err(), "there was an answer"),
            }
            let begun = Instant::now();
            while !receiver.has_ended() {
                assert!(begun.elapsed() < PATIENCE, "it did not crash");
            }
            // The receiver is up again at the vendor's first retry, and at the others.
            let receiver = setup.start("never");
            for _ in 0..3 {
                assert_eq!(receiver.deliver(&body).unwrap(), 200);
            }
            receiver
        });
        store.settled(PATIENCE).await;
        drop(receiver);
        counts.push(setup.effects().get(&format!("job.completed:{job}")).copied().unwrap_or(0));
    }
    counts
}

/// Each of them would create the tables.
async fn processes_that_start_together_on_an_empty_store_all_serve(store: Store) {
    const PROCESSES: usize = 6;
    let folder = tempfile::tempdir().unwrap();
    let setup = setup(&store, FRAMEWORKS[0], &folder);
    let receivers: Vec<_> = block_in_place(|| {
        std::thread::scope(|scope| {
            let starting = [(); PROCESSES].map(|()| scope.spawn(|| setup.start("never")));
            starting.map(|receiver| receiver.join().unwrap()).into()
        })
    });
    for (number, receiver) in receivers.iter().enumerate() {
        let body = body("job.completed", &format!("job_{number}"));
        assert_eq!(block_in_place(|| receiver.deliver(&body)).unwrap(), 200, "{}", receiver.log());
    }
    store.settled(PATIENCE).await;
    assert_eq!(setup.effects().len(), PROCESSES);
}

async fn before_the_insert(store: Store) {
    assert_eq!(effects_after("before-insert", &store, false).await, [1, 1]);
}

async fn during_the_insert(store: Store) {
    assert_eq!(effects_after("during-insert", &store, false).await, [1, 1]);
}

async fn after_the_insert_and_before_the_answer(store: Store) {
    assert_eq!(effects_after("before-answer", &store, false).await, [1, 1]);
}

async fn in_the_middle_of_the_handler(store: Store) {
    assert_eq!(effects_after("in-handler", &store, true).await, [1, 1]);
}

/// At least once: only here can an effect happen twice.
async fn after_the_effect_and_before_its_record(store: Store) {
    assert_eq!(effects_after("after-effect", &store, true).await, [2, 2]);
}

async fn after_the_answer(store: Store) {
    let folder = tempfile::tempdir().unwrap();
    for framework in FRAMEWORKS {
        let setup = setup(&store, framework, &folder);
        let jobs: Vec<String> = (0..20).map(|job| format!("job_{job}_{framework}")).collect();
        for job in &jobs {
            block_in_place(|| {
                let mut receiver = setup.start("never");
                assert_eq!(receiver.deliver(&body("job.completed", job)).unwrap(), 200);
                // At once: the worker may be running the event, may not have begun it, or may have finished it.
                receiver.kill();
            });
        }
        let receiver = block_in_place(|| setup.start("never"));
        store.settled(PATIENCE).await;
        drop(receiver);
        let effects = setup.effects();
        for job in &jobs {
            let count = effects.get(&format!("job.completed:{job}")).copied().unwrap_or(0);
            assert!((1..=2).contains(&count), "{job} had {count} effects");
        }
    }
}

async fn the_client_goes_away_in_the_middle(store: Store) {
    let folder = tempfile::tempdir().unwrap();
    for framework in FRAMEWORKS {
        let setup = setup(&store, framework, &folder);
        let jobs: Vec<String> = (0..20).map(|job| format!("job_{job}_{framework}")).collect();
        let receiver = block_in_place(|| {
            let receiver = setup.start("never");
            for job in &jobs {
                receiver.deliver_and_reset(&body("job.completed", job));
            }
            for job in &jobs {
                assert_eq!(receiver.deliver(&body("job.completed", job)).unwrap(), 200);
            }
            receiver
        });
        store.settled(PATIENCE).await;
        drop(receiver);
        let effects = setup.effects();
        assert!(effects.len() == jobs.len() && effects.values().all(|count| *count == 1));
    }
}

async fn a_hundred_at_once_have_one_effect(store: Store) {
    let folder = tempfile::tempdir().unwrap();
    for framework in FRAMEWORKS {
        let setup = setup(&store, framework, &folder);
        let body = body("job.completed", &format!("job_{framework}"));
        let receiver = block_in_place(|| {
            let receiver = setup.start("never");
            std::thread::scope(|scope| {
                let deliveries: Vec<_> =
                    (0..100).map(|_| scope.spawn(|| receiver.deliver(&body))).collect();
                for delivery in deliveries {
                    assert_eq!(delivery.join().unwrap().unwrap(), 200);
                }
            });
            receiver
        });
        store.settled(PATIENCE).await;
        drop(receiver);
        assert_eq!(setup.effects().into_values().collect::<Vec<_>>(), [1]);
    }
}

/// Two receivers, each with a worker, share the work.
async fn two_processes_on_one_store(store: Store) {
    const EVENTS: usize = 400;
    let folder = tempfile::tempdir().unwrap();
    let names = ["axum", "actix-web"].map(|framework| setup(&store, framework, &folder));
    let receivers = block_in_place(|| {
        // Both at once, on an empty store: the schema is created once.
        std::thread::scope(|scope| {
            let starting = names.each_ref().map(|setup| scope.spawn(|| setup.start("never")));
            starting.map(|receiver| receiver.join().unwrap())
        })
    });
    block_in_place(|| {
        std::thread::scope(|scope| {
            for (half, receiver) in receivers.iter().enumerate() {
                scope.spawn(move || {
                    for number in 0..EVENTS {
                        // Every event goes to both, like a retry on another route.
                        let job = format!("job_{}", (number + half * EVENTS / 2) % EVENTS);
                        assert_eq!(receiver.deliver(&body("job.completed", &job)).unwrap(), 200);
                    }
                });
            }
        });
    });
    store.settled(PATIENCE).await;
    // The end of an event is recorded before the event leaves the unfinished ones.
    sleep(Duration::from_millis(100)).await;
    drop(receivers);
    let [axum, actix] = names.map(|setup| setup.effects());
    assert!(!axum.is_empty() && !actix.is_empty(), "one of the workers did nothing");
    assert_eq!(axum.len() + actix.len(), EVENTS, "an event was lost, or handled by both");
    assert!(axum.values().chain(actix.values()).all(|count| *count == 1));
}

/// Events that run together with it lose attempts, but keep some.
async fn an_event_that_ends_its_process_takes_no_other_with_it(store: Store) {
    const OTHERS: usize = 8;
    /// One life for each attempt of the poisoned event, and one that sets the event aside.
    const LIVES: usize = 4 + 1;
    let folder = tempfile::tempdir().unwrap();
    let setup = setup(&store, FRAMEWORKS[0], &folder);
    let mut receiver = block_in_place(|| {
        let receiver = setup.start("poison");
        let others = (0..OTHERS).map(|number| format!("job_{number}"));
        for job in others.chain(["job_poison".to_owned()]) {
            // The answer to the last one and the crash race.
            _ = receiver.deliver(&body("job.completed", &job));
        }
        receiver
    });
    let mut lives = 1;
    while store.unfinished().await > 0 {
        if receiver.has_ended() {
            receiver = block_in_place(|| setup.start("poison"));
            lives += 1;
        }
        assert!(lives <= LIVES, "the poisoned event is tried again and again");
        sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(lives, LIVES);
    drop(receiver);
    let letters = dead_letters(&store.open().await).await;
    let keys: Vec<_> = letters.iter().map(|letter| letter.key()).collect();
    assert_eq!(keys, ["job.completed:job_poison"]);
    assert_eq!(setup.effects().len(), OTHERS);
}

on_every_store!(
    processes_that_start_together_on_an_empty_store_all_serve,
    before_the_insert,
    during_the_insert,
    after_the_insert_and_before_the_answer,
    in_the_middle_of_the_handler,
    after_the_effect_and_before_its_record,
    after_the_answer,
    the_client_goes_away_in_the_middle,
    a_hundred_at_once_have_one_effect,
    two_processes_on_one_store,
    an_event_that_ends_its_process_takes_no_other_with_it,
);
