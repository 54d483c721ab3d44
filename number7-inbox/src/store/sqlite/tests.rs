use std::{path::PathBuf, slice};

use futures_util::future::join_all;
use sqlx::{AssertSqlSafe, raw_sql};
use tempfile::TempDir;

use super::{
    clock::tests::{DAY, Fake, HOUR, SECOND},
    *,
};
use crate::{
    model::{
        claim::{Claim, Number},
        end::Outcome,
    },
    store::expectations::Expectations,
};

const LEASE: Duration = Duration::from_secs(20);
const WORKER: &str = "worker";

fn new_folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn path(folder: &TempDir) -> PathBuf {
    folder.path().join("inbox.db")
}

/// An inbox in the file of a folder.
async fn open(folder: &TempDir) -> Sqlite {
    Sqlite::open(&path(folder), &Options::default()).await.unwrap()
}

/// The same, with the clock of a test.
async fn at(folder: &TempDir, fake: &Fake) -> Sqlite {
    let connect = SqliteConnectOptions::new().filename(path(folder)).create_if_missing(true);
    Sqlite::open_by(connect, &Options::default(), true, fake.clock()).await.unwrap()
}

async fn insert(sqlite: &Sqlite, key: &str) -> Acceptance {
    sqlite.insert(NewEvent::new(key.into(), "{}".into(), None)).await.unwrap()
}

/// Runs a statement as somebody else would.
async fn execute(sqlite: &Sqlite, sql: &str) {
    query(AssertSqlSafe(sql.to_owned())).execute(&sqlite.file.writer()).await.unwrap();
}

/// Records ends, and claims at most `most` events.
async fn exchange(
    sqlite: &Sqlite,
    worker: &str,
    lease: Duration,
    ends: &[End],
    most: usize,
) -> Exchanged {
    let exchange = Exchange { worker, lease, ends, most, quarantined: true, ..Exchange::default() };
    sqlite.exchange(exchange).await.unwrap()
}

async fn claim(sqlite: &Sqlite, worker: &str, most: usize) -> Vec<Claim> {
    exchange(sqlite, worker, LEASE, &[], most).await.claims
}

fn end(claim: Claim, outcome: Outcome) -> End {
    End { event: claim.event, number: claim.number, outcome, history: None }
}

async fn state(sqlite: &Sqlite, key: &str) -> State {
    sqlite.show(key).await.unwrap().unwrap().state()
}

/// Not even if the same worker sends it, no matter what happened in between.
#[tokio::test]
async fn an_end_that_comes_late_is_not_taken_for_another_attempts() {
    let (folder, fake) = (new_folder(), Fake::new());
    let sqlite = at(&folder, &fake).await;
    insert(&sqlite, "key").await;
    sqlite.heartbeat(WORKER).await.unwrap();
    let claim = async || claim(&sqlite, WORKER, 1).await.pop().unwrap();
    let counts = async |end: &End| {
        let exchanged = exchange(&sqlite, WORKER, LEASE, slice::from_ref(end), 0).await;
        !exchanged.ended.is_empty()
    };
    let end = |claim: Claim, outcome| {
        let history = Some(claim.history.clone().with(claim.number.counted(), "a note".into()));
        End { history, ..end(claim, outcome) }
    };
    let entry = async || sqlite.show("key").await.unwrap().unwrap();

    let snoozed = end(claim().await, Outcome::Interrupted);
    for _ in 0..2 {
        assert!(counts(&snoozed).await, "it is recorded again if its answer was lost");
    }
    let second = claim().await;
    assert_eq!(second.number, Number { of_all: 2, uncounted: 1 });
    assert!(!counts(&snoozed).await);
    assert_eq!((entry().await.state(), entry().await.attempts()), (State::Running, 1));

    fake.pass(21 * SECOND);
    assert_eq!(sqlite.rescue(LEASE, u32::MAX).await.unwrap(), 1);
    sqlite.heartbeat(WORKER).await.unwrap();
    let exhausted = || Outcome::Exhausted { error: "enough".into() };
    let (second, third) = (end(second, exhausted()), end(claim().await, exhausted()));
    for _ in 0..2 {
        assert!(counts(&third).await, "it is recorded again if its answer was lost");
    }
    assert!(!counts(&second).await && !counts(&snoozed).await);
    // The last attempt may have been snoozed: that does not revive a dead letter.
    let revives = End { outcome: Outcome::Interrupted, ..second.clone() };
    assert!(!counts(&revives).await);
    assert_eq!((entry().await.state(), entry().await.attempts()), (State::Dead, 1));

    assert_eq!(sqlite.change(&["key".into()], Change::Requeue).await.unwrap(), 1);
    let count_late =
        async || counts(&third).await || counts(&second).await || counts(&snoozed).await;
    assert!(!count_late().await);
    let last = claim().await;
    assert_eq!(last.number.counted(), 1);
    assert!(!count_late().await);
    assert!(counts(&end(last, Outcome::Done)).await);
    assert_eq!((entry().await.state(), entry().await.attempts()), (State::Done, 1));
}

