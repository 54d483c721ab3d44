//! The schema of an inbox on PostgreSQL: who creates it, who may use it, and, to the second, what its times mean.
#![allow(clippy::unwrap_used)]

use std::{
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use futures_util::future::join_all;
use number7_core::Acceptance;
use number7_inbox::{
    AcceptedEvent, BoxError, Failure, Filter, Inbox, InboxErrorKind, MIN_LEASE, State,
};
use number7_tests::{
    delivery,
    engine::{Engine, Server},
    running::{Handled, Running, accept, until},
    store::{Store, postgres},
};
use sqlx::{AssertSqlSafe, query_scalar};
use tokio::task::block_in_place;

async fn count(store: &Store, sql: &str) -> i64 {
    let sql = AssertSqlSafe(sql.to_owned());
    query_scalar(sql).fetch_one(&mut postgres(&store.url()).await).await.unwrap()
}

/// The URL of a role that was granted only these rights, on all tables.
async fn role(store: &Store, name: &str, rights: &str) -> String {
    store
        .sql(&format!(
            "CREATE ROLE {name} LOGIN; GRANT USAGE ON SCHEMA number7 TO {name};
            GRANT {rights} ON ALL TABLES IN SCHEMA number7 TO {name}"
        ))
        .await;
    store.url().replace("postgres://postgres@", &format!("postgres://{name}@"))
}

/// One dead letter, one done event, one scheduled event, and one overdue job.
async fn use_all_of(inbox: &Inbox) {
    for job in ["done", "dead", "later"] {
        accept(inbox, "job.completed", job).await;
    }
    let worker = inbox.worker(async |event: AcceptedEvent| match event.key() {
        "job.completed:dead" => Err(Failure::permanent("dead")),
        "job.completed:later" => Err("later".into()),
        _ => Ok(()),
    });
    inbox.expect_job("never", Duration::ZERO).await.unwrap();
    let hour = Duration::from_secs(3_600);
    let worker = Running::start(worker.backoff(hour, hour).lease(MIN_LEASE));
    until(async || {
        let stats = inbox.stats().await.unwrap();
        (stats.done, stats.dead, stats.scheduled, stats.overdue) == (1, 1, 1, 1)
    })
    .await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(no_postgres, ignore = "PostgreSQL is not installed: see CONTRIBUTING.md")]
async fn a_role_that_may_change_rows_runs_everything() {
    let store = Store::postgres().await;
    store.open().await;
    let url = role(&store, "writer", "SELECT, INSERT, UPDATE, DELETE").await;
    let inbox = Inbox::open(&url).await.unwrap();
    inbox.ping().await.unwrap();
    use_all_of(&inbox).await;
    assert_eq!(inbox.requeue("job.completed:dead").await.unwrap().events, 1);
    use_worker_until_dead(&inbox).await;
    assert_eq!(inbox.discard("job.completed:dead").await.unwrap().events, 1);
    assert!(inbox.cancel_expectation("never").await.unwrap());
    let sweeps = Handled::default().worker(&inbox).retention(Duration::from_secs(1));
    let sweeps = Running::start(sweeps);
    until(async || inbox.stats().await.unwrap().done == 0).await;
    sweeps.stop().await;
}

async fn use_worker_until_dead(inbox: &Inbox) {
    let worker = inbox.worker(async |_: AcceptedEvent| Err::<(), _>(Failure::permanent("dead")));
    let worker = Running::start(worker);
    until(async || inbox.stats().await.unwrap().dead == 1).await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(no_postgres, ignore = "PostgreSQL is not installed: see CONTRIBUTING.md")]
async fn a_role_that_may_only_read_sees_everything() {
    let store = Store::postgres().await;
    use_all_of(&store.open().await).await;
    let url = role(&store, "reader", "SELECT").await;
    for inbox in [Inbox::open_existing(&url).await.unwrap(), Inbox::open(&url).await.unwrap()] {
        let stats = inbox.stats().await.unwrap();
        assert_eq!((stats.done, stats.dead, stats.scheduled, stats.overdue), (1, 1, 1, 1));
        for state in State::ALL {
            let listed = inbox.list(state, &Filter::new(), None, 10).await.unwrap().entries;
            assert_eq!(listed.len() as u64, stats.of(state), "{state}");
        }
        assert!(inbox.show("job.completed:dead").await.unwrap().is_some());
        assert_eq!(inbox.overdue(None, 10).await.unwrap().entries.len(), 1);
        let refused = inbox.discard("job.completed:dead").await.unwrap_err();
        assert_eq!(refused.kind(), InboxErrorKind::Refused, "{refused}");
        assert!(inbox.accept(&delivery("job.completed", "job_1")).await.is_err());
    }
}

/// Even in one database with an inbox in the default schema. The name must be quoted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(no_postgres, ignore = "PostgreSQL is not installed: see CONTRIBUTING.md")]
async fn an_inbox_may_be_in_a_schema_of_another_name() {
    let store = Store::postgres().await;
    use_all_of(&store.open().await).await;
    let pool = sqlx::PgPool::connect(&store.url()).await.unwrap();
    let inbox = Inbox::options().schema("An \"inbox\"").postgres_of(&pool).await.unwrap();
    use_all_of(&inbox).await;
    accept(&inbox, "job.completed", "in_a_transaction").await;
    let worker = inbox.worker(move |event: AcceptedEvent| {
        let pool = pool.clone();
        async move {
            let mut transaction = event.begin(&pool).await?;
            event.finish_in(&mut transaction).await?;
            Ok::<_, BoxError>(transaction.commit().await?)
        }
    });
    let worker = Running::start(worker);
    until(async || inbox.stats().await.unwrap().done == 2).await;
    worker.stop().await;
    assert_eq!(count(&store, "SELECT count(*) FROM number7.events").await, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(no_postgres, ignore = "PostgreSQL is not installed: see CONTRIBUTING.md")]
async fn a_role_that_may_make_nothing_is_told_to_migrate() {
    let store = Store::postgres().await;
    store.sql("CREATE ROLE nobody LOGIN").await;
    let url = store.url().replace("postgres://postgres@", "postgres://nobody@");
    let refused = Inbox::open_existing(&url).await.unwrap_err();
    assert_eq!(refused.kind(), InboxErrorKind::Schema, "{refused}");
    assert!(refused.to_string().contains("no inbox in the schema number7"), "{refused}");
    assert!(refused.to_string().contains("run `number7 inbox migrate`"), "{refused}");
    let refused = Inbox::open(&url).await.unwrap_err();
    assert_eq!(refused.kind(), InboxErrorKind::Refused, "{refused}");
    assert!(refused.to_string().contains("permission denied"), "{refused}");
    let made = "SELECT count(*) FROM pg_namespace WHERE nspname = 'number7'";
    assert_eq!(count(&store, made).await, 0);
}

/// A DBA may have created the schema.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(no_postgres, ignore = "PostgreSQL is not installed: see CONTRIBUTING.md")]
async fn who_owns_the_schema_may_make_the_tables() {
    let store = Store::postgres().await;
    store.sql("CREATE ROLE owner LOGIN; CREATE SCHEMA number7 AUTHORIZATION owner").await;
    let url = store.url().replace("postgres://postgres@", "postgres://owner@");
    accept(&Inbox::open(&url).await.unwrap(), "job.completed", "job_1").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(no_postgres, ignore = "PostgreSQL is not installed: see CONTRIBUTING.md")]
async fn many_processes_make_the_tables_once() {
    let store = Store::postgres().await;
    let url = store.url();
    let opened = join_all((0..8).map(|_| {
        let url = url.clone();
        tokio::spawn(async move { Inbox::open(&url).await })
    }));
    for opened in opened.await {
        opened.unwrap().unwrap();
    }
    assert_eq!(count(&store, "SELECT count(*) FROM number7.schema_version").await, 1);
    // Existing tables are left alone.
    store.sql("REVOKE CREATE ON SCHEMA number7 FROM PUBLIC").await;
    accept(&store.open().await, "job.completed", "job_1").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(no_postgres, ignore = "PostgreSQL is not installed: see CONTRIBUTING.md")]
async fn tables_of_a_newer_build_are_refused() {
    let store = Store::postgres().await;
    store.open().await;
    store.sql("INSERT INTO number7.schema_version (version) VALUES (999)").await;
    for refused in [Inbox::open(&store.url()).await, Inbox::open_existing(&store.url()).await] {
        let refused = refused.unwrap_err();
        assert_eq!(refused.kind(), InboxErrorKind::Schema, "{refused}");
        assert!(refused.to_string().contains("version 999"), "{refused}");
        assert!(refused.to_string().contains("use a newer build"), "{refused}");
    }
}

/// Each transaction may be run in another session, and our settings must not apply to others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(
    any(no_postgres, no_pgbouncer),
    ignore = "pgbouncer is not installed: see CONTRIBUTING.md"
)]
async fn a_pooler_in_transaction_mode_serves() {
    let server = block_in_place(|| Server::start(Engine::Postgres));
    let direct = Store::postgres_on(&server, server.port()).await;
    let name = direct.url().rsplit('/').next().unwrap().to_owned();
    direct
        .sql(&format!(
            "ALTER DATABASE {name} SET default_transaction_isolation = 'serializable';
            ALTER DATABASE {name} SET synchronous_commit = off"
        ))
        .await;
    let pooler = block_in_place(|| Server::pooler(&server, "transaction"));
    let pooled = Store::Postgres(pooler.url(pooler.port(), &name));
    let inboxes = [pooled.open().await, pooled.open().await];
    let deliveries = (0..400).map(|number| {
        let (inbox, job) = (&inboxes[number % 2], format!("job_{}", number / 2));
        async move { inbox.accept(&delivery("job.completed", &job)).await.unwrap() }
    });
    let accepted = join_all(deliveries).await;
    assert_eq!(accepted.iter().filter(|accepted| **accepted == Acceptance::New).count(), 200);
    let handled = Handled::default();
    let workers = inboxes.each_ref().map(|inbox| Running::start(handled.worker(inbox)));
    until(async || handled.events() == 200).await;
    for worker in workers {
        worker.stop().await;
    }
    until(async || inboxes[0].stats().await.unwrap().done == 200).await;
    let other = inboxes[0].named("other").unwrap();
    use_all_of(&other).await;
    assert_eq!(
        inboxes[0].list(State::Done, &Filter::new(), None, 10).await.unwrap().entries.len(),
        10
    );
    let leaked = "SELECT count(*) FROM pg_settings WHERE source = 'session'
        AND name IN ('enable_seqscan', 'statement_timeout', 'synchronous_commit', 'jit')";
    for _ in 0..20 {
        let mut connection = postgres(&pooled.url()).await;
        let leaked = sqlx::raw_sql(leaked).fetch_one(&mut connection).await.unwrap();
        assert_eq!(sqlx::Row::get::<i64, _>(&leaked, 0), 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(no_postgres, ignore = "PostgreSQL is not installed: see CONTRIBUTING.md")]
async fn an_event_is_ready_from_its_time_on() {
    let store = Store::postgres().await;
    let (inbox, begun) = (store.open().await, Arc::new(Mutex::new(Vec::new())));
    for number in 0..4 {
        accept(&inbox, "job.completed", &format!("job_{number}")).await;
    }
    // In another order than that of their acceptance.
    let later =
        "SET due_at = now() + interval '5 seconds' - right(key, 1)::int * interval '1 second'";
    store.execute(later, "").await;
    let due = async || {
        let due = "SELECT (extract(epoch FROM due_at) * 1000)::bigint FROM number7.events ORDER BY due_at";
        let due: Vec<i64> =
            query_scalar(due).fetch_all(&mut postgres(&store.url()).await).await.unwrap();
        due
    };
    let due = due().await;
    let seen = Arc::clone(&begun);
    let worker = inbox.worker(move |event: AcceptedEvent| {
        let at = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        seen.lock().unwrap().push((event.key().to_owned(), i64::try_from(at.as_millis()).unwrap()));
        async { Ok::<_, BoxError>(()) }
    });
    worker.run_until(store.settled(Duration::from_secs(60))).await;
    let begun = begun.lock().unwrap();
    for (number, ((key, at), due)) in begun.iter().zip(&due).enumerate() {
        assert_eq!(*key, format!("job.completed:job_{}", 3 - number));
        // By the clock of the same machine, and the poll interval is far shorter than a second.
        assert!((due - 1..due + 1_000).contains(&at.clone()), "{key}: {at} {due}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(no_postgres, ignore = "PostgreSQL is not installed: see CONTRIBUTING.md")]
async fn a_retention_lasts_to_its_last_second() {
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    let store = Store::postgres().await;
    let inbox = store.open().await;
    for job in ["before", "after"] {
        accept(&inbox, "job.completed", &format!("done_{job}")).await;
        accept(&inbox, "job.completed", &format!("dead_{job}")).await;
    }
    let worker = inbox.worker(async |event: AcceptedEvent| match event.key().contains("dead") {
        true => Err(Failure::permanent("dead")),
        false => Ok(()),
    });
    worker.run_until(store.settled(Duration::from_secs(60))).await;
    let retained = "SET finished_at = now() - CASE state WHEN 'done' THEN interval '1 day' ELSE interval '2 days' END
        + CASE WHEN key LIKE '%before' THEN interval '8 seconds' ELSE interval '-1 second' END";
    store.execute(retained, "").await;
    let over = "SELECT count(*) FROM number7.events WHERE finished_at < now() - CASE state
        WHEN 'done' THEN interval '1 day' ELSE interval '2 days' END";
    let handled = Handled::default();
    let sweeps = || handled.worker(&inbox).retention(DAY).dead_letter_retention(2 * DAY);
    let worker = Running::start(sweeps());
    until(async || store.keys().await == 2).await;
    assert_eq!(
        count(&store, "SELECT count(*) FROM number7.events WHERE key LIKE '%before'").await,
        2
    );
    worker.stop().await;
    // It sweeps when it starts.
    until(async || count(&store, over).await == 2).await;
    let worker = Running::start(sweeps());
    until(async || store.keys().await == 0).await;
    worker.stop().await;
}
