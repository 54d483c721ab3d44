//! One inbox for several accounts, on every store: two accounts with the same job never meet.
#![allow(clippy::unwrap_used)]

use std::{
    future::pending,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use futures_util::future::join_all;
use number7_core::{Acceptance, Account, RetryHint};
use number7_inbox::{
    AcceptedEvent, BoxError, Event, Fetched, Filter, Inbox, InboxErrorKind, JobId, MIN_LEASE,
    Origin, State,
};
use number7_tests::{
    body, delivery_to, on_every_store,
    running::{Handled, PATIENCE, Running, accept, until},
    store::{Store, redis_script},
};
use tokio::time::{sleep, timeout};

fn account(name: &str) -> Account {
    Account::new(name).unwrap()
}

async fn accept_for(inbox: &Inbox, name: &str, job: &str) -> Acceptance {
    inbox.accept(&delivery_to(name, body("job.completed", job))).await.unwrap()
}

async fn listed(inbox: &Inbox, filter: Filter) -> Vec<String> {
    let page = inbox.list(State::Done, &filter, None, 10).await.unwrap();
    let mut keys: Vec<_> = page.entries.iter().map(|entry| entry.key().to_owned()).collect();
    keys.sort();
    keys
}

async fn each_account_has_its_own_event_of_a_job(store: Store) {
    let inbox = store.open().await;
    for expected in [Acceptance::New, Acceptance::Duplicate] {
        for name in ["acme", "globex"] {
            assert_eq!(accept_for(&inbox, name, "job_1").await, expected, "{name}");
        }
    }
    accept(&inbox, "job.completed", "job_1").await;
    // A conflict of one account does not affect the other.
    let again = body("job.completed", "job_1").replace("invoice", "grn");
    let again = delivery_to("acme", again);
    assert_eq!(inbox.accept(&again).await.unwrap(), Acceptance::Conflict);

    let seen = Arc::new(Mutex::new(Vec::new()));
    let saw = Arc::clone(&seen);
    let worker = inbox.worker(move |event: AcceptedEvent| {
        saw.lock().unwrap().push(event.account().map(|account| account.as_str().to_owned()));
        async { Ok::<_, BoxError>(()) }
    });
    worker.run_until(until(async || inbox.stats().await.unwrap().done == 3)).await;
    seen.lock().unwrap().sort();
    assert_eq!(*seen.lock().unwrap(), [None, Some("acme".into()), Some("globex".into())]);

    let [acme, globex] = ["acme/job.completed:job_1", "globex/job.completed:job_1"];
    assert_eq!(listed(&inbox, Filter::new().account("acme")).await, [acme]);
    assert_eq!(listed(&inbox, Filter::new().account("globex").job("job_1")).await, [globex]);
    assert_eq!(listed(&inbox, Filter::new().account("acme").conflict()).await, [acme]);
    assert_eq!(listed(&inbox, Filter::new().account("initech")).await, [""; 0]);
    let entry = inbox.show(acme).await.unwrap().unwrap();
    assert_eq!((entry.account(), entry.job_id()), (Some("acme"), Some("job_1")));
    assert_eq!(inbox.rerun(Filter::new().account("acme")).await.unwrap().events, 1);
    assert_eq!(inbox.stats().await.unwrap().ready, 1);
}

async fn a_job_of_one_account_is_not_settled_by_another(store: Store) {
    let inbox = store.open().await;
    for name in ["acme", "globex"] {
        inbox.account(&account(name)).expect_job("job_1", Duration::ZERO).await.unwrap();
    }
    inbox.expect_job("job_1", Duration::ZERO).await.unwrap();
    accept_for(&inbox, "globex", "job_1").await;
    let acme = inbox.account(&account("acme"));
    let upload = acme.expect_upload("a.pdf", Duration::ZERO).await.unwrap();
    let worker = Running::start(Handled::default().worker(&inbox));
    until(async || inbox.stats().await.unwrap().overdue == 3).await;
    let mut overdue: Vec<_> = inbox
        .overdue(None, 10)
        .await
        .unwrap()
        .entries
        .iter()
        .map(|job| {
            let id = job.job_id().map(|id| id.to_string());
            (job.account().map(ToString::to_string), id, job.upload().map(str::to_owned))
        })
        .collect();
    overdue.sort();
    let name = || Some("acme".to_owned());
    let expected = [
        (None, Some("job_1".to_owned()), None),
        (name(), None, Some("a.pdf".to_owned())),
        (name(), Some("job_1".to_owned()), None),
    ];
    assert_eq!(overdue, expected);

    upload.bind("job_2").await.unwrap();
    assert!(acme.cancel_expectation("job_2").await.unwrap());
    assert!(acme.cancel_expectation("job_1").await.unwrap());
    assert!(!inbox.account(&account("globex")).cancel_expectation("job_1").await.unwrap());
    // The name of an account's job in a store is not a name for a caller.
    acme.expect_job("job_3", Duration::ZERO).await.unwrap();
    for name in ["account:acme/job_3", "upload:a.pdf"] {
        let refused = inbox.cancel_expectation(name).await.unwrap_err();
        assert_eq!(refused.kind(), InboxErrorKind::Invalid, "{name}");
        assert!(acme.cancel_expectation(name).await.is_err(), "{name}");
    }
    assert!(!inbox.cancel_expectation("job_3").await.unwrap());
    assert!(acme.cancel_expectation("job_3").await.unwrap());
    let left = inbox.overdue(None, 10).await.unwrap().entries;
    assert_eq!(left.len(), 1, "{left:?}");
    worker.stop().await;
}

async fn the_vendor_is_asked_with_the_client_of_the_account(store: Store) {
    let inbox = store.open().await;
    for name in ["acme", "globex", "closed"] {
        inbox.account(&account(name)).expect_job("job_1", Duration::ZERO).await.unwrap();
    }
    inbox.expect_job("job_1", Duration::ZERO).await.unwrap();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let asks = Arc::clone(&asked);
    let client = move |account: Account| {
        let asks = Arc::clone(&asks);
        async move {
            let is_open = account.as_str() != "closed";
            let client = move |job: JobId| {
                asks.lock().unwrap().push(format!("{account} asks for {job}"));
                async move {
                    let json = body("job.completed", job.as_str());
                    Event::from_json(json).map(Fetched::Finished)
                }
            };
            Ok::<_, BoxError>(is_open.then_some(client))
        }
    };
    let handled = Handled::default();
    let (worker, second) = (handled.worker(&inbox), Duration::from_secs(1));
    let worker = worker.fetch_limits(4, 60_000).fetch_backoff(second, second);
    let worker = Running::start(worker.reconcile_accounts(client));
    until(async || inbox.stats().await.unwrap().done == 2).await;
    let mut asked = asked.lock().unwrap().clone();
    asked.sort();
    assert_eq!(asked, ["acme asks for job_1", "globex asks for job_1"]);
    for name in ["acme", "globex"] {
        let key = format!("{name}/job.completed:job_1");
        let entry = inbox.show(&key).await.unwrap().unwrap();
        assert_eq!((entry.origin(), entry.account()), (Origin::Fetched, Some(name)));
    }
    // The others have no client. They stay overdue, and an operator sees that nobody asks any more.
    let are_given_up = async || {
        let jobs = inbox.overdue(None, 10).await.unwrap().entries;
        jobs.len() == 2 && jobs.iter().all(|job| job.is_given_up() && job.fetches() == 10)
    };
    until(are_given_up).await;
    worker.stop().await;
}

/// A 429 for one of them.
async fn a_limit_of_one_account_slows_down_that_account_alone(store: Store) {
    let inbox = store.open().await;
    for job in 0..5 {
        for name in ["limited", "other"] {
            let job = format!("job_{job}");
            inbox.account(&account(name)).expect_job(job, Duration::ZERO).await.unwrap();
        }
    }
    let asked = Arc::new(Mutex::new(0));
    let asks = Arc::clone(&asked);
    let client = move |account: Account| {
        let asks = Arc::clone(&asks);
        let client = move |job: JobId| {
            let is_limited = account.as_str() == "limited";
            *asks.lock().unwrap() += u32::from(is_limited);
            async move {
                match is_limited {
                    true => Err(RetryHint::After(Duration::from_secs(60)).into()),
                    false => {
                        let json = body("job.completed", job.as_str());
                        Ok::<_, BoxError>(Fetched::Finished(Event::from_json(json)?))
                    }
                }
            }
        };
        async { Ok::<_, BoxError>(Some(client)) }
    };
    let handled = Handled::default();
    let second = Duration::from_secs(1);
    let worker = handled.worker(&inbox).fetch_limits(1, 60_000).fetch_backoff(second, second);
    let worker = Running::start(worker.reconcile_accounts(client));
    until(async || inbox.stats().await.unwrap().done == 5).await;
    // Its other jobs keep their turns.
    sleep(3 * second).await;
    let overdue = inbox.overdue(None, 10).await.unwrap().entries;
    assert_eq!((overdue.len(), overdue.iter().map(|job| job.fetches()).sum::<u32>()), (5, 1));
    assert_eq!(*asked.lock().unwrap(), 1, "its vendor is left alone for a minute");
    worker.stop().await;
}

/// In the order in which they became overdue, the others would come after all 50 jobs of the first account.
async fn many_overdue_jobs_of_an_account_do_not_hold_up_the_others(store: Store) {
    let inbox = store.open().await;
    for job in 0..50 {
        let job = format!("job_{job}");
        inbox.account(&account("busy")).expect_job(job, Duration::ZERO).await.unwrap();
    }
    for name in ["second", "third"] {
        inbox.account(&account(name)).expect_job("job_1", Duration::ZERO).await.unwrap();
    }
    let asked = Arc::new(Mutex::new(Vec::new()));
    let asks = Arc::clone(&asked);
    let client = move |account: Account| {
        let asks = Arc::clone(&asks);
        let client = move |_: JobId| {
            asks.lock().unwrap().push(account.to_string());
            async { Ok::<_, BoxError>(Fetched::StillRunning) }
        };
        async { Ok::<_, BoxError>(Some(client)) }
    };
    let hour = Duration::from_secs(3_600);
    let worker = Handled::default().worker(&inbox).fetch_limits(1, 60_000);
    let worker = Running::start(worker.fetch_backoff(hour, hour).reconcile_accounts(client));
    until(async || asked.lock().unwrap().len() == 52).await;
    let asked = asked.lock().unwrap().clone();
    for name in ["second", "third"] {
        let place = asked.iter().position(|asked| asked == name).unwrap();
        assert!(place < 10, "{name} was asked for as number {place}");
    }
    worker.stop().await;
}

/// In the order of acceptance, the others would come after all 600 events of the first account.
async fn a_busy_account_does_not_hold_up_the_others(store: Store) {
    let inbox = store.open().await;
    let accept_all = async |name: &str, many: usize| {
        let jobs = (0..many).map(|job| format!("job_{job}"));
        let jobs: Vec<_> = jobs.collect();
        join_all(jobs.iter().map(|job| accept_for(&inbox, name, job))).await;
    };
    accept_all("busy", 600).await;
    accept_all("second", 300).await;
    for name in ["a", "b", "c-d", "c.d", "c"] {
        accept_all(name, 4).await;
    }
    accept(&inbox, "job.completed", "job_1").await;
    let seen = Arc::new(Mutex::new(Vec::new()));
    let saw = Arc::clone(&seen);
    let worker = inbox.worker(move |event: AcceptedEvent| {
        let account = event.account();
        saw.lock().unwrap().push(account.map_or("none".into(), |account| account.to_string()));
        async { Ok::<_, BoxError>(()) }
    });
    let worker = worker.concurrency(4);
    worker.run_until(until(async || inbox.stats().await.unwrap().done == 921)).await;
    let seen = seen.lock().unwrap().clone();
    let last_of_others =
        seen.iter().rposition(|name| !["busy", "second", "none"].contains(&&**name));
    assert!(last_of_others.unwrap() < 300, "{last_of_others:?}");
    let of_second = seen[..600].iter().filter(|name| *name == "second").count();
    assert!(of_second > 100, "{of_second}");
    none_waits(&store).await;
}

/// Redis also keeps the ready events by account.
async fn none_waits(store: &Store) {
    if let Store::Redis(url) = store {
        let count = "return redis.call('ZCARD', key('ready_of_account'))";
        assert_eq!(redis_script::<i64>(url, count).await, 0);
    }
}

/// Even if it has many events, and they are older than all others.
async fn a_paused_account_waits_and_no_other_does(store: Store) {
    let (inbox, handled) = (store.open().await, Handled::default());
    let (acme, globex) = (inbox.account(&account("acme")), inbox.account(&account("globex")));
    let jobs: Vec<_> = (0..2_600).map(|job| format!("job_{job}")).collect();
    join_all(jobs.iter().map(|job| accept_for(&inbox, "acme", job))).await;
    accept_for(&inbox, "globex", "job_1").await;
    accept(&inbox, "job.completed", "job_1").await;
    acme.pause("ops", "their database moves", None).await.unwrap();
    inbox.account(&account("initech")).pause("", "", None).await.unwrap();
    let others = store.open().await;
    let workers = [&inbox, &others].map(|inbox| Running::start(handled.worker(inbox)));
    until(async || inbox.stats().await.unwrap().done == 2).await;
    // New events, of the account and of others.
    accept_for(&inbox, "acme", "later").await;
    accept_for(&inbox, "globex", "job_2").await;
    accept(&inbox, "job.completed", "job_2").await;
    until(async || inbox.stats().await.unwrap().done == 4).await;
    assert_eq!(globex.stats().await.unwrap().done, 2);
    sleep(Duration::from_secs(1)).await;

    let stats = acme.stats().await.unwrap();
    assert_eq!((stats.ready, stats.done, stats.is_paused), (2_601, 0, true));
    assert!(stats.oldest_ready >= Duration::from_secs(1));
    let stats = inbox.stats().await.unwrap();
    assert_eq!((stats.ready, stats.is_paused, stats.paused_accounts), (2_601, false, 2));
    assert_eq!(inbox.paused().await.unwrap(), None);
    let pauses = inbox.pauses().await.unwrap();
    let names = pauses.iter().map(|paused| paused.account.as_ref().unwrap().as_str());
    assert_eq!(names.collect::<Vec<_>>(), ["acme", "initech"]);
    let paused = acme.paused().await.unwrap().unwrap();
    assert_eq!((&*paused.by, &*paused.why, paused.until), ("ops", "their database moves", None));

    // A worker that stops when it is idle does not wait for the end of the pause.
    accept(&inbox, "job.completed", "job_3").await;
    let summary = timeout(PATIENCE, handled.worker(&inbox).run_until_idle()).await.unwrap();
    assert_eq!((summary.dead, handled.events()), (0, 5));

    assert!(acme.resume().await.unwrap());
    assert!(!acme.resume().await.unwrap());
    until(async || acme.stats().await.unwrap().done == 2_601).await;
    assert_eq!(handled.events(), 2_606);

    // The pause ends by itself. A pause of the inbox is separate.
    acme.pause("", "", Some(Duration::from_secs(2))).await.unwrap();
    assert!(!inbox.resume().await.unwrap());
    accept_for(&inbox, "acme", "last").await;
    until(async || acme.stats().await.unwrap().done == 2_602).await;
    assert_eq!(acme.paused().await.unwrap(), None);
    for worker in workers {
        worker.stop().await;
    }
    none_waits(&store).await;
}

/// Their worker has died.
async fn quarantined_events_of_a_paused_account_hold_up_no_other(store: Store) {
    let (inbox, begun) = (store.open().await, Arc::new(AtomicU32::new(0)));
    let jobs: Vec<_> = (0..600).map(|job| format!("job_{job}")).collect();
    join_all(jobs.iter().map(|job| accept_for(&inbox, "acme", job))).await;
    accept(&inbox, "job.completed", "job_1").await;
    let begins = Arc::clone(&begun);
    let dies = inbox.worker(move |_| {
        begins.fetch_add(1, Ordering::Relaxed);
        pending::<Result<(), BoxError>>()
    });
    let lease = MIN_LEASE;
    let dies = Running::start(dies.concurrency(601).attempts(2).lease(lease));
    until(async || begun.load(Ordering::Relaxed) == 601).await;
    dies.crash().await;
    inbox.account(&account("acme")).pause("", "", None).await.unwrap();
    let handled = Handled::default();
    let worker = Running::start(handled.worker(&inbox).attempts(2).lease(lease));
    until(async || handled.of("job.completed:job_1") == 1).await;
    let stats = inbox.stats().await.unwrap();
    assert_eq!((stats.quarantined, handled.events()), (600, 1));
    worker.stop().await;
}

on_every_store! {
    and in memory: a_busy_account_does_not_hold_up_the_others;
    a_paused_account_waits_and_no_other_does,
    quarantined_events_of_a_paused_account_hold_up_no_other,
    each_account_has_its_own_event_of_a_job,
    a_job_of_one_account_is_not_settled_by_another,
    the_vendor_is_asked_with_the_client_of_the_account,
    a_limit_of_one_account_slows_down_that_account_alone,
    many_overdue_jobs_of_an_account_do_not_hold_up_the_others,
}