#[tokio::test]
async fn a_late_release_takes_back_no_attempt_that_was_begun() {
    let folder = new_folder();
    let sqlite = open(&folder).await;
    insert(&sqlite, "key").await;
    let claim = async || {
        sqlite.heartbeat(WORKER).await.unwrap();
        assert_eq!(claim(&sqlite, WORKER, 1).await.len(), 1);
        sqlite.heartbeat(WORKER).await.unwrap()
    };
    let attempts = async || sqlite.show("key").await.unwrap().unwrap().attempts();
    let held = claim().await;
    sqlite.release("another", &held).await.unwrap();
    assert_eq!(attempts().await, 1);
    sqlite.release(WORKER, &held).await.unwrap();
    assert_eq!((attempts().await, state(&sqlite, "key").await), (0, State::Ready));
    let again = claim().await;
    assert_ne!(held, again);
    sqlite.release(WORKER, &held).await.unwrap();
    assert_eq!(attempts().await, 1);
    assert_eq!(sqlite.heartbeat(WORKER).await.unwrap(), again);
}

/// An event is quarantined by its attempts that count, not by all.
#[tokio::test]
async fn a_rescue_is_of_workers_of_the_same_inbox() {
    let (folder, fake) = (new_folder(), Fake::new());
    let sqlite = at(&folder, &fake).await;
    let other = sqlite.of("other");
    insert(&other, "key").await;
    other.heartbeat(WORKER).await.unwrap();
    assert_eq!(claim(&other, WORKER, 1).await.len(), 1);
    execute(&sqlite, "UPDATE number7_events SET attempt = 6, uncounted = 5").await;
    fake.pass(21 * SECOND);
    assert_eq!(sqlite.rescue(LEASE, 2).await.unwrap(), 0);
    assert_eq!(other.rescue(LEASE, 2).await.unwrap(), 1);
    assert_eq!(state(&other, "key").await, State::Ready);
    other.heartbeat(WORKER).await.unwrap();
    assert_eq!(claim(&other, WORKER, 1).await.len(), 1);
    fake.pass(21 * SECOND);
    assert_eq!(other.rescue(LEASE, 2).await.unwrap(), 1);
    assert_eq!(state(&other, "key").await, State::Quarantined);
}

/// At most as many as wanted, and at most one of them is quarantined.
#[tokio::test]
async fn a_quarantined_event_is_claimed_first_and_within_the_limit() {
    let folder = new_folder();
    let sqlite = open(&folder).await;
    for key in ["a", "b", "c", "d", "e"] {
        insert(&sqlite, key).await;
    }
    execute(&sqlite, "UPDATE number7_events SET state = 'quarantined' WHERE key IN ('d', 'e')")
        .await;
    sqlite.heartbeat(WORKER).await.unwrap();
    let claimed = async |most, quarantined| {
        let exchange =
            Exchange { worker: WORKER, lease: LEASE, most, quarantined, ..Exchange::default() };
        let claims = sqlite.exchange(exchange).await.unwrap().claims;
        claims.iter().map(|claim| claim.is_quarantined).collect::<Vec<_>>()
    };
    assert!(claimed(0, true).await.is_empty());
    assert_eq!(claimed(1, false).await, [false]);
    assert_eq!(claimed(1, true).await, [true]);
    assert_eq!(claimed(2, true).await, [true, false]);
}

#[tokio::test]
async fn only_a_worker_whose_lease_is_live_claims() {
    let (folder, fake) = (new_folder(), Fake::new());
    let sqlite = at(&folder, &fake).await;
    for key in ["a", "b", "c"] {
        insert(&sqlite, key).await;
    }
    let nobody = exchange(&sqlite, WORKER, LEASE, &[], 1).await;
    assert!(nobody.is_lapsed && nobody.claims.is_empty(), "it is not registered");
    sqlite.heartbeat(WORKER).await.unwrap();
    fake.pass(20 * SECOND);
    let live = exchange(&sqlite, WORKER, LEASE, &[], 1).await;
    assert!(!live.is_lapsed && live.claims.len() == 1);
    fake.pass(1);
    let ends: Vec<_> = live.claims.into_iter().map(|claim| end(claim, Outcome::Done)).collect();
    let lapsed = exchange(&sqlite, WORKER, LEASE, &ends, 1).await;
    assert!(lapsed.is_lapsed && lapsed.claims.is_empty());
    assert_eq!(lapsed.ended.len(), 1, "an end is recorded all the same");
    assert!(!exchange(&sqlite, WORKER, LEASE, &ends, 0).await.is_lapsed, "it has not asked");
    // A worker of another inbox does not count here.
    sqlite.of("other").heartbeat("other").await.unwrap();
    assert!(exchange(&sqlite, "other", LEASE, &[], 1).await.is_lapsed);
    sqlite.heartbeat(WORKER).await.unwrap();
    assert_eq!(claim(&sqlite, WORKER, 9).await.len(), 2);
}

