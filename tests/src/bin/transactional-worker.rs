//! A worker whose effects and ends are in one transaction, and which aborts at a given place.
//!
//! Its arguments are the URL of the store, the step after which to abort, and how often to pass that step before.
#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

use std::{
    env,
    future::{Future, pending, poll_fn},
    pin::pin,
    process::abort,
    sync::atomic::{AtomicU32, Ordering},
};

use number7_inbox::{AcceptedEvent, BoxError, Inbox, MIN_LEASE, TransactionalStore};
use sqlx::{PgPool, Pool, Transaction, query, sqlite::SqlitePoolOptions};

/// Aborts the process after a step, unless the step is to be passed some more times.
struct Crash {
    after: String,
    passes: AtomicU32,
}

impl Crash {
    fn passed(&self, step: &str) {
        if self.is_now(step) {
            abort();
        }
    }

    fn is_now(&self, step: &str) -> bool {
        self.after == step && self.passes.fetch_sub(1, Ordering::Relaxed) == 0
    }

    /// Commits, or aborts in the middle of it.
    async fn commit<DB: sqlx::Database>(&self, transaction: Transaction<'_, DB>) {
        let is_now = self.is_now("committing");
        let mut commit = pin!(transaction.commit());
        let committed = poll_fn(|cx| match commit.as_mut().poll(cx) {
            // The commit is on its way to the database, or was already answered.
            _ if is_now => abort(),
            polled => polled,
        });
        committed.await.unwrap();
    }
}

/// Begin, effect, end of the attempt, commit; by SQL that both databases know.
macro_rules! handler {
    ($pool:expr, $crash:expr) => {{
        let (pool, crash): (Pool<_>, &'static Crash) = ($pool, $crash);
        move |event: AcceptedEvent| {
            let pool = pool.clone();
            async move {
                let mut transaction = event.begin(&pool).await?;
                crash.passed("begin");
                let effect = query("INSERT INTO effects (event) VALUES ($1)").bind(event.key());
                effect.execute(&mut *transaction).await?;
                crash.passed("effect");
                finish(&event, &mut transaction).await?;
                crash.passed("finish");
                crash.commit(transaction).await;
                crash.passed("commit");
                Ok::<_, BoxError>(())
            }
        }
    }};
}

async fn finish<DB: TransactionalStore>(
    event: &AcceptedEvent,
    transaction: &mut Transaction<'_, DB>,
) -> Result<(), BoxError> {
    Ok(event.finish_in(transaction).await?)
}

#[tokio::main]
async fn main() {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let mut args = env::args().skip(1);
    let mut arg = || args.next().unwrap();
    let (store, after, passes) = (arg(), arg(), AtomicU32::new(arg().parse().unwrap()));
    let crash: &'static Crash = Box::leak(Box::new(Crash { after, passes }));
    let worker = match store.strip_prefix("sqlite:") {
        Some(path) => {
            let pool = SqlitePoolOptions::new().connect(&format!("sqlite:{path}")).await.unwrap();
            let inbox = Inbox::sqlite_of(&pool).await.unwrap();
            inbox.worker(handler!(pool, crash))
        }
        None => {
            let pool = PgPool::connect(&store).await.unwrap();
            let inbox = Inbox::postgres_of(&pool).await.unwrap();
            inbox.worker(handler!(pool, crash))
        }
    };
    worker.lease(MIN_LEASE).attempts(1_000).run_until(pending()).await;
}
