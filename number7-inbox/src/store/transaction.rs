//! Finishing an attempt in a transaction of its handler.

use futures_util::future::BoxFuture;
use sqlx::Database;

/// A database in which [`AcceptedEvent::finish_in`](crate::AcceptedEvent::finish_in) can write: `sqlx::Sqlite` and `sqlx::Postgres`.
pub trait TransactionalStore: Database + sealed::Finish {}

pub(crate) mod sealed {
    use super::{BoxFuture, Database};

    pub trait Finish: Database {
        /// Begins a transaction that will write.
        const BEGIN: &'static str;

        /// Finishes an attempt, and returns how many rows were changed.
        fn finish<'a>(
            connection: &'a mut Self::Connection,
            schema: &'a str,
            event: i64,
            attempt: u32,
            worker: &'a str,
        ) -> BoxFuture<'a, Result<u64, sqlx::Error>>;
    }
}