/// To the millisecond: not at this time, but right after it.
#[tokio::test]
async fn a_claim_is_rescued_when_a_lease_is_over_and_not_before() {
    let (folder, fake) = (new_folder(), Fake::new());
    let sqlite = at(&folder, &fake).await;
    for key in ["a", "b"] {
        insert(&sqlite, key).await;
    }
    sqlite.heartbeat(WORKER).await.unwrap();
    // A claim and its worker have their own ages, and both must be old.
    fake.pass(5 * SECOND);
    assert_eq!(claim(&sqlite, WORKER, 1).await.len(), 1);
    fake.pass(20 * SECOND);
    assert_eq!(sqlite.rescue(LEASE, 9).await.unwrap(), 0);
    sqlite.heartbeat(WORKER).await.unwrap();
    fake.pass(20 * SECOND);
    assert_eq!(sqlite.rescue(LEASE, 9).await.unwrap(), 0);
    fake.pass(1);
    assert_eq!(sqlite.rescue(LEASE, 9).await.unwrap(), 1);
}

#[tokio::test]
async fn an_event_is_ready_when_it_is_due_and_not_before() {
    let (folder, fake) = (new_folder(), Fake::new());
    let sqlite = at(&folder, &fake).await;
    insert(&sqlite, "a").await;
    sqlite.heartbeat(WORKER).await.unwrap();
    let first = claim(&sqlite, WORKER, 1).await.pop().unwrap();
    // A fraction of a millisecond makes it later, never earlier.
    let after = Duration::from_secs(10) - Duration::from_nanos(1);
    let retry = end(first, Outcome::Retry { after, error: "not yet".into() });
    exchange(&sqlite, WORKER, LEASE, &[retry], 0).await;
    fake.pass(10 * SECOND - 1);
    assert_eq!(state(&sqlite, "a").await, State::Scheduled);
    assert_eq!(claim(&sqlite, WORKER, 1).await.len(), 0);
    fake.pass(1);
    assert_eq!(state(&sqlite, "a").await, State::Ready);
    assert_eq!(claim(&sqlite, WORKER, 1).await.len(), 1);
}

/// The same is true of a dead letter, if dead letters have a retention.
#[tokio::test]
async fn an_event_is_forgotten_after_its_retention_and_not_before() {
    const RETENTION: Duration = Duration::from_secs(1_800);
    let (folder, fake) = (new_folder(), Fake::new());
    let sqlite = at(&folder, &fake).await;
    for key in ["a", "b"] {
        insert(&sqlite, key).await;
    }
    sqlite.heartbeat(WORKER).await.unwrap();
    let mut claims = claim(&sqlite, WORKER, 2).await;
    // It counts from the end of an attempt.
    fake.pass(10 * SECOND);
    let dead = end(claims.pop().unwrap(), Outcome::Dead { error: "never".into() });
    let done = end(claims.pop().unwrap(), Outcome::Done);
    exchange(&sqlite, WORKER, LEASE, &[dead, done], 0).await;
    let dead_retention = RETENTION + Duration::from_secs(10);
    fake.pass(1_800 * SECOND);
    assert_eq!(sqlite.sweep(RETENTION, Some(dead_retention)).await.unwrap(), 0);
    fake.pass(1);
    assert_eq!(sqlite.sweep(RETENTION, Some(dead_retention)).await.unwrap(), 1);
    assert_eq!(insert(&sqlite, "a").await, Acceptance::New);
    fake.pass(10 * SECOND - 1);
    assert_eq!(sqlite.sweep(RETENTION, Some(dead_retention)).await.unwrap(), 0);
    fake.pass(1);
    assert_eq!(sqlite.sweep(RETENTION, None).await.unwrap(), 0);
    assert_eq!(insert(&sqlite, "b").await, Acceptance::Duplicate);
    assert_eq!(sqlite.sweep(RETENTION, Some(dead_retention)).await.unwrap(), 1);
    assert_eq!(insert(&sqlite, "b").await, Acceptance::New);
}

#[tokio::test]
async fn an_expected_job_is_overdue_when_it_is_due_and_not_before() {
    let (folder, fake) = (new_folder(), Fake::new());
    let sqlite = at(&folder, &fake).await;
    let job = crate::model::expectation::ExpectedJob::new(None, &"job_1".into()).unwrap();
    sqlite.expect_job(job, Duration::from_secs(90)).await.unwrap();
    fake.pass(90 * SECOND - 1);
    assert!(sqlite.look_up().await.unwrap().newly_overdue.is_empty());
    fake.pass(1);
    assert_eq!(sqlite.look_up().await.unwrap().newly_overdue, ["job_1"]);
}

/// A new event never gets the id of a forgotten one, so a late end cannot end it.
#[tokio::test]
async fn no_id_comes_twice() {
    let folder = new_folder();
    let sqlite = open(&folder).await;
    insert(&sqlite, "a").await;
    sqlite.heartbeat(WORKER).await.unwrap();
    let first = claim(&sqlite, WORKER, 1).await.pop().unwrap();
    execute(&sqlite, "DELETE FROM number7_events").await;
    insert(&sqlite, "a").await;
    assert_ne!(claim(&sqlite, WORKER, 1).await.pop().unwrap().event, first.event);
}

