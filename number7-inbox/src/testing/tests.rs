//! Handlers with one fault each, and handlers without one.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use number7_core::{Event, probe::Sample};
use tokio::{sync::Semaphore, task::yield_now, time::sleep};

use super::{Report, Trials, assert_worker, rules};
use crate::{AcceptedEvent, BoxError, Failure};

const SECOND: Duration = Duration::from_secs(1);

/// Where effects happen: how often for each key. It is like the tables of handlers.
#[derive(Clone, Default)]
struct Place(Arc<Mutex<Rows>>);

#[derive(Default)]
struct Rows {
    effects: HashMap<String, usize>,
    marks: HashSet<String>,
}

impl Place {
    fn count(&self, event: &AcceptedEvent) -> usize {
        self.0.lock().unwrap().effects.get(event.key()).copied().unwrap_or_default()
    }

    /// Without a unique key.
    fn insert(&self, event: &AcceptedEvent) {
        *self.0.lock().unwrap().effects.entry(event.key().to_owned()).or_default() += 1;
    }

    /// With one: false if the row exists.
    fn insert_unique(&self, event: &AcceptedEvent) -> bool {
        self.0.lock().unwrap().effects.insert(event.key().to_owned(), 1).is_none()
    }

    fn upsert(&self, event: &AcceptedEvent) -> Result<(), Failure> {
        self.insert_unique(event);
        Ok(())
    }

    /// False if it is marked already.
    fn mark(&self, event: &AcceptedEvent) -> bool {
        self.0.lock().unwrap().marks.insert(event.key().to_owned())
    }

    fn unmark(&self, event: &AcceptedEvent) {
        self.0.lock().unwrap().marks.remove(event.key());
    }
}

/// Whether there is something to do.
fn is_completed(event: &AcceptedEvent) -> Result<bool, Failure> {
    Ok(matches!(event.event()?, Event::JobCompleted(_)))
}

async fn report<F>(handler: impl Fn(AcceptedEvent, Place) -> F) -> Report
where
    F: Future<Output = Result<(), Failure>>,
{
    let place = Place::default();
    let effects = async |event: &AcceptedEvent| place.count(event);
    Trials::default().run(|event| handler(event, place.clone()), effects).await
}

/// Checks that the report names this fix, and no other.
#[track_caller]
fn names(report: &Report, fix: &'static str) {
    assert_eq!(report.fixes(), [fix], "{report}");
}

