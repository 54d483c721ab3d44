//! Who signed an event, and what happens to another body for the same event, on every store.
#![allow(clippy::unwrap_used)]

use std::{
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use number7_core::{Acceptance, Delivery, Secret, Verifier};
use number7_inbox::{AcceptedEvent, BoxError, Event, Fetched, Filter, Inbox, JobId, Origin, State};
use number7_tests::{
    body, on_every_store,
    running::{Handled, Running, until},
    store::Store,
};

const KEY: &str = "job.completed:job_1";

fn secrets() -> [Secret; 2] {
    ["the secret of today", "the secret of yesterday"].map(|text| Secret::new(text).unwrap())
}

/// A body that was signed by the new or the old secret.
fn signed(by: &str, body: String) -> Delivery {
    let [new, old] = secrets();
    let signature = if by == "new" { new.sign(&body) } else { old.sign(&body) };
    let verifier = Verifier::named("new", new).also_accept("old", old);
    verifier.verify(signature.to_string(), body).unwrap()
}

/// The body after the vendor processed the job again.
fn again() -> String {
    body("job.completed", "job_1").replace("invoice", "grn")
}

async fn accept(inbox: &Inbox, by: &str, body: String) -> Acceptance {
    inbox.accept(&signed(by, body)).await.unwrap()
}

async fn keys(inbox: &Inbox, state: State, filter: Filter) -> Vec<String> {
    let page = inbox.list(state, &filter, None, 10).await.unwrap();
    page.entries.iter().map(|entry| entry.key().to_owned()).collect()
}

async fn what_signed_an_event_is_kept_with_it(store: Store) {
    let (inbox, begun) = (store.open().await, SystemTime::now());
    accept(&inbox, "old", body("job.completed", "job_1")).await;
    accept(&inbox, "new", body("job.failed", "job_2")).await;
    let seen = Arc::new(Mutex::new(Vec::new()));
    let saw = Arc::clone(&seen);
    let worker = inbox.worker(move |event: AcceptedEvent| {
        saw.lock().unwrap().push((event.key().to_owned(), event.signed_by().map(str::to_owned)));
        async { Ok::<_, BoxError>(()) }
    });
    worker.run_until(until(async || inbox.stats().await.unwrap().done == 2)).await;
    seen.lock().unwrap().sort();
    let names = [(KEY, "old"), ("job.failed:job_2", "new")];
    assert_eq!(*seen.lock().unwrap(), names.map(|(key, name)| (key.into(), Some(name.into()))));

    // The bytes can be verified again with the right secret, and only with it.
    let entry = inbox.show(KEY).await.unwrap().unwrap();
    let (signature, json) = (entry.signature().unwrap(), entry.stored().unwrap().json());
    let verifies =
        |secret| Verifier::new(secret).verify(signature.to_string(), json.to_vec()).is_ok();
    assert_eq!(secrets().map(verifies), [false, true]);
    assert!(entry.conflict().is_none());

    assert_eq!(keys(&inbox, State::Done, Filter::new().signed_by("old")).await, [KEY]);
    let used = inbox.secrets().await.unwrap();
    let [new, old] = &*used else { panic!("{used:?}") };
    assert_eq!([(&*new.name, new.bodies), (&*old.name, old.bodies)], [("new", 1), ("old", 1)]);
    assert!(old.first == old.last && old.last <= new.first);
    assert!(old.first + Duration::from_millis(1) > begun && new.last <= SystemTime::now());
}

async fn another_body_is_kept_and_not_handled(store: Store) {
    let (inbox, handled) = (store.open().await, Handled::default());
    let first = body("job.completed", "job_1");
    assert_eq!(accept(&inbox, "old", first.clone()).await, Acceptance::New);
    assert_eq!(accept(&inbox, "new", again()).await, Acceptance::Conflict);
    // The vendor tries again, with both bodies.
    assert_eq!(accept(&inbox, "old", first.clone()).await, Acceptance::Duplicate);
    assert_eq!(accept(&inbox, "new", first.clone()).await, Acceptance::Duplicate);
    assert_eq!(accept(&inbox, "new", again()).await, Acceptance::Conflict);
    let worker = Running::start(handled.worker(&inbox));
    until(async || handled.of(KEY) == 1).await;
    until(async || inbox.stats().await.unwrap().done == 1).await;
    // It is also a conflict if the event is done.
    assert_eq!(accept(&inbox, "new", again()).await, Acceptance::Conflict);
    worker.stop().await;

    for entry in [
        inbox.show(KEY).await.unwrap().unwrap(),
        inbox
            .list(State::Done, &Filter::new().conflict(), None, 1)
            .await
            .unwrap()
            .entries
            .remove(0),
    ] {
        assert_eq!(
            (entry.stored().unwrap().json(), entry.signed_by()),
            (first.as_bytes(), Some("old"))
        );
        let later = entry.conflict().unwrap();
        assert_eq!((later.stored().json(), later.signed_by()), (again().as_bytes(), "new"));
        assert_eq!(later.signature(), Some(&secrets()[0].sign(again())));
        assert!(later.accepted_at() >= entry.accepted_at());
    }
    assert_eq!(handled.events(), 1);
    // A leaked secret may have signed one of the bodies.
    for secret in ["old", "new"] {
        assert_eq!(keys(&inbox, State::Done, Filter::new().signed_by(secret)).await, [KEY]);
    }
    let used = inbox.secrets().await.unwrap();
    let used: Vec<_> = used.iter().map(|used| (&*used.name, used.bodies)).collect();
    assert_eq!(used, [("new", 1), ("old", 1)]);
}

async fn of_many_deliveries_at_once_each_is_what_it_is(store: Store) {
    let inbox = store.open().await;
    let bodies = (0..40).map(|n| if n % 2 == 0 { body("job.completed", "job_1") } else { again() });
    let accepts =
        bodies.map(|body| async { (body.contains("grn"), accept(&inbox, "new", body).await) });
    let accepted = futures_util::future::join_all(accepts).await;
    let count = |is_again, acceptance| {
        accepted.iter().filter(|stored| **stored == (is_again, acceptance)).count()
    };
    // One of the bodies was the first.
    let is_again = count(true, Acceptance::New) == 1;
    assert_eq!(count(is_again, Acceptance::New), 1);
    assert_eq!(count(is_again, Acceptance::Duplicate), 19);
    assert_eq!(count(!is_again, Acceptance::Conflict), 20);
}

async fn another_body_can_be_an_event_of_its_own(store: Store) {
    let (inbox, handled) = (store.open().await, Handled::default());
    accept(&inbox, "new", body("job.completed", "job_1")).await;
    let again = signed("new", again());
    for expected in [Acceptance::New, Acceptance::Duplicate] {
        assert_eq!(inbox.accept(&again).await.unwrap(), Acceptance::Conflict);
        assert_eq!(inbox.accept_apart(&again).await.unwrap(), expected);
    }
    handled.worker(&inbox).run_until(until(async || handled.events() == 2)).await;
}

async fn what_is_forgotten_is_compared_by_its_signature(store: Store) {
    let (inbox, handled) = (store.open().await, Handled::default());
    let first = body("job.completed", "job_1");
    accept(&inbox, "new", first.clone()).await;
    accept(&inbox, "new", again()).await;
    let worker = handled.worker(&inbox).payload_retention(Duration::from_secs(1));
    let is_forgotten = async || {
        let entry = inbox.show(KEY).await.unwrap().unwrap();
        entry.stored().is_none() && entry.conflict().is_none()
    };
    worker.run_until(until(is_forgotten)).await;
    assert_eq!(accept(&inbox, "new", first).await, Acceptance::Duplicate);
    assert_eq!(accept(&inbox, "new", again()).await, Acceptance::Conflict);
    // Nothing shows whether it is another body.
    assert_eq!(accept(&inbox, "old", again()).await, Acceptance::Duplicate);
    let entry = inbox.show(KEY).await.unwrap().unwrap();
    assert_eq!(entry.conflict().unwrap().stored().json(), again().as_bytes());

    // The whole event is forgotten.
    let worker = Running::start(handled.worker(&inbox).retention(Duration::from_secs(1)));
    until(async || inbox.show(KEY).await.unwrap().is_none()).await;
    worker.stop().await;
    assert_eq!(accept(&inbox, "old", again()).await, Acceptance::New);
    assert!(inbox.show(KEY).await.unwrap().unwrap().conflict().is_none());
}

async fn nobody_signed_what_was_fetched(store: Store) {
    let (inbox, handled) = (store.open().await, Handled::default());
    inbox.expect_job("job_1", Duration::ZERO).await.unwrap();
    let fetch = async |_: JobId| {
        // Like an event from a result: without the time of the webhook.
        let event = Event::from_json(again().replace("T10:00", "T11:00"))?;
        Ok::<_, BoxError>(Fetched::Finished(event))
    };
    let worker = Running::start(handled.worker(&inbox).reconcile(fetch));
    until(async || handled.of(KEY) == 1).await;
    worker.stop().await;
    // The webhook came late. It is expected to differ.
    assert_eq!(accept(&inbox, "new", body("job.completed", "job_1")).await, Acceptance::Duplicate);
    let entry = inbox.show(KEY).await.unwrap().unwrap();
    assert_eq!((entry.origin(), entry.signed_by()), (Origin::Fetched, None));
    assert!(entry.signature().is_none() && entry.conflict().is_none());
    assert_eq!(inbox.secrets().await.unwrap(), []);
}

on_every_store!(
    what_signed_an_event_is_kept_with_it,
    another_body_is_kept_and_not_handled,
    of_many_deliveries_at_once_each_is_what_it_is,
    another_body_can_be_an_event_of_its_own,
    what_is_forgotten_is_compared_by_its_signature,
    nobody_signed_what_was_fetched,
);