/// The row of its worker may have been deleted. Then only the claim says when its lease ends.
#[tokio::test]
async fn a_claim_is_rescued_by_its_own_data() {
    let (folder, fake) = (new_folder(), Fake::new());
    let sqlite = at(&folder, &fake).await;
    for (key, worker) in [("a", WORKER), ("b", "live")] {
        insert(&sqlite, key).await;
        sqlite.heartbeat(worker).await.unwrap();
        assert_eq!(claim(&sqlite, worker, 1).await.len(), 1);
    }
    execute(&sqlite, "DELETE FROM number7_workers WHERE name <> 'live'").await;
    fake.pass(20 * SECOND);
    sqlite.heartbeat("live").await.unwrap();
    assert_eq!(sqlite.rescue(LEASE, 9).await.unwrap(), 0, "it may have been claimed just now");
    fake.pass(SECOND);
    assert_eq!(sqlite.rescue(LEASE, 9).await.unwrap(), 1);
    assert_eq!(
        (state(&sqlite, "a").await, state(&sqlite, "b").await),
        (State::Ready, State::Running)
    );
}

#[tokio::test]
async fn a_clock_that_is_set_back_stops_no_work() {
    let (folder, fake) = (new_folder(), Fake::new());
    let sqlite = at(&folder, &fake).await;
    for key in ["ready", "scheduled", "running"] {
        insert(&sqlite, key).await;
    }
    let worker = async |sqlite: &Sqlite, name, most| {
        sqlite.heartbeat(name).await.unwrap();
        claim(sqlite, name, most).await
    };
    // One event is claimed, another waits for a minute.
    let mut claims = worker(&sqlite, WORKER, 2).await;
    let after = Duration::from_secs(60);
    let rests = end(claims.pop().unwrap(), Outcome::Snoozed { after, pauses_worker: false });
    exchange(&sqlite, WORKER, LEASE, &[rests], 0).await;

    fake.set(-HOUR);
    insert(&sqlite, "new").await;
    // In a process that continues, and in one that starts now.
    for (sqlite, name) in [(&sqlite, "a"), (&at(&folder, &fake).await, "b")] {
        assert_eq!(worker(sqlite, name, 1).await.len(), 1, "{name}: what was ready is ready");
        assert_eq!(worker(sqlite, name, 0).await.len(), 0);
    }
    let started = at(&folder, &fake).await;
    assert_eq!(started.stats().await.unwrap().ready, 0);
    // The waiting event is ready, and the events of a dead worker are free, at half the speed. Each start has moved the time by
    // ten seconds, because the file does not have the latest time.
    fake.pass(70 * SECOND);
    assert_eq!(started.stats().await.unwrap().ready, 0);
    fake.pass(20 * SECOND);
    assert_eq!(started.stats().await.unwrap().ready, 1);
    started.heartbeat("c").await.unwrap();
    assert_eq!(started.rescue(LEASE, 9).await.unwrap(), 3);
    assert_eq!(worker(&started, "c", 9).await.len(), 4);
}

/// The time of the file leaps, and what live workers wrote just before that seems old.
#[tokio::test]
async fn a_clock_that_leaps_takes_nothing_from_a_live_worker() {
    let (folder, fake) = (new_folder(), Fake::new());
    let (a, b) = (at(&folder, &fake).await, at(&folder, &fake).await);
    for key in ["a", "b", "dead"] {
        insert(&a, key).await;
    }
    let live = [(&a, "worker-a"), (&b, "worker-b")];
    for (sqlite, name) in [live[0], live[1], (&a, "worker-dead")] {
        sqlite.heartbeat(name).await.unwrap();
        assert_eq!(claim(sqlite, name, 1).await.len(), 1);
    }
    // The clock of a third process is ahead for a moment. Then the first two read its time.
    let ahead = Fake::new();
    ahead.set(8 * DAY);
    at(&folder, &ahead).await.heartbeat("worker-c").await.unwrap();
    let goes_on = async |seconds: u64| {
        let mut rescued = 0;
        for second in 0..seconds {
            fake.pass(SECOND);
            if second % 5 == 4 {
                for (sqlite, name) in live {
                    rescued += sqlite.rescue(LEASE, 9).await.unwrap();
                    assert_eq!(sqlite.heartbeat(name).await.unwrap().len(), 1, "{name}");
                }
            }
        }
        rescued
    };
    assert_eq!(goes_on(60).await, 1, "that of the dead one");
    // All clocks are set forward by an hour.
    fake.set(8 * DAY + HOUR);
    assert_eq!(goes_on(60).await, 0);
}

/// Its contents were written by that clock.
#[cfg(unix)]
#[tokio::test]
async fn a_file_that_is_restored_brings_its_time() {
    let (folder, backup, fake) = (new_folder(), new_folder(), Fake::new());
    let sqlite = at(&folder, &fake).await;
    insert(&sqlite, "a").await;
    let ahead = Fake::new();
    ahead.set(HOUR);
    let other = at(&backup, &ahead).await;
    insert(&other, "b").await;
    put_in_place(&other, &backup, &folder).await;
    assert_eq!(sqlite.stats().await.unwrap_err().kind(), InboxErrorKind::Unreachable);
    sqlite.show("b").await.unwrap().unwrap();
    assert_eq!(sqlite.stats().await.unwrap().ready, 1);
}

