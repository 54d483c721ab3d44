//! Finishing an attempt in a transaction of the handler.

use sqlx::{Pool, Transaction};

use crate::{
    model::error::{InboxError, InboxErrorKind},
    store::transaction::TransactionalStore,
    worker::{accepted::AcceptedEvent, held_claim::HeldClaim},
};

impl AcceptedEvent {
    /// Begins a transaction on a pool of `sqlx` 0.9, by `BEGIN IMMEDIATE` on SQLite and `BEGIN` on PostgreSQL.
    ///
    /// Use this instead of the pool's own `begin` if the worker has a
    /// [`timeout`](crate::Worker::timeout) or a [`shutdown_timeout`](crate::Worker::shutdown_timeout). Both drop
    /// the future of a handler at any await point. If that is inside `PgPool::begin` of sqlx 0.9.0, the
    /// transaction stays open on its connection, and the pool does not notice. The next user of the
    /// connection then writes into it, and these writes are never committed. This method begins the
    /// transaction in a task of its own. If the handler is gone when the task ends, the transaction is
    /// rolled back.
    ///
    /// # Errors
    ///
    /// The pool or the database failed.
    ///
    /// # Panics
    ///
    /// It is called outside of a tokio runtime.
    pub async fn begin<DB: TransactionalStore>(
        &self,
        pool: &Pool<DB>,
    ) -> Result<Transaction<'static, DB>, InboxError> {
        let pool = pool.clone();
        // If nobody waits for the task anymore, it drops the transaction, which rolls it back.
        let begun = tokio::spawn(async move { pool.begin_with(DB::BEGIN).await });
        match begun.await {
            Ok(begun) => Ok(begun?),
            Err(error) => Err(InboxError::new(InboxErrorKind::Unreachable, error)),
        }
    }

    /// Finishes this attempt in a transaction of the handler: the event is done if and only if the transaction is committed. So
    /// effects in the same database happen exactly once, no matter what is killed and when.
    ///
    /// The transaction must be one of `sqlx` 0.9 on the database of the inbox. Call this directly before the commit, because
    /// the row of the event is locked from then on. Return `Ok` if the commit succeeded. If the handler returns an error after
    /// that, the event stays done. If it returns `Ok` but has not committed, the attempt has failed.
    ///
    /// # Errors
    ///
    /// [`InboxErrorKind::LeaseLost`] if this attempt no longer holds the event: do not commit.
    /// Otherwise the error of the database, for example that it has no inbox.
    ///
    /// # Example
    ///
    /// On PostgreSQL, use a `PgPool`.
    ///
    /// ```
    /// use number7_inbox::{AcceptedEvent, BoxError};
    /// use sqlx::{SqlitePool, query};
    ///
    /// async fn handle(accepted: AcceptedEvent, pool: SqlitePool) -> Result<(), BoxError> {
    ///     let mut transaction = accepted.begin(&pool).await?;
    ///     let invoice = query("INSERT INTO invoices (event) VALUES (?)").bind(accepted.key());
    ///     invoice.execute(&mut *transaction).await?;
    ///     accepted.finish_in(&mut transaction).await?;
    ///     Ok(transaction.commit().await?)
    /// }
    /// # _ = handle;
    /// ```
    pub async fn finish_in<DB: TransactionalStore>(
        &self,
        transaction: &mut Transaction<'_, DB>,
    ) -> Result<(), InboxError> {
        if self.claim.has_no_store() {
            return match self.claim.lost.is_cancelled() {
                true => Err(InboxErrorKind::LeaseLost.into()),
                false => Ok(()),
            };
        }
        // From now on only the store knows how the attempt ends.
        self.claim.set_in_transaction();
        let HeldClaim { worker, schema, event, number, .. } = &*self.claim;
        match DB::finish(transaction, schema, event.0, number.of_all, worker).await? {
            0 => {
                self.claim.leave_transaction();
                Err(InboxErrorKind::LeaseLost.into())
            }
            _ => Ok(()),
        }
    }
}