#[tokio::test(start_paused = true)]
async fn a_handler_without_a_key_is_told_that_a_death_repeats_its_effect() {
    let report = report(async |event, place| {
        if is_completed(&event)? {
            sleep(SECOND).await;
            place.insert(&event);
            sleep(SECOND).await;
        }
        Ok(())
    });
    let report = report.await;
    names(&report, rules::TWICE_BY_DEATH);
    let text = report.to_string();
    assert!(
        text.starts_with("7 of 10 rules are kept\n\nthe effect happens twice if the"),
        "{text}"
    );
    let seen = "- the effect happens once if the process dies in the handler: expected one effect, \
                done, saw 2 effects, done (at await point 2)";
    assert!(text.contains(seen), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_fails_at_first_is_tried_all_the_same() {
    let report = report(async |event, place| {
        if place.mark(&event) {
            return Err(Failure::snooze(SECOND, "not yet"));
        }
        if event.attempt() == 1 {
            return Err("at first".into());
        }
        if is_completed(&event)? {
            place.insert(&event);
            sleep(SECOND).await;
        }
        Ok(())
    });
    let report = report.await;
    names(&report, rules::TWICE_BY_DEATH);
    assert!(report.to_string().contains("(at await point 1)"), "{report}");
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_looks_first_is_told_that_two_attempts_may_run_at_once() {
    let report = report(async |event, place| {
        if is_completed(&event)? && place.count(&event) == 0 {
            sleep(SECOND).await;
            place.insert(&event);
        }
        Ok(())
    });
    names(&report.await, rules::TWICE_AT_ONCE);
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_marks_an_event_first_is_told_that_a_death_loses_its_effect() {
    let report = report(async |event, place| {
        if is_completed(&event)? && place.mark(&event) {
            sleep(SECOND).await;
            place.insert(&event);
        }
        Ok(())
    });
    names(&report.await, rules::LOST_BY_DEATH);
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_skips_second_attempts_is_told_that_a_death_loses_its_effect() {
    let report = report(async |event, place| {
        if is_completed(&event)? && event.attempt() == 1 {
            sleep(SECOND).await;
            place.upsert(&event)?;
        }
        Ok(())
    });
    names(&report.await, rules::LOST_BY_DEATH);
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_keeps_a_mark_when_it_is_dropped_is_told_that_it_fails_again() {
    let report = report(async |event, place| {
        if !is_completed(&event)? {
            return Ok(());
        }
        if !place.mark(&event) {
            return Err("it is being handled".into());
        }
        sleep(SECOND).await;
        place.upsert(&event)?;
        place.unmark(&event);
        Ok(())
    });
    names(&report.await, rules::FAILS_AGAIN);
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_takes_its_own_row_for_an_error_is_told_that_it_fails_again() {
    let report = report(async |event, place| {
        if is_completed(&event)? && !place.insert_unique(&event) {
            return Err("the row is there".into());
        }
        Ok(())
    });
    names(&report.await, rules::FAILS_AGAIN);
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_waits_for_what_a_dropped_one_took_is_told_that_it_hangs() {
    let permits = Semaphore::new(1);
    let permits = &permits;
    let report = report(move |event, place| async move {
        if is_completed(&event)? {
            permits.acquire().await.map_err(BoxError::from)?.forget();
            sleep(SECOND).await;
            place.upsert(&event)?;
            permits.add_permits(1);
        }
        Ok(())
    });
    names(&report.await, rules::HANGS);
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_says_ok_when_its_lease_is_lost_is_told_so() {
    let report = report(async |event, place| {
        if is_completed(&event)? {
            tokio::select! {
                () = event.lease_lost().cancelled() => return Ok(()),
                () = sleep(SECOND) => {}
            }
            place.upsert(&event)?;
        }
        Ok(())
    });
    names(&report.await, rules::LOST_BY_LEASE);
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_does_not_wait_for_its_effect_is_told_so() {
    let report = report(async |event, place| {
        if is_completed(&event)? {
            tokio::spawn(async move { place.upsert(&event) });
        }
        Ok(())
    });
    names(&report.await, rules::LOST);
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_swallows_the_error_of_its_work_is_told_that_its_effect_is_lost() {
    async fn work() -> Result<(), BoxError> {
        yield_now().await;
        Err("the database is away".into())
    }
    let report = report(async |event, _| {
        if is_completed(&event)?
            && let Err(error) = work().await
        {
            eprintln!("{error}");
        }
        Ok(())
    });
    names(&report.await, rules::LOST);
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_always_fails_is_told_so_once() {
    let report = report(async |_, _| Err("the database is away".into())).await;
    assert_eq!(report.fixes()[0], rules::FAILS);
    let text = report.to_string();
    assert!(text.contains("saw no effect, dead, the database is away"), "{text}");
    assert!(!text.contains("if the process dies"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_repeats_its_effect_is_told_so() {
    let report = report(async |event, place| {
        if is_completed(&event)? {
            place.insert(&event);
            place.insert(&event);
        }
        Ok(())
    });
    names(&report.await, rules::REPEATED);
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_panics_is_told_which_event_it_cannot_take() {
    let untypable = report(async |event, place| {
        if let Event::JobCompleted(_) = event.event().unwrap() {
            place.upsert(&event)?;
        }
        Ok(())
    });
    let untypable = untypable.await;
    names(&untypable, rules::PANICS);
    assert!(untypable.to_string().contains("- an event that cannot be typed is kept"));

    let unknown = report(async |event, place| match event.event()? {
        Event::JobCompleted(_) => place.upsert(&event),
        Event::JobFailed(_) => Ok(()),
        _ => unreachable!("no such event"),
    });
    let unknown = unknown.await;
    names(&unknown, rules::PANICS);
    let text = unknown.to_string();
    assert!(text.contains("- an event of an unknown name ends: expected done"), "{text}");
    assert!(text.contains("panicked: internal error: entered unreachable code"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_panics_when_it_is_dropped_is_told_so() {
    struct Guard(bool);
    impl Drop for Guard {
        fn drop(&mut self) {
            assert!(self.0, "dropped too early");
        }
    }
    let report = report(async |event, place| {
        let mut guard = Guard(true);
        if is_completed(&event)? {
            guard.0 = false;
            sleep(SECOND).await;
            guard.0 = true;
            place.upsert(&event)?;
        }
        Ok(())
    });
    names(&report.await, rules::PANICS);
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_ignores_what_it_cannot_type_is_told_that_nobody_will_notice() {
    let report = report(async |event, place| {
        if let Ok(Event::JobCompleted(_)) = event.event() {
            place.upsert(&event)?;
        }
        Ok(())
    });
    names(&report.await, rules::SWALLOWS);
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_snoozes_what_it_cannot_type_is_told_that_it_never_ends() {
    let report = report(async |event, place| match event.event() {
        Ok(Event::JobCompleted(_)) => place.upsert(&event),
        Ok(_) => Ok(()),
        Err(error) => Err(Failure::snooze(SECOND, error)),
    });
    names(&report.await, rules::SNOOZES);
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_retries_what_needs_no_work_is_told_so() {
    for (rule, of) in
        [("a job.failed ends", "job.failed"), ("an event of an unknown name ends", "job.archived")]
    {
        let report = report(move |event, place| async move {
            match event.event()? {
                Event::JobCompleted(_) => place.upsert(&event),
                other if other.name() == of => Err("no such event".into()),
                _ => Ok(()),
            }
        });
        let report = report.await;
        names(&report, rules::RETRIES);
        assert!(report.to_string().contains(rule), "{report}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_blocks_its_thread_is_told_so() {
    let report = report(async |event, place| {
        if is_completed(&event)? {
            thread::sleep(SECOND * 6 / 10);
            place.upsert(&event)?;
        }
        Ok(())
    });
    names(&report.await, rules::BLOCKS);
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "use `finish_in`, or a unique key on `AcceptedEvent::key`")]
async fn assert_worker_panics_with_the_report() {
    let place = Place::default();
    let handler = async |event: AcceptedEvent| {
        place.insert(&event);
        Ok::<_, Failure>(())
    };
    assert_worker(handler, async |event| place.count(event), &Trials::default()).await;
}

#[tokio::test(start_paused = true)]
async fn good_handlers_keep_all_rules_without_a_wait() {
    let begun = std::time::Instant::now();
    // With a unique key.
    let unique = report(async |event, place| {
        if is_completed(&event)? {
            sleep(10 * SECOND).await;
            place.upsert(&event)?;
            sleep(SECOND).await;
        }
        Ok(())
    });
    // A handler that stops when its lease is lost, and keeps failed jobs.
    let careful = report(async |event, place| {
        tokio::select! {
            () = event.lease_lost().cancelled() => return Err("the lease was lost".into()),
            () = sleep(SECOND) => {}
        }
        match event.event()? {
            Event::JobCompleted(_) => place.upsert(&event),
            Event::JobFailed(job) => Err(Failure::permanent(job.error)),
            other => Err(Failure::permanent(other.name())),
        }
    });
    // A handler that first snoozes, and then fails once.
    let shy = report(async |event, place| {
        if place.mark(&event) {
            return Err(Failure::snooze(SECOND, "not yet"));
        }
        if event.attempt() == 1 {
            return Err("at first".into());
        }
        if is_completed(&event)? {
            place.upsert(&event)?;
        }
        Ok(())
    });
    for report in [unique.await, careful.await, shy.await] {
        assert!(report.is_good(), "{report}");
        assert_eq!(report.findings().len(), 10);
    }
    // The machine may be busy, but several hundred seconds were slept.
    assert!(begun.elapsed() < 60 * SECOND, "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn the_event_that_has_an_effect_is_the_users() {
    let place = Place::default();
    let handler = async |event: AcceptedEvent| match event.event()? {
        Event::JobFailed(job) if job.error == "blank" => {
            place.upsert(&event)?;
            Ok::<_, Failure>(())
        }
        _ => Ok(()),
    };
    let effects = async |event: &AcceptedEvent| place.count(event);
    let trials = Trials::default().sample(Sample::failed("", "blank"));
    assert_worker(handler, effects, &trials).await;
    let report = Trials::default().run(handler, effects).await;
    assert_eq!(report.fixes(), [rules::LOST]);
}

#[actix_web::test]
async fn it_works_on_the_runtime_of_actix() {
    let place = Place::default();
    let handler = async |event: AcceptedEvent| {
        yield_now().await;
        if is_completed(&event)? {
            place.upsert(&event)?;
        }
        Ok::<_, Failure>(())
    };
    assert_worker(handler, async |event| place.count(event), &Trials::default()).await;
}

#[cfg(feature = "sqlite")]
mod in_a_transaction {
    use sqlx::{
        SqlitePool, query, query_scalar,
        sqlite::{SqliteConnectOptions, SqlitePoolOptions},
    };

    use super::*;
    use crate::Inbox;

    #[derive(Clone, Copy)]
    struct Table {
        finishes: bool,
        /// If it is not, only the end in the transaction prevents a second row.
        is_key_unique: bool,
    }

    async fn handle(event: AcceptedEvent, pool: &SqlitePool, table: Table) -> Result<(), Failure> {
        if !is_completed(&event)? {
            return Ok(());
        }
        let mut transaction = event.begin(pool).await?;
        let invoice = query("INSERT INTO invoices VALUES (?)").bind(event.key());
        invoice.execute(&mut *transaction).await?;
        if table.finishes {
            event.finish_in(&mut transaction).await?;
        }
        Ok(transaction.commit().await?)
    }

    async fn report(table: Table) -> Report {
        let folder = tempfile::tempdir().unwrap();
        let file = SqliteConnectOptions::new().filename(folder.path().join("invoices.db"));
        let file = file.create_if_missing(true).busy_timeout(5 * SECOND);
        let pool = SqlitePoolOptions::new().connect_with(file).await.unwrap();
        let create = match table.is_key_unique {
            true => "CREATE TABLE invoices (event TEXT UNIQUE)",
            false => "CREATE TABLE invoices (event TEXT)",
        };
        query(create).execute(&pool).await.unwrap();
        let trials = Trials::on(Inbox::sqlite_of(&pool).await.unwrap());
        let effects = async |event: &AcceptedEvent| {
            let rows = query_scalar::<_, i64>("SELECT COUNT(*) FROM invoices WHERE event = ?");
            usize::try_from(rows.bind(event.key()).fetch_one(&pool).await.unwrap()).unwrap()
        };
        trials.run(|event| handle(event, &pool, table), effects).await
    }

    #[tokio::test]
    async fn a_handler_that_finishes_in_its_transaction_keeps_all_rules() {
        let report = report(Table { finishes: true, is_key_unique: false }).await;
        assert!(report.is_good(), "{report}");
    }

    #[tokio::test]
    async fn a_transaction_alone_is_not_enough() {
        names(
            &report(Table { finishes: false, is_key_unique: false }).await,
            rules::TWICE_BY_DEATH,
        );
    }

    #[tokio::test]
    async fn a_row_that_an_earlier_run_wrote_must_not_fail_the_next_one() {
        let report = report(Table { finishes: true, is_key_unique: true }).await;
        names(&report, rules::FAILS_RERUN);
    }
}