/// Restores a backup at a path.
#[cfg(unix)]
async fn put_in_place(of_backup: &Sqlite, backup: &TempDir, folder: &TempDir) {
    execute(of_backup, "PRAGMA wal_checkpoint(TRUNCATE)").await;
    let copy = backup.path().join("copy.db");
    std::fs::copy(path(backup), &copy).unwrap();
    std::fs::rename(copy, path(folder)).unwrap();
}

/// A new connection would apply the old `-wal` to it.
#[cfg(unix)]
#[tokio::test]
async fn who_waits_to_write_opens_no_file_that_was_put_there_meanwhile() {
    let (folder, backup, fake) = (new_folder(), new_folder(), Fake::new());
    let (sqlite, other) = (at(&folder, &fake).await, at(&backup, &fake).await);
    insert(&sqlite, "a").await;
    insert(&other, "b").await;
    let writing = sqlite.file.begin().await.unwrap();
    let mut waits = std::pin::pin!(sqlite.file.begin());
    assert!(futures_util::poll!(&mut waits).is_pending());
    put_in_place(&other, &backup, &folder).await;
    drop(writing);
    let Err(error) = waits.await else { panic!("it has begun") };
    assert_eq!(error.kind(), InboxErrorKind::Unreachable, "{error}");
    assert_eq!(insert(&sqlite, "a").await, Acceptance::New);
    assert_eq!(insert(&sqlite, "b").await, Acceptance::Duplicate);
}

#[tokio::test]
async fn readers_that_are_all_in_use_are_said_to_be() {
    let folder = new_folder();
    let sqlite = open(&folder).await;
    let _readers = [sqlite.file.reader().await.unwrap(), sqlite.file.reader().await.unwrap()];
    let error = sqlite.stats().await.unwrap_err();
    assert_eq!(error.kind(), InboxErrorKind::TooSlow);
    assert!(error.to_string().contains("connections that read"), "{error}");
}

/// More events than fit into one step.
#[tokio::test]
async fn all_that_a_dead_worker_held_is_rescued_at_once() {
    let (folder, fake) = (new_folder(), Fake::new());
    let sqlite = at(&folder, &fake).await;
    let events = (0..=STEP).map(async |number| insert(&sqlite, &number.to_string()).await);
    let events = join_all(events).await.len();
    sqlite.heartbeat(WORKER).await.unwrap();
    assert_eq!(claim(&sqlite, WORKER, events).await.len(), events);
    fake.pass(21 * SECOND);
    assert_eq!(sqlite.rescue(LEASE, 9).await.unwrap(), events as u64);
}

/// A health check may run every second, and it commits nothing.
#[tokio::test]
async fn the_file_knows_the_time_however_often_somebody_pings() {
    let (folder, fake) = (new_folder(), Fake::new());
    let sqlite = at(&folder, &fake).await;
    for _ in 0..100 {
        fake.pass(SECOND);
        sqlite.ping().await.unwrap();
        sqlite.heartbeat(WORKER).await.unwrap();
    }
    let latest = query_scalar("SELECT latest FROM number7_clock");
    let latest: i64 = latest.fetch_one(&sqlite.file.writer()).await.unwrap();
    assert!(fake.system() - latest < 10 * SECOND, "{}", fake.system() - latest);
}

#[tokio::test]
async fn a_start_by_a_clock_that_is_ahead_forgets_nothing_and_schedules_nothing() {
    let (folder, fake) = (new_folder(), Fake::new());
    let week = Duration::from_hours(7 * 24);
    let first = at(&folder, &fake).await;
    let handle = async |sqlite: &Sqlite, key, worker| {
        insert(sqlite, key).await;
        sqlite.heartbeat(worker).await.unwrap();
        let claim = claim(sqlite, worker, 1).await.pop().unwrap();
        exchange(sqlite, worker, LEASE, &[end(claim, Outcome::Done)], 0).await;
    };
    handle(&first, "done", WORKER).await;
    drop(first);

    fake.set(8 * DAY);
    let ahead = at(&folder, &fake).await;
    for _ in 0..3 {
        ahead.heartbeat(WORKER).await.unwrap();
        assert_eq!(ahead.sweep(week, Some(week)).await.unwrap(), 0);
        fake.pass(SECOND);
    }
    insert(&ahead, "ahead").await;
    drop(ahead);

    fake.set(-8 * DAY);
    let right = at(&folder, &fake).await;
    right.heartbeat(WORKER).await.unwrap();
    assert_eq!(right.sweep(week, Some(week)).await.unwrap(), 0);
    assert_eq!(insert(&right, "done").await, Acceptance::Duplicate);
    assert_eq!(claim(&right, WORKER, 9).await.len(), 1, "it is ready now");

    // Eight days count if processes run during them.
    for _ in 0..8 {
        fake.pass(DAY);
        right.heartbeat(WORKER).await.unwrap();
    }
    assert_eq!(right.sweep(week, Some(week)).await.unwrap(), 1);
    drop(right);

    // They also count if no process ran, once the clock has been steady for an hour.
    let holiday = at(&folder, &fake).await;
    handle(&holiday, "done", "another").await;
    drop(holiday);
    fake.set(30 * DAY);
    let back = at(&folder, &fake).await;
    assert_eq!(back.sweep(week, None).await.unwrap(), 0);
    fake.pass(HOUR);
    assert_eq!(back.sweep(week, None).await.unwrap(), 1);
}

