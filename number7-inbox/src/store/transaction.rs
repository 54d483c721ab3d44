//! The end of an attempt in a transaction of the handler's.

use futures_util::future::BoxFuture;
use sqlx::Database;

/// A database in which [`AcceptedEvent::finish_in`](crate::AcceptedEvent::finish_in) can write: `sqlx::Sqlite` and `sqlx::Postgres`.
pub trait TransactionalStore: Database + sealed::Finish {}

pub(crate) mod sealed {
    use super::{BoxFuture, Database};

    pub trait Finish: Database {
        /// How a transaction begins that will write.
        const BEGIN: &'static str;

        /// Ends an attempt as done, and says how many rows were changed.
        fn finish<'a>(
            connection: &'a mut Self::Connection,
            schema: &'a str,
            event: i64,
            attempt: u32,
            worker: &'a str,
        ) -> BoxFuture<'a, Result<u64, sqlx::Error>>;
    }
}
