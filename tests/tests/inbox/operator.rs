//! What an operator sees of an inbox and does with it, on every store.
//!
//! `NUMBER7_LETTERS` is how many dead letters are paged through: 100,000 for many.
#![allow(clippy::unwrap_used)]

use std::{
    collections::HashSet,
    env,
    future::pending,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use number7_core::Acceptance;
use number7_inbox::{
    AcceptedEvent, Cursor, Entry, Failure, Filter, Inbox, InboxErrorKind, KEPT_ERRORS, MIN_LEASE,
    Origin, State, Stats,
};
use number7_tests::{
    body,
    gate::Gate,
    on_every_store,
    running::{Handled, PATIENCE, Running, accept, until},
    store::{Store, fill},
};
use tokio::time::sleep;

/// An inbox with one event in every state, and the worker that runs one.
async fn one_in_each_state(store: &Store) -> (Inbox, Running, Gate) {
    let (inbox, gate) = (store.open().await, Gate::default());
    for job in ["done", "dead", "later", "in_hand"] {
        accept(&inbox, "job.completed", job).await;
    }
    let handlers = gate.clone();
    let worker = inbox.worker(move |event: AcceptedEvent| {
        let gate = handlers.clone();
        async move {
            match event.key().split_once(':').unwrap().1 {
                "dead" => return Err(Failure::permanent("it will never work")),
                "later" => return Err("not yet".into()),
                "in_hand" => gate.pass().await,
                _ => {}
            }
            Ok(())
        }
    });
    let hour = Duration::from_secs(3_600);
    let worker = Running::start(worker.concurrency(4).backoff(hour, hour));
    gate.begun().await;
    until(async || {
        let stats = inbox.stats().await.unwrap();
        (stats.done, stats.dead, stats.scheduled) == (1, 1, 1)
    })
    .await;
    (inbox, worker, gate)
}

async fn all(inbox: &Inbox, state: State, filter: &Filter, limit: u32) -> Vec<Entry> {
    let (mut entries, mut cursor) = (Vec::new(), None::<Cursor>);
    loop {
        let page = inbox.list(state, filter, cursor.as_ref(), limit).await.unwrap();
        assert!(page.entries.len() <= limit as usize);
        entries.extend(page.entries);
        // As it returns from a URL.
        cursor = page.next.map(|cursor| cursor.to_string().parse().unwrap());
        if cursor.is_none() {
            return entries;
        }
    }
}

async fn every_event_is_counted_listed_and_shown_where_it_stands(store: Store) {
    let begun = SystemTime::now();
    let (inbox, worker, gate) = one_in_each_state(&store).await;
    accept(&inbox.named("other").unwrap(), "job.completed", "of_another_inbox").await;
    for number in 0..4 {
        accept(&inbox, "job.completed", &format!("fill_{number}")).await;
    }
    until(async || inbox.stats().await.unwrap().done == 5).await;
    let stats = inbox.stats().await.unwrap();
    assert_eq!((stats.ready, stats.scheduled, stats.running), (0, 1, 1));
    assert_eq!((stats.done, stats.dead, stats.oldest_ready), (5, 1, Duration::ZERO));
    assert_eq!(stats.workers, 1);
    let seen = inbox.show("job.completed:in_hand").await.unwrap().unwrap().worker_seen();
    // To the second, and by the clock of the store.
    assert!(seen.unwrap() + Duration::from_secs(2) > begun, "{seen:?} {begun:?}");

    for (state, job) in
        [(State::Scheduled, "later"), (State::Running, "in_hand"), (State::Dead, "dead")]
    {
        let listed = all(&inbox, state, &Filter::new(), 10).await;
        let [entry] = &*listed else { panic!("{state}: {listed:?}") };
        let key = format!("job.completed:{job}");
        let shown = inbox.show(&key).await.unwrap().unwrap();
        for entry in [entry, &shown] {
            assert_eq!((entry.key(), entry.state(), entry.attempts()), (&*key, state, 1), "{job}");
            assert_eq!(entry.stored().unwrap().json(), body("job.completed", job).as_bytes());
            let accepted = entry.accepted_at();
            assert!(accepted + Duration::from_millis(1) > begun && accepted <= SystemTime::now());
        }
        let (since, hour) = (shown.since(), Duration::from_secs(3_600));
        let (from, to) = match state {
            // The backoff, and up to a quarter more.
            State::Scheduled => (begun + hour, SystemTime::now() + hour * 5 / 4),
            _ => (begun, SystemTime::now()),
        };
        // Some stores have whole seconds, and SQLite rounds up future times.
        let second = Duration::from_secs(1);
        assert!(since + second > from && since <= to + second, "{job}: {since:?} {from:?}");
        let errors: Vec<_> =
            shown.errors().iter().map(|error| (error.attempt(), error.text())).collect();
        match job {
            "dead" => assert_eq!(errors, [(1, "it will never work")]),
            "later" => assert_eq!(errors, [(1, "not yet")]),
            _ => assert_eq!(errors, []),
        }
        assert!(shown.errors().iter().all(|error| error.at() >= begun - second));
    }
    assert_eq!(inbox.show("job.completed:dead").await.unwrap().unwrap().worker_seen(), None);
    assert_eq!(all(&inbox, State::Done, &Filter::new(), 2).await.len(), 5);
    assert!(inbox.show("job.completed:of_another_inbox").await.unwrap().is_none());
    gate.open();
    worker.stop().await;
    assert_eq!(inbox.stats().await.unwrap().workers, 0);
}

async fn what_is_due_has_an_age(store: Store) {
    let inbox = store.open().await;
    assert_eq!(inbox.stats().await.unwrap(), Stats::default());
    inbox.ping().await.unwrap();
    accept(&inbox, "job.completed", "first").await;
    sleep(Duration::from_millis(2_100)).await;
    accept(&inbox, "job.completed", "second").await;
    let stats = inbox.stats().await.unwrap();
    assert_eq!(stats.ready, 2);
    let (least, most) = (Duration::from_millis(2_000), PATIENCE);
    assert!((least..most).contains(&stats.oldest_ready), "{:?}", stats.oldest_ready);
    let due = all(&inbox, State::Ready, &Filter::new(), 1).await;
    let keys: Vec<_> = due.iter().map(Entry::key).collect();
    assert_eq!(keys, ["job.completed:first", "job.completed:second"]);
    assert_eq!(inbox.show("job.completed:first").await.unwrap().unwrap().state(), State::Ready);
}

/// Pages stay complete even if dead letters disappear and return meanwhile.
async fn many_dead_letters_are_paged_through_once_each(store: Store) {
    let letters: usize = env::var("NUMBER7_LETTERS").map_or(1_000, |all| all.parse().unwrap());
    let inbox = store.open().await;
    for number in 0..letters {
        let event = if number % 10 == 0 { "job.failed" } else { "job.completed" };
        accept(&inbox, event, &format!("job_{number}")).await;
    }
    let broken = || inbox.worker(async |_: AcceptedEvent| Err::<(), _>("broken")).attempts(1);
    broken().run_until(store.settled(PATIENCE * 10)).await;
    assert_eq!(inbox.stats().await.unwrap().dead, letters as u64);

    let (mut seen, mut cursor, mut page) = (Vec::new(), None, 0);
    loop {
        let found = inbox.list(State::Dead, &Filter::new(), cursor.as_ref(), 70).await.unwrap();
        seen.extend(found.entries.iter().map(|entry| entry.key().to_owned()));
        // A dead letter that was seen disappears.
        if page < 3 {
            // Not one that is looked for below.
            let goes = |key: &&String| key.starts_with("job.completed") && !key.ends_with("job_7");
            let key = seen[page * 70..].iter().rfind(goes).unwrap();
            assert_eq!(inbox.requeue(key).await.unwrap().events, 1);
        }
        (page, cursor) = (page + 1, found.next);
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!((seen.len(), seen.iter().collect::<HashSet<_>>().len()), (letters, letters));

    let failed = Filter::new().event("job.failed");
    assert_eq!(all(&inbox, State::Dead, &failed, 30).await.len(), letters / 10);
    let one = Filter::new().event("job.failed").job("job_500");
    assert_eq!(all(&inbox, State::Dead, &one, 30).await.len(), 1);
    assert_eq!(all(&inbox, State::Dead, &Filter::new().job("job_7"), 30).await.len(), 1);
    assert_eq!(all(&inbox, State::Dead, &Filter::new().job("job_"), 30).await.len(), 0);

    let Stats { dead, ready, .. } = inbox.stats().await.unwrap();
    assert_eq!((dead, ready), (letters as u64 - 3, 3));
    let left = all(&inbox, State::Dead, &failed, 30).await.len() as u64;
    assert_eq!(inbox.requeue(&failed).await.unwrap().events, left);
    assert_eq!(inbox.requeue(&failed).await.unwrap().events, 0);
    // An event that dies again during a requeue of all is not requeued again and again.
    let worker = Running::start(broken());
    assert!(inbox.requeue(Filter::new()).await.unwrap().events >= dead - left);
    store.settled(PATIENCE * 10).await;
    worker.stop().await;
    assert_eq!(inbox.stats().await.unwrap().dead, letters as u64);
    let entry = inbox.show("job.failed:job_500").await.unwrap().unwrap();
    let (attempts, texts): (Vec<_>, Vec<_>) =
        entry.errors().iter().map(|error| (error.attempt(), error.text())).unzip();
    assert_eq!((&attempts[..3], &texts[2..3]), (&[1, 0, 1][..], &["broken"][..]), "{texts:?}");
    assert!(texts[1].starts_with("requeued"), "{texts:?}");
}

async fn only_the_last_page_has_no_next(store: Store) {
    let inbox = store.open().await;
    for number in 0..4 {
        accept(&inbox, "job.completed", &format!("job_{number}")).await;
    }
    for filter in [Filter::new(), Filter::new().event("job.completed")] {
        let first = inbox.list(State::Ready, &filter, None, 2).await.unwrap();
        let last = inbox.list(State::Ready, &filter, first.next.as_ref(), 2).await.unwrap();
        assert_eq!((first.entries.len(), last.entries.len(), last.next), (2, 2, None));
    }
}

/// A caller gets an answer soon, whatever the filter selects, and a list that begins late begins at once.
async fn a_page_goes_through_a_limited_number_of_events(store: Store) {
    const DONE: usize = 12_000;
    let inbox = store.open().await;
    let work = async |events: usize| {
        let done = async || inbox.stats().await.unwrap().done >= events as u64;
        Handled::default().worker(&inbox).run_until(until(done)).await;
    };
    if let Store::Memory(_) = store {
        for number in 0..DONE {
            accept(&inbox, "job.completed", &format!("job_{number}")).await;
        }
        work(DONE).await;
    } else {
        fill(&store, DONE as u32).await;
    }
    // Some stores have whole seconds.
    sleep(Duration::from_secs(2)).await;
    let from = inbox.now().await.unwrap();
    accept(&inbox, "job.failed", "rare").await;
    work(DONE + 1).await;

    let rare = Filter::new().event("job.failed");
    let page = inbox.list(State::Done, &rare, None, 5).await.unwrap();
    assert_eq!(page.entries.len(), 0, "it went through all events for this page");
    let page = inbox.list(State::Done, &rare, page.next.as_ref(), 5).await.unwrap();
    assert_eq!((page.entries.len(), page.next), (1, None));
    // Only matching events count for the limit of the page.
    let common = Filter::new().event("job.completed");
    let page = inbox.list(State::Done, &common, None, 11_000).await.unwrap();
    assert_eq!((page.entries.len(), page.next.is_some()), (11_000, true));
    assert_eq!(all(&inbox, State::Done, &common, 7_000).await.len(), DONE);
    assert_eq!(all(&inbox, State::Done, &Filter::new(), 7_000).await.len(), DONE + 1);

    let late = |time| Filter::new().since_after(time);
    let page = inbox.list(State::Done, &late(from), None, 5).await.unwrap();
    let keys: Vec<_> = page.entries.iter().map(Entry::key).collect();
    assert_eq!((&*keys, page.next), (&["job.failed:rare"][..], None));
    assert_eq!(inbox.rerun(late(from)).dry_run().await.unwrap().events, 1);
    let since = page.entries[0].since();
    assert_eq!(all(&inbox, State::Done, &late(since), 5).await.len(), 1, "it has this very time");
    let (first, last) = (SystemTime::UNIX_EPOCH, Duration::from_secs(1 << 40));
    for (time, events) in [
        (since + Duration::from_millis(1), 0),
        (first + last, 0),
        (first, DONE + 1),
        (first - last, DONE + 1),
    ] {
        assert_eq!(all(&inbox, State::Done, &late(time), 7_000).await.len(), events, "{time:?}");
    }
}

/// An event that has become ready is not listed as scheduled, even if the list begins before that.
async fn a_list_that_begins_early_has_only_events_of_its_state(store: Store) {
    let (inbox, worker, gate) = one_in_each_state(&store).await;
    gate.open();
    worker.stop().await;
    let early = Filter::new().since_after(SystemTime::UNIX_EPOCH);
    accept(&inbox, "job.completed", "ready").await;
    for (state, key) in
        [(State::Ready, "ready"), (State::Scheduled, "later"), (State::Dead, "dead")]
    {
        let listed = all(&inbox, state, &early, 10).await;
        let keys: Vec<_> = listed.iter().map(Entry::key).collect();
        assert_eq!(keys, [format!("job.completed:{key}")], "{state}");
    }
}

/// Sets the time since when all done and dead events are so, in milliseconds since the epoch.
async fn date_back(store: &Store, millis: u64) {
    match store {
        Store::Sqlite(_) => {
            store.sql(&format!("UPDATE number7_events SET finished_at = {millis}")).await;
        }
        Store::Postgres(_) => {
            let set =
                format!("UPDATE number7.events SET finished_at = to_timestamp({millis} / 1000.0)");
            store.sql(&set).await;
        }
        Store::Redis(_) => {
            let set = format!(
                "for _, set in ipairs({{ key('done'), key('dead') }}) do
                    for _, event in ipairs(redis.call('ZRANGE', set, 0, -1)) do
                        redis.call('ZADD', set, {millis}, event)
                    end
                end
                return 0"
            );
            store.execute("", &set).await;
        }
        Store::Memory(_) => panic!("nothing but its inbox knows what is in it"),
    }
}

/// By the minutes of the clock, without the current minute.
async fn what_was_handled_is_counted_by_the_minute(store: Store) {
    const MINUTE: u64 = 60_000;
    let inbox = store.open().await;
    assert_eq!(inbox.handled_per_minute().await.unwrap(), [0; 15]);
    let now = async || {
        let now = inbox.now().await.unwrap().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        u64::try_from(now.as_millis()).unwrap()
    };
    let is_in_memory = matches!(store, Store::Memory(_));
    if is_in_memory {
        // Everything that follows is in one minute.
        inbox.advance(Duration::from_millis(MINUTE - now().await % MINUTE));
    }
    for job in ["a", "b", "dead"] {
        accept(&inbox, "job.completed", job).await;
    }
    let worker = inbox.worker(async |event: AcceptedEvent| match event.key() {
        "job.completed:dead" => Err(Failure::permanent("it will never work")),
        _ => Ok(()),
    });
    worker.run_until(store.settled(PATIENCE)).await;
    let expected =
        |ago: u64| -> Vec<u64> { (1..=15).rev().map(|it| 3 * u64::from(it == ago)).collect() };
    if is_in_memory {
        for ago in 0..=16 {
            assert_eq!(inbox.handled_per_minute().await.unwrap()[..], expected(ago), "{ago}");
            inbox.advance(Duration::from_millis(MINUTE));
        }
        return;
    }
    for ago in [0, 1, 2, 15, 16] {
        let (minute, mut counts) = (now().await / MINUTE, Vec::new());
        for millis in [0, MINUTE - 1] {
            date_back(&store, (minute - ago) * MINUTE + millis).await;
            counts.push(inbox.handled_per_minute().await.unwrap());
        }
        // Another minute may begin meanwhile.
        let passed = now().await / MINUTE - minute;
        for counts in counts {
            let is_right = |passed| counts[..] == expected(ago + passed);
            assert!((0..=passed).any(is_right), "{ago} minutes ago: {counts:?}");
        }
    }
}

/// The workers that `stats` counts, in every process, with what they run.
async fn workers_are_listed_with_what_they_run(store: Store) {
    let (inbox, gate) = (store.open().await, Gate::default());
    let other = inbox.named("other").unwrap();
    let begun = inbox.now().await.unwrap();
    assert_eq!(inbox.workers().await.unwrap(), []);
    let start = |concurrency| Running::start(gate.worker(&inbox).concurrency(concurrency));
    let running = async || {
        let workers = inbox.workers().await.unwrap();
        assert!(
            workers.windows(2).all(|pair| pair[0].last_heartbeat() >= pair[1].last_heartbeat())
        );
        let mut running: Vec<_> = workers.iter().map(|worker| worker.running().to_vec()).collect();
        assert!(workers.iter().all(|worker| worker.claimed() == worker.running().len() as u64));
        running.sort();
        running
    };
    let keys = |jobs: &[&str]| -> Vec<_> {
        jobs.iter().map(|job| format!("job.completed:{job}")).collect()
    };

    let first = start(2);
    until(async || inbox.stats().await.unwrap().workers == 1).await;
    for job in ["a", "b"] {
        accept(&inbox, "job.completed", job).await;
        until(async || inbox.stats().await.unwrap().ready == 0).await;
    }
    until(async || running().await == [keys(&["a", "b"])]).await;
    let second = start(1);
    until(async || inbox.stats().await.unwrap().workers == 2).await;
    accept(&inbox, "job.completed", "c").await;
    until(async || running().await == [keys(&["a", "b"]), keys(&["c"])]).await;
    assert_eq!(other.workers().await.unwrap(), []);
    for worker in inbox.workers().await.unwrap() {
        // Some stores have whole seconds or milliseconds.
        assert!(worker.last_heartbeat() + Duration::from_secs(1) > begun, "{worker:?} {begun:?}");
        let key = &worker.running()[0];
        let seen = inbox.show(key).await.unwrap().unwrap().worker_seen().unwrap();
        assert!(seen >= worker.last_heartbeat(), "{key}: {worker:?} {seen:?}");
    }

    second.crash().await;
    assert_eq!(running().await.len(), 2, "it may be live");
    until(async || inbox.stats().await.unwrap().workers == 1).await;
    assert_eq!(running().await.len(), 1);
    first.crash().await;
}

async fn at_most_a_hundred_events_of_a_worker_are_named(store: Store) {
    const EVENTS: usize = 130;
    let (inbox, gate) = (store.open().await, Gate::default());
    for number in 0..EVENTS {
        accept(&inbox, "job.completed", &format!("job_{number}")).await;
    }
    let worker = Running::start(gate.worker(&inbox).concurrency(EVENTS));
    until(async || inbox.stats().await.unwrap().running == EVENTS as u64).await;
    let workers = inbox.workers().await.unwrap();
    let [listed] = &*workers else { panic!("{workers:?}") };
    assert_eq!((listed.claimed(), listed.running().len()), (EVENTS as u64, 100));
    assert_eq!(listed.running().iter().collect::<HashSet<_>>().len(), 100);
    worker.crash().await;
}

/// Events that are due the whole time are listed, even if events that were listed before them return.
async fn what_comes_back_hides_nothing_of_a_list(store: Store) {
    let inbox = store.open().await;
    for number in 0..40 {
        accept(&inbox, "job.completed", &format!("job_{number}")).await;
    }
    let page = inbox.list(State::Ready, &Filter::new(), None, 2).await.unwrap();
    let begun = Arc::new(AtomicUsize::new(0));
    let attempts = Arc::clone(&begun);
    let worker = inbox.worker(move |_: AcceptedEvent| {
        let number = attempts.fetch_add(1, Ordering::SeqCst);
        async move {
            if number >= 2 {
                pending::<()>().await;
            }
            Err::<(), _>("not yet")
        }
    });
    let worker = worker.concurrency(2).backoff(Duration::ZERO, Duration::ZERO);
    let worker = Running::start(worker);
    until(async || begun.load(Ordering::SeqCst) == 4).await;
    worker.crash().await;
    let rest = inbox.list(State::Ready, &Filter::new(), page.next.as_ref(), 100).await.unwrap();
    // The ones before them may be claimed ahead.
    for job in ["job_38", "job_39"] {
        let key = format!("job.completed:{job}");
        assert!(rest.entries.iter().any(|entry| entry.key() == key), "{job}: {rest:?}");
    }
}

async fn a_cursor_that_is_none_is_refused(store: Store) {
    let inbox = store.open().await;
    accept(&inbox, "job.completed", "job_1").await;
    accept(&inbox, "job.completed", "job_2").await;
    let due = inbox.list(State::Ready, &Filter::new(), None, 1).await.unwrap().next.unwrap();
    let of_another_state = inbox.list(State::Scheduled, &Filter::new(), Some(&due), 1).await;
    assert_eq!(of_another_state.unwrap_err().kind(), InboxErrorKind::Invalid);
    for place in ["", "x", "0", "0.x", "active.1", "0.1.x.\0", "dead-letters"] {
        let text = format!("due:{place}");
        let cursor: Cursor = text.parse().unwrap();
        let listed = inbox.list(State::Ready, &Filter::new(), Some(&cursor), 10).await;
        // PostgreSQL accepts any text as the end of a place.
        if let Err(error) = listed {
            assert_eq!(error.kind(), InboxErrorKind::Invalid, "{text}");
        } else {
            assert!(place.starts_with("0.1."), "{text}");
        }
    }
}

async fn the_last_errors_are_kept(store: Store) {
    let inbox = store.open().await;
    accept(&inbox, "job.completed", "job_1").await;
    let worker = inbox.worker(async |event: AcceptedEvent| {
        Err::<(), _>(format!("the {} time: \"'\u{1F980}\\", event.attempt()))
    });
    let worker = worker.attempts(12).backoff(Duration::ZERO, Duration::ZERO);
    worker.run_until(store.settled(PATIENCE)).await;
    let entry = inbox.show("job.completed:job_1").await.unwrap().unwrap();
    assert_eq!(
        (entry.state(), entry.attempts(), entry.errors().len()),
        (State::Dead, 12, KEPT_ERRORS)
    );
    assert_eq!(entry.errors()[0].text(), "the 3 time: \"'\u{1F980}\\");
    assert_eq!(entry.error(), "the 12 time: \"'\u{1F980}\\");
    assert!(entry.errors().windows(2).all(|pair| pair[0].at() <= pair[1].at()));
}

/// Operators can see that the worker of an event has died, and later that it had died.
async fn a_worker_that_died_leaves_a_trace(store: Store) {
    let (inbox, worker, gate) = one_in_each_state(&store).await;
    assert_eq!(inbox.discard("job.completed:dead").await.unwrap().events, 1);
    worker.crash().await;
    let entry = inbox.show("job.completed:in_hand").await.unwrap().unwrap();
    let seen = entry.worker_seen().unwrap();
    sleep(Duration::from_secs(2)).await;
    let listed = all(&inbox, State::Running, &Filter::new(), 10).await;
    assert_eq!(listed[0].worker_seen(), Some(seen), "a dead worker is not heard of");

    let handled = Handled::default();
    let worker = Running::start(handled.worker(&inbox).lease(MIN_LEASE));
    until(async || inbox.stats().await.unwrap().done == 3).await;
    gate.open();
    worker.stop().await;
    assert_eq!(handled.events(), 1);
    for (job, attempts, errors) in [
        ("in_hand", 2, &[(1, "the lease of its worker expired")][..]),
        ("dead", 1, &[(1, "it will never work"), (0, "discarded: it was given up")]),
    ] {
        let entry = inbox.show(&format!("job.completed:{job}")).await.unwrap().unwrap();
        let found = entry.errors().iter().map(|error| (error.attempt(), error.text()));
        assert_eq!((entry.state(), entry.attempts()), (State::Done, attempts), "{job}");
        assert_eq!(found.collect::<Vec<_>>(), errors, "{job}");
        let age = entry.errors().iter().map(|error| error.at().elapsed().unwrap_or_default());
        assert!(age.max().unwrap() < PATIENCE * 2, "{job}");
    }
}

async fn dead_letters_are_forgotten_where_that_is_asked_for(store: Store) {
    let inbox = store.open().await;
    accept(&inbox, "job.completed", "job_1").await;
    let dead = || inbox.worker(async |_: AcceptedEvent| Err::<(), _>(Failure::permanent("dead")));
    let worker = dead().dead_letter_retention(Duration::from_secs(1));
    let worker = Running::start(worker);
    until(async || inbox.show("job.completed:job_1").await.unwrap().is_none()).await;
    worker.stop().await;
    assert_eq!(accept(&inbox, "job.completed", "job_1").await, Acceptance::New);
}

/// A handler was wrong but reported no error. It has been corrected.
async fn what_is_done_can_be_run_again(store: Store) {
    let (inbox, seen) = (store.open().await, Arc::new(Mutex::new(Vec::new())));
    for job in ["a", "b", "c"] {
        accept(&inbox, "job.completed", job).await;
    }
    accept(&inbox, "job.failed", "d").await;
    let work = async |events: u64| {
        let seen = Arc::clone(&seen);
        let worker = inbox.worker(move |event: AcceptedEvent| {
            let key = event.key().to_owned();
            seen.lock().unwrap().push((key, event.runs(), event.attempt()));
            async { Ok::<_, Failure>(()) }
        });
        let all = async || inbox.stats().await.unwrap().done == events;
        worker.run_until(until(all)).await;
    };
    work(4).await;
    seen.lock().unwrap().clear();

    let completed = Filter::new().event("job.completed");
    let planned = inbox.rerun(&completed).dry_run().await.unwrap();
    assert_eq!((planned.events, planned.first.len()), (3, 3));
    let hour = Duration::from_secs(3_600);
    let (past, future) = (SystemTime::now() - hour, SystemTime::now() + hour);
    let of_others = [
        completed.clone().since_before(past),
        completed.clone().since_after(future),
        completed.clone().accepted_before(past),
        completed.clone().accepted_after(future),
        completed.clone().error("never seen"),
        completed.clone().origin(Origin::Fetched),
        completed.clone().job("d"),
        Filter::from("job.completed:unknown"),
    ];
    for filter in of_others {
        assert_eq!(inbox.rerun(&filter).await.unwrap().events, 0, "{filter:?}");
        assert_eq!(inbox.list(State::Done, &filter, None, 9).await.unwrap().entries.len(), 0);
    }
    let within = completed.since_after(past).since_before(future).accepted_after(past);
    let within = within.accepted_before(future).origin(Origin::Signed);
    let first = inbox.rerun(&within).limit(2).await.unwrap();
    assert_eq!((first.events, first.forgotten, first.first.len()), (2, 0, 2));
    assert_eq!(inbox.rerun(within).await.unwrap().events, 1);
    assert_eq!(inbox.requeue("job.failed:d").await.unwrap().events, 0, "it is not dead");
    work(4).await;
    let mut handled = seen.lock().unwrap().clone();
    handled.sort();
    let expected = ["a", "b", "c"].map(|job| (format!("job.completed:{job}"), 2, 1));
    assert_eq!(handled, expected);
    let shown = inbox.show("job.completed:a").await.unwrap().unwrap();
    assert_eq!((shown.state(), shown.runs(), shown.attempts()), (State::Done, 2, 1));
    assert!(shown.error().starts_with("rerun: "), "{}", shown.error());
    assert_eq!(inbox.rerun(Filter::new().error("rerun: ")).dry_run().await.unwrap().events, 3);
    assert_eq!(accept(&inbox, "job.completed", "a").await, Acceptance::Duplicate);
}

/// More than are changed at once. Events that are done again meanwhile are not rerun twice.
async fn many_are_run_again_once_while_workers_go_on(store: Store) {
    const EVENTS: u32 = 1_100;
    let (inbox, handled) = (store.open().await, Handled::default());
    for job in 0..EVENTS {
        accept(&inbox, "job.completed", &format!("job_{job}")).await;
    }
    let worker = Running::start(handled.worker(&inbox));
    let done = async || inbox.stats().await.unwrap().done == u64::from(EVENTS);
    until(done).await;
    assert_eq!(inbox.rerun(Filter::new()).await.unwrap().events, u64::from(EVENTS));
    until(done).await;
    let all = (0..EVENTS).map(|job| handled.of(&format!("job.completed:job_{job}")));
    assert!(all.into_iter().all(|times| times == 2));
    let begun = Instant::now();
    let some = inbox.rerun(Filter::new()).limit(40).rate(20).await.unwrap();
    assert_eq!(some.events, 40);
    assert!(begun.elapsed() >= Duration::from_millis(1_900), "{:?}", begun.elapsed());
    until(done).await;
    worker.stop().await;
}

async fn an_event_whose_payload_is_forgotten_is_not_run_again(store: Store) {
    let (inbox, handled) = (store.open().await, Handled::default());
    accept(&inbox, "job.completed", "old").await;
    let worker = handled.worker(&inbox).payload_retention(Duration::from_secs(1));
    let is_forgotten = async || {
        let old = inbox.show("job.completed:old").await.unwrap().unwrap();
        old.state() == State::Done && old.stored().is_none()
    };
    worker.run_until(until(is_forgotten)).await;
    for which in [Filter::new(), Filter::from("job.completed:old")] {
        let rerun = inbox.rerun(which).await.unwrap();
        assert_eq!((rerun.events, rerun.forgotten), (0, 1));
    }
    assert_eq!(inbox.stats().await.unwrap().done, 1);
}

async fn what_is_scheduled_can_be_run_now_and_what_is_dead_given_up(store: Store) {
    let (inbox, hour) = (store.open().await, Duration::from_secs(3_600));
    for job in ["soon", "later"] {
        accept(&inbox, "job.completed", job).await;
    }
    let worker = inbox.worker(async |event: AcceptedEvent| match event.attempt() {
        1 => Err(format!("not yet: {}", event.key())),
        _ if event.key().ends_with("later") => Err("never".into()),
        _ => Ok(()),
    });
    let worker = Running::start(worker.backoff(hour, hour).attempts(2));
    until(async || inbox.stats().await.unwrap().scheduled == 2).await;
    let soon = Filter::new().error("not yet: job.completed:soon");
    assert_eq!(inbox.run_now(&soon).await.unwrap().events, 1);
    until(async || inbox.stats().await.unwrap().done == 1).await;
    assert_eq!(inbox.run_now(soon).await.unwrap().events, 0);
    assert_eq!(inbox.run_now("job.completed:later").await.unwrap().events, 1);
    until(async || inbox.stats().await.unwrap().dead == 1).await;
    worker.stop().await;
    let given_up = inbox.discard(Filter::new()).await.unwrap();
    assert_eq!((given_up.events, given_up.first[0].error()), (1, "never"));
    assert_eq!(inbox.stats().await.unwrap().done, 2);
}

/// In every process, until somebody ends it, or it ends by itself.
async fn a_pause_stops_all_workers_and_not_acceptance(store: Store) {
    let (inbox, gate, handled) = (store.open().await, Gate::default(), Handled::default());
    accept(&inbox, "job.completed", "running").await;
    let runs = Running::start(gate.worker(&inbox).concurrency(1));
    gate.begun().await;
    let others = [store.open().await, store.open().await];
    let workers = others.each_ref().map(|other| Running::start(handled.worker(other)));
    accept(&inbox, "job.completed", "before").await;
    until(async || handled.events() == 1).await;

    inbox.pause("ops", "the database moves", None).await.unwrap();
    for job in 0..20 {
        accept(&inbox, "job.completed", &format!("job_{job}")).await;
    }
    sleep(Duration::from_secs(3)).await;
    let stats = inbox.stats().await.unwrap();
    assert_eq!((stats.ready, stats.running, stats.is_paused), (20, 1, true));
    // Running attempts are finished.
    gate.open();
    until(async || inbox.stats().await.unwrap().done == 2).await;
    runs.stop().await;
    let paused = others[0].paused().await.unwrap().unwrap();
    assert_eq!((&*paused.by, &*paused.why, paused.until), ("ops", "the database moves", None));
    assert!(others[1].resume().await.unwrap());
    until(async || inbox.stats().await.unwrap().done == 22).await;
    assert!(!inbox.resume().await.unwrap());
    assert_eq!(
        (inbox.paused().await.unwrap(), inbox.stats().await.unwrap().is_paused),
        (None, false)
    );

    // A worker that starts later also sees the pause. It ends by itself.
    let begun = Instant::now();
    inbox.pause("", "", Some(Duration::from_secs(3))).await.unwrap();
    let late = Running::start(handled.worker(&inbox));
    accept(&inbox, "job.completed", "late").await;
    assert!(inbox.paused().await.unwrap().unwrap().until.is_some());
    until(async || inbox.stats().await.unwrap().done == 23).await;
    assert!(begun.elapsed() >= Duration::from_millis(2_900), "{:?}", begun.elapsed());
    assert!(!inbox.resume().await.unwrap(), "it is over");
    for worker in workers.into_iter().chain([late]) {
        worker.stop().await;
    }
    for (by, length) in [("a\0b", None), ("", Some(Duration::ZERO))] {
        let error = inbox.pause(by, "", length).await.unwrap_err();
        assert_eq!(error.kind(), InboxErrorKind::Invalid);
    }
}

/// For example at the first answer that says "not now". Its other attempts continue, and so do other workers.
async fn a_handler_can_pause_its_worker(store: Store) {
    const EVENTS: usize = 60;
    let (inbox, calls) = (store.open().await, Arc::new(AtomicUsize::new(0)));
    for job in 0..EVENTS {
        accept(&inbox, "job.completed", &format!("job_{job}")).await;
    }
    let (begun, counted) = (Arc::new(OnceLock::new()), Arc::clone(&calls));
    let first_call = Arc::clone(&begun);
    let worker = inbox.worker(move |_| {
        counted.fetch_add(1, Ordering::Relaxed);
        let begun = *first_call.get_or_init(Instant::now);
        async move {
            match begun.elapsed() < Duration::from_secs(1) {
                true => Err(Failure::pause_worker(Duration::from_secs(2), "too many requests")),
                false => Ok(()),
            }
        }
    });
    let all = async || inbox.stats().await.unwrap().done == EVENTS as u64;
    worker.concurrency(4).run_until(until(all)).await;
    let took = begun.get().unwrap().elapsed();
    assert!(took >= Duration::from_secs(2), "{took:?}");
    let refused = calls.load(Ordering::Relaxed) - EVENTS;
    assert!(refused <= 8, "the handler was called {refused} times in vain");
}

on_every_store!(
    and in memory:
    every_event_is_counted_listed_and_shown_where_it_stands,
    what_is_due_has_an_age,
    many_dead_letters_are_paged_through_once_each,
    only_the_last_page_has_no_next,
    what_was_handled_is_counted_by_the_minute,
    a_page_goes_through_a_limited_number_of_events,
    a_list_that_begins_early_has_only_events_of_its_state,
    workers_are_listed_with_what_they_run,
    at_most_a_hundred_events_of_a_worker_are_named,
    what_comes_back_hides_nothing_of_a_list,
    a_cursor_that_is_none_is_refused,
    the_last_errors_are_kept,
    a_worker_that_died_leaves_a_trace,
    dead_letters_are_forgotten_where_that_is_asked_for,
    a_handler_can_pause_its_worker,
    what_is_done_can_be_run_again,
    many_are_run_again_once_while_workers_go_on,
    an_event_whose_payload_is_forgotten_is_not_run_again,
    what_is_scheduled_can_be_run_now_and_what_is_dead_given_up;
    a_pause_stops_all_workers_and_not_acceptance,
);