/// What somebody writes by hand has the form that the statements need, or is refused.
#[tokio::test]
async fn one_damaged_event_stops_no_step() {
    let (folder, fake) = (new_folder(), Fake::new());
    let sqlite = at(&folder, &fake).await;
    for key in ["damaged", "sound"] {
        insert(&sqlite, key).await;
    }
    let file = sqlite.file.writer();
    for damage in [
        "errors = '{'",
        "errors = '{}'",
        "errors = NULL",
        "state = 'Done'",
        "due_at = 'now'",
        "attempt = 1.5",
        "id = 'x'",
    ] {
        let damage = format!("UPDATE number7_events SET {damage} WHERE key = 'damaged'");
        query(AssertSqlSafe(damage)).execute(&file).await.unwrap_err();
    }
    // This is a list, but the inbox cannot read it.
    let damage =
        "UPDATE number7_events SET errors = '[7, {}]', uncounted = 99 WHERE key = 'damaged'";
    for round in 0..2 {
        execute(&sqlite, damage).await;
        sqlite.heartbeat(WORKER).await.unwrap();
        assert_eq!(claim(&sqlite, WORKER, 9).await.len(), 2, "{round}");
        fake.pass(21 * SECOND);
        assert_eq!(sqlite.rescue(LEASE, 9).await.unwrap(), 2, "{round}");
    }
    execute(&sqlite, damage).await;
    sqlite.heartbeat(WORKER).await.unwrap();
    let dead = |claim: Claim| end(claim, Outcome::Dead { error: "an error".into() });
    let ends: Vec<_> = claim(&sqlite, WORKER, 9).await.into_iter().map(dead).collect();
    assert_eq!(exchange(&sqlite, WORKER, LEASE, &ends, 0).await.ended.len(), 2);
    assert_eq!(sqlite.list(State::Dead, None, 9).await.unwrap().0.len(), 2);
    assert_eq!(
        sqlite.change(&["damaged".into(), "sound".into()], Change::Requeue).await.unwrap(),
        2
    );
    execute(&sqlite, "UPDATE number7_events SET state = 'dead'").await;
    assert_eq!(sqlite.change(&["damaged".into()], Change::Discard).await.unwrap(), 1);
}

/// A commit to a file that nobody will find again is not confirmed.
#[cfg(unix)]
#[tokio::test]
async fn a_commit_into_a_file_that_has_gone_fails() {
    let folder = new_folder();
    let sqlite = open(&folder).await;
    let writing = sqlite.file.begin().await.unwrap();
    std::fs::remove_file(path(&folder)).unwrap();
    assert_eq!(writing.commit().await.unwrap_err().kind(), InboxErrorKind::Unreachable);
    assert_eq!(insert(&sqlite, "a").await, Acceptance::New);
    assert_eq!(open(&folder).await.stats().await.unwrap().ready, 1);
}

#[tokio::test]
async fn one_step_lists_no_more_than_others_can_wait_for() {
    let folder = new_folder();
    let sqlite = open(&folder).await;
    join_all((0..=STEP).map(async |number| insert(&sqlite, &number.to_string()).await)).await;
    let (listed, next) = sqlite.list(State::Ready, None, u32::MAX).await.unwrap();
    assert_eq!(listed.len(), STEP as usize);
    let (listed, next) = sqlite.list(State::Ready, next.as_deref(), u32::MAX).await.unwrap();
    assert_eq!((listed.len(), next), (1, None));
}

#[tokio::test]
async fn every_commit_is_synchronised_and_the_wal_stays_small() {
    let folder = new_folder();
    let sqlite = open(&folder).await;
    for (pragma, value) in
        [("synchronous", "2"), ("journal_mode", "wal"), ("journal_size_limit", "8388608")]
    {
        let sql = AssertSqlSafe(format!("PRAGMA {pragma}"));
        let row = query(sql).fetch_one(&sqlite.file.writer()).await.unwrap();
        let found = row.try_get(0).unwrap_or_else(|_| row.get::<i64, _>(0).to_string());
        assert_eq!(found, value, "{pragma}");
    }
}

/// Nobody knows how the transaction ended, so its connection must not be reused, nor keep the lock.
#[tokio::test]
async fn a_transaction_that_did_not_end_takes_its_connection_with_it() {
    let folder = new_folder();
    let (sqlite, other) = (open(&folder).await, open(&folder).await);
    // The commit fails, and leaves the transaction open.
    for sql in [
        "CREATE TABLE parents (id INTEGER PRIMARY KEY)",
        "CREATE TABLE children (parent INTEGER REFERENCES parents DEFERRABLE INITIALLY DEFERRED)",
        "CREATE TRIGGER fails AFTER INSERT ON number7_workers
            BEGIN INSERT INTO children VALUES (1); END",
    ] {
        execute(&sqlite, sql).await;
    }
    sqlite.heartbeat(WORKER).await.unwrap_err();
    assert_eq!(insert(&other, "a").await, Acceptance::New, "the lock was not given back");
    execute(&other, "DROP TRIGGER fails").await;
    sqlite.heartbeat(WORKER).await.unwrap();
    // It is dropped in the middle.
    let writing = sqlite.file.begin().await.unwrap();
    drop(writing);
    assert_eq!(insert(&other, "b").await, Acceptance::New);
    assert_eq!(claim(&sqlite, WORKER, 9).await.len(), 2);
    let exchange = Exchange {
        worker: WORKER,
        lease: LEASE,
        most: 9,
        quarantined: true,
        ..Exchange::default()
    };
    let mut waits = sqlite.exchange(exchange);
    insert(&other, "c").await;
    assert!(futures_util::poll!(&mut waits).is_pending());
    drop(waits);
    assert_eq!(insert(&other, "d").await, Acceptance::New);
    sqlite.ping().await.unwrap();
}

/// Neither without statistics, as in a file that nobody has analyzed, nor with the statistics of many finished events.
#[tokio::test]
async fn nothing_goes_through_all_events() {
    const STATE: &str = "number7_events_state (inbox=? AND state=?)";
    const STATE_UNTIL: &str = "number7_events_state (inbox=? AND state=? AND since<?)";
    const READY_OF_ACCOUNT: &str =
        "number7_events_ready_of_account (inbox=? AND account=? AND since<?)";
    const WAITING: &str = "number7_events_ready_of_account (inbox=? AND account>?)";
    const KEY: &str = "number7_events_key (inbox=? AND key=?)";
    const ID: &str = "INTEGER PRIMARY KEY (rowid=?)";
    const JOB: &str = "PRIMARY KEY (inbox=? AND job=?)";
    const OVERDUE: &str = "number7_expected_jobs_overdue (inbox=? AND (due_at,job)>(?,?))";
    const FETCH: &str = "number7_expected_jobs_fetch (inbox=? AND account=? AND fetch_at<?)";
    const LOOK_UP: &str = "number7_expected_jobs_look_up (inbox=? AND look_up_at<?)";
    let folder = new_folder();
    let sqlite = open(&folder).await;
    for is_analysed in [false, true] {
        if is_analysed {
            for sql in [
                "INSERT INTO number7_events (inbox, key, event, accepted_at, due_at, state)
                    SELECT '', value, 'job.completed', 0, 0, 'done'
                    FROM (WITH RECURSIVE numbers(value) AS (
                        SELECT 1 UNION ALL SELECT value + 1 FROM numbers LIMIT 20000
                    ) SELECT value FROM numbers)",
                "INSERT INTO number7_expected_jobs
                    (inbox, job, completed_key, failed_key, due_at, look_up_at, is_overdue, fetch_at)
                    SELECT '', key, key, key, id, id, TRUE, id FROM number7_events",
                "ANALYZE",
            ] {
                execute(&sqlite, sql).await;
            }
        }
        for (sql, how) in [
            (statement!("first_due"), STATE),
            (claim_statement!(first_quarantined!(), "0"), STATE_UNTIL),
            (claim_statement!(first_ready!(), "0"), STATE_UNTIL),
            (claim_statement!(first_of_accounts!(), "0"), READY_OF_ACCOUNT),
            (statement!("waiting_accounts"), WAITING),
            (statement!("claimed"), STATE),
            (statement!("finish"), ID),
            (statement!("finish_in"), ID),
            (statement!("claims_of_worker"), STATE),
            (statement!("claims"), STATE),
            (statement!("release"), ID),
            (statement!("rescue"), STATE_UNTIL),
            (statement!("sweep"), STATE_UNTIL),
            (statement!("forget_worker"), STATE),
            (statement!("forget_workers"), STATE),
            (statement!("stats"), STATE_UNTIL),
            (statement!("count_done"), STATE),
            (LIST, "number7_events_state (inbox=? AND state=? AND since>? AND since<?)"),
            (
                statement!("handled"),
                "number7_events_state (inbox=? AND state=? AND since>? AND since<?)",
            ),
            (SHOW, KEY),
            (statement!("requeue"), KEY),
            (statement!("run_now"), KEY),
            (statement!("discard"), KEY),
            (
                statement!("old_payloads"),
                "number7_events_state (inbox=? AND state=? AND since>? AND since<?)",
            ),
            (statement!("forget_payloads"), ID),
            (statement!("keep_conflict"), KEY),
            (statement!("forget_conflicts"), ID),
            (statement!("expect_job"), KEY),
            (statement!("cancel_expectation"), JOB),
            (statement!("next_look_up"), "number7_expected_jobs_look_up (inbox=?)"),
            (statement!("look_up"), LOOK_UP),
            (statement!("settle"), JOB),
            (statement!("looked_up"), JOB),
            (statement!("overdue"), OVERDUE),
            (statement!("give_up"), JOB),
            (statement!("accounts_to_fetch"), FETCH),
            (statement!("take"), FETCH),
        ] {
            let explain = AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}"));
            let rows = query(explain).fetch_all(&sqlite.file.writer()).await.unwrap();
            let plan: Vec<String> = rows.iter().map(|row| row.get("detail")).collect();
            assert!(plan.iter().any(|step| step.ends_with(how)), "{sql}: {plan:?}");
            let may_scan = [
                "VIRTUAL TABLE",
                "json_each",
                " next",
                " free",
                "CONSTANT ROW",
                "number7_workers",
                "(subquery",
            ];
            let is_scan = |step: &String| {
                step.starts_with("SCAN") && !may_scan.iter().any(|name| step.contains(name))
            };
            assert!(!plan.iter().any(is_scan), "{sql}: {plan:?}");
            assert!(!plan.iter().any(|step| step.contains("TEMP B-TREE")), "{sql}: {plan:?}");
        }
    }
}

/// Opens an inbox, with or without permission to create tables.
async fn opens(folder: &TempDir, migrate: bool) -> Result<Sqlite, InboxError> {
    Sqlite::open(&path(folder), &Options { migrate, ..Options::default() }).await
}

#[tokio::test]
async fn a_schema_that_this_build_cannot_use_is_refused_and_left_alone() {
    let folder = new_folder();
    let kind = |opened: Result<Sqlite, InboxError>| opened.err().unwrap().kind();
    assert_eq!(kind(opens(&folder, false).await), InboxErrorKind::Unreachable);
    assert!(!path(&folder).exists());
    let pragma = async |sql: &str| {
        let connect = SqliteConnectOptions::new().filename(path(&folder)).create_if_missing(true);
        let pool = sqlx::SqlitePool::connect_with(connect).await.unwrap();
        let sql = AssertSqlSafe(format!("PRAGMA {sql}"));
        let value: Option<i64> = query_scalar(sql).fetch_optional(&pool).await.unwrap();
        pool.close().await;
        value
    };
    // Nothing is there yet.
    pragma("user_version = 0").await;
    let error = opens(&folder, false).await.err().unwrap();
    assert_eq!(error.kind(), InboxErrorKind::Schema);
    assert!(error.to_string().contains("run `number7 inbox migrate`"), "{error}");
    drop(opens(&folder, true).await.unwrap());
    drop(opens(&folder, false).await.unwrap());
    assert_eq!(pragma("application_id").await, Some(0x6e37_6978));
    assert_eq!(pragma("user_version").await, Some(1));
    // A newer build was here.
    let inbox = opens(&folder, false).await.unwrap();
    let newer = raw_sql("UPDATE number7_schema SET version = 2");
    newer.execute(&inbox.file.writer()).await.unwrap();
    drop(inbox);
    for migrate in [true, false] {
        let error = opens(&folder, migrate).await.err().unwrap();
        assert_eq!(error.kind(), InboxErrorKind::Schema);
        let says = ["have version 2", "needs version 1", "a newer build"];
        assert!(says.iter().all(|said| error.to_string().contains(said)), "{error}");
    }
}

/// The app may count its own migrations in the header, before and after the inbox creates its tables.
#[tokio::test]
async fn the_header_of_an_apps_file_is_left_to_the_app() {
    for (version, expected) in [(0, (0, 0)), (7, (0, 7))] {
        let folder = new_folder();
        let connect = SqliteConnectOptions::new().filename(path(&folder)).create_if_missing(true);
        let pool = sqlx::SqlitePool::connect_with(connect.clone()).await.unwrap();
        let own = AssertSqlSafe(format!("CREATE TABLE own (id); PRAGMA user_version = {version}"));
        raw_sql(own).execute(&pool).await.unwrap();
        let inbox = Sqlite::open_with(connect, &Options::default()).await.unwrap();
        insert(&inbox, "key").await;
        let header: (i64, i64) = query_as(
            "SELECT application_id, user_version FROM pragma_application_id, pragma_user_version",
        )
        .fetch_one(&pool)
        .await
        .unwrap();
        assert_eq!(header, expected);
        drop(opens(&folder, true).await.unwrap());
    }
}

/// As `number7 inbox migrate --print` writes it, for `sqlite3`.
#[tokio::test]
async fn the_printed_migrations_make_the_same_schema() {
    const SCHEMA: &str = "SELECT group_concat(sql, ';' ORDER BY name) FROM sqlite_schema";
    let (made, printed) = (new_folder(), new_folder());
    let made = open(&made).await;
    let connect = SqliteConnectOptions::new().filename(path(&printed)).create_if_missing(true);
    let pool = sqlx::SqlitePool::connect_with(connect).await.unwrap();
    let sql = AssertSqlSafe(Sqlite::migrations(&Options::default()));
    raw_sql(sql).execute(&pool).await.unwrap();
    let schema: String = query_scalar(SCHEMA).fetch_one(&pool).await.unwrap();
    pool.close().await;
    let printed = opens(&printed, false).await.unwrap();
    insert(&printed, "a").await;
    let expected: String = query_scalar(SCHEMA).fetch_one(&made.file.writer()).await.unwrap();
    assert_eq!(schema, expected);
}
