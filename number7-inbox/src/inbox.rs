mod account;
mod change;
mod opening;
mod secrets;
mod upload;

use std::{
    cmp::Reverse,
    fmt,
    future::poll_fn,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use number7_core::{Accept, Acceptance, Delivery, JobId, Record, Rejection, StoreFuture};
use tower_service::Service;

pub use self::{
    account::AccountInbox,
    change::{ChangeEvents, Changed},
    opening::InboxOptions,
    secrets::SecretUse,
    upload::ExpectedUpload,
};
use crate::{
    measure,
    model::{
        entry::{Entry, State},
        error::{InboxError, InboxErrorKind},
        expectation::{ExpectedJob, JobPlace},
        failure::Failure,
        options::{Options, Polling},
        overdue::{self, OverdueJob},
        page::{Cursor, Filter, Page},
        paused::{NewPause, Paused},
        stats::Stats,
        time::millis_of_time,
        worker_status::WorkerStatus,
    },
    store::{self, MINUTE, Store},
    worker::{Worker, accepted::AcceptedEvent},
};

/// How long a job can be expected: 10 years.
const LONGEST_EXPECTATION: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// The most events that a page passes over because the filter does not match them. There may be millions, and a
/// page must not take long.
const MOST_PASSED_OVER: u32 = 10_000;

/// How long the name of an inbox can be, in bytes.
const LONGEST_NAME: usize = 64;

/// Accepts verified events, stores them, and has workers that handle them.
///
/// It is cheap to clone; the clones share its connections. One line chooses its store:
/// `Inbox::sqlite`, `Inbox::postgres` or `Inbox::redis`.
#[derive(Clone)]
pub struct Inbox {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) name: Arc<str>,
    polling: Polling,
}

impl Inbox {
    pub(crate) fn on(store: Arc<dyn Store>, options: &Options) -> Self {
        Self { store, name: Arc::from(""), polling: options.polling }
    }

    #[cfg(test)]
    pub(crate) fn wake(&self) -> &crate::model::wake::Wake {
        self.store.wake()
    }

    /// The inbox of another name in the same store. For example, use one for each environment.
    ///
    /// Inboxes of different names share connections and nothing else: each has its own keys, events, workers and dead letters.
    /// The same name is the same inbox in every process. The inbox that you open has no name.
    ///
    /// # Errors
    ///
    /// [`InboxErrorKind::Invalid`] if the name is empty, longer than 64 bytes, or has other characters than ASCII
    /// letters, digits, `-`, `_` and `.`.
    pub fn named(&self, name: &str) -> Result<Self, InboxError> {
        if !Self::is_name(name) {
            let text = format!(
                "an inbox cannot be named {name:?}: a name has 1 to {LONGEST_NAME} ASCII letters, digits, -, _ or ."
            );
            return Err(InboxError::new(InboxErrorKind::Invalid, text));
        }
        Ok(Self { store: self.store.named(name), name: Arc::from(name), ..*self })
    }

    /// Whether an inbox can have this [name](Self::named).
    #[must_use]
    pub fn is_name(name: &str) -> bool {
        let is_good = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        (1..=LONGEST_NAME).contains(&name.len()) && name.bytes().all(is_good)
    }

    /// Accepts a delivery. Call it in a handler of your own, before you answer 200.
    ///
    /// # Errors
    ///
    /// A [`Rejection`]: 400 if the authentic body names no event, 503 if the event could not be stored. Return it with `?` from a
    /// handler whose error is `VerifiedRejection` in axum or `VerifiedError` in actix-web, and the sender gets the right status.
    ///
    /// # Example
    ///
    /// ```
    /// use number7_inbox::{Delivery, Inbox};
    /// use number7_tower::{Verified, VerifiedRejection};
    ///
    /// async fn webhook(inbox: Inbox, Verified(delivery): Verified<Delivery>) -> Result<(), VerifiedRejection> {
    ///     inbox.accept(&delivery).await?;
    ///     Ok(())
    /// }
    /// # _ = webhook;
    /// ```
    pub async fn accept(&self, delivery: &Delivery) -> Result<Acceptance, Rejection> {
        let inbox: &dyn Accept = self;
        inbox.accept(delivery).await
    }

    /// Accepts a delivery as an event of its own even if another event has its key; see [`Acceptance::Conflict`].
    ///
    /// # Errors
    ///
    /// Those of [`accept`](Self::accept).
    pub async fn accept_apart(&self, delivery: &Delivery) -> Result<Acceptance, Rejection> {
        let inbox: &dyn Accept = self;
        inbox.accept_apart(delivery).await
    }

    /// A worker that runs an async function for each accepted event.
    ///
    /// The function is called at least once for each. An error or a panic costs one attempt. With
    /// [`Failure`] it can also snooze an event, or fail it for good.
    ///
    /// # Example
    ///
    /// What the handler needs, such as the pool of its database, is cloned for each call:
    ///
    /// ```
    /// use number7_inbox::{AcceptedEvent, BoxError, Event, Inbox};
    /// use sqlx::SqlitePool;
    ///
    /// async fn work(inbox: &Inbox, pool: SqlitePool) {
    ///     let worker = inbox.worker(move |accepted| handle(pool.clone(), accepted));
    ///     worker.attempts(10).run_until(terminated()).await;
    /// }
    ///
    /// async fn handle(pool: SqlitePool, accepted: AcceptedEvent) -> Result<(), BoxError> {
    ///     if let Event::JobCompleted(job) = accepted.event()? {
    ///         let insert = sqlx::query("INSERT INTO documents (job) VALUES (?) ON CONFLICT DO NOTHING");
    ///         insert.bind(job.job_id.as_str()).execute(&pool).await?;
    ///     }
    ///     Ok(())
    /// }
    ///
    /// async fn terminated() {
    ///     _ = tokio::signal::ctrl_c().await;
    /// }
    /// # _ = work;
    /// ```
    // Not an `AsyncFn`: its future could borrow the pool, and stable Rust cannot require that it is `Send`.
    pub fn worker<H, F, E>(&self, handler: H) -> Worker
    where
        H: Fn(AcceptedEvent) -> F + Send + Sync + 'static,
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<Failure>,
    {
        let inbox = match &*self.name {
            "" => self.store.kind().to_owned(),
            name => format!("{}, {name}", self.store.kind()),
        };
        Worker::new(inbox, Arc::clone(&self.store), self.polling, handler)
    }

    /// A worker that calls a tower [`Service`] for each accepted event. Use it for what tower's layers offer, such as limits,
    /// retry budgets and error reports.
    ///
    /// Each event gets a clone of the service, which is called once it is ready. While an event waits for that, it
    /// is already claimed, and [`Worker::timeout`] includes the wait. So a limit below [`Worker::concurrency`]
    /// keeps events from other workers.
    ///
    /// Layers box errors, and a [`Failure`] is not an error. To snooze an event or to fail it for good behind a layer, return
    /// an error that has a [`RetryHint`](crate::RetryHint) among its sources.
    ///
    /// # Example
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use number7_inbox::{AcceptedEvent, BoxError, Inbox};
    /// use tower::{ServiceBuilder, service_fn};
    ///
    /// async fn work(inbox: &Inbox) {
    ///     let service = ServiceBuilder::new()
    ///         .concurrency_limit(4) // of calls to the bank, in all workers that share it
    ///         .timeout(Duration::from_secs(30))
    ///         .service(service_fn(handle));
    ///     inbox.worker_service(service).run().await;
    /// }
    ///
    /// async fn handle(accepted: AcceptedEvent) -> Result<(), BoxError> {
    ///     println!("{}", accepted.event()?.name());
    ///     Ok(())
    /// }
    /// # _ = work;
    /// ```
    pub fn worker_service<S>(&self, service: S) -> Worker
    where
        S: Service<AcceptedEvent, Response = (), Error: Into<Failure>, Future: Send>,
        S: Clone + Send + 'static,
    {
        // A service need not be `Sync`.
        let service = Mutex::new(service);
        self.worker(move |accepted| {
            let mut service = service.lock().unwrap_or_else(PoisonError::into_inner).clone();
            async move {
                poll_fn(|cx| service.poll_ready(cx)).await?;
                service.call(accepted).await
            }
        })
    }

    /// Counts the events in each state. It is cheap enough for every scrape of a monitoring system: it counts by an index.
    /// [`Stats::done`] says how old the count of finished events may be.
    ///
    /// With the feature `metrics` each call also sets the gauges of this inbox.
    ///
    /// # Errors
    ///
    /// The store failed.
    pub async fn stats(&self) -> Result<Stats, InboxError> {
        let stats = self.store.stats().await?;
        measure::stats(&self.name, &stats);
        Ok(stats)
    }

    /// How many events became done or dead in each of the last 15 full minutes, the oldest minute first. Minutes are those of
    /// the store's clock, so there are new numbers once a minute.
    ///
    /// An event that is ready again or forgotten no longer counts. A discarded dead letter counts when it was discarded. SQLite
    /// and PostgreSQL count at most 10,000 done and 10,000 dead events in a minute, so that the call stays fast. There, 10,000
    /// or more means "at least that many".
    ///
    /// # Errors
    ///
    /// The store failed.
    pub async fn handled_per_minute(&self) -> Result<[u64; 15], InboxError> {
        let now = millis_of_time(self.store.now().await?);
        self.store.handled_per_minute(now - now % MINUTE - 15 * MINUTE).await
    }

    /// The workers of this inbox that renewed their lease in the last 30 seconds, in every process, and what they run. They are
    /// those that [`Stats::workers`] counts. The oldest heartbeat is last.
    ///
    /// A worker that has just died is still listed, and its events are not rescued before its lease is over. The call is cheap:
    /// by an index, it reads only the events that are running.
    ///
    /// # Errors
    ///
    /// The store failed.
    ///
    /// # Example
    ///
    /// ```
    /// use number7_inbox::{Inbox, InboxError};
    ///
    /// async fn print_workers(inbox: &Inbox) -> Result<(), InboxError> {
    ///     for worker in inbox.workers().await? {
    ///         println!("{} runs {} events: {:?}", worker.name(), worker.claimed(), worker.running());
    ///     }
    ///     Ok(())
    /// }
    /// # _ = print_workers;
    /// ```
    pub async fn workers(&self) -> Result<Vec<WorkerStatus>, InboxError> {
        let mut workers = self.store.workers().await?;
        workers.sort_by(|one, other| {
            (Reverse(one.last_heartbeat), &one.name)
                .cmp(&(Reverse(other.last_heartbeat), &other.name))
        });
        Ok(workers)
    }

    /// Whether the inbox can accept events, for a health check: the store can be reached, and takes
    /// writes. It writes nothing.
    ///
    /// # Errors
    ///
    /// The store failed, or is read-only.
    pub async fn ping(&self) -> Result<(), InboxError> {
        self.store.ping().await
    }

    /// Lists the events in a state, the oldest first: at most `limit`, beginning after a cursor.
    ///
    /// No event that stays in the state is left out. A page ends early after about 10,000 events that the filter
    /// does not match, and the next page continues there. So a short page does not mean the end of the list, only a
    /// [`Page::next`] of `None` does.
    ///
    /// # Errors
    ///
    /// The store failed, the cursor is not from this list, or the limit is zero.
    ///
    /// # Example
    ///
    /// ```
    /// use number7_inbox::{Filter, Inbox, InboxError, State};
    ///
    /// async fn print_dead_letters(inbox: &Inbox) -> Result<(), InboxError> {
    ///     let (filter, mut cursor) = (Filter::new().event("job.failed"), None);
    ///     loop {
    ///         let page = inbox.list(State::Dead, &filter, cursor.as_ref(), 100).await?;
    ///         for dead in page.entries {
    ///             println!("{} after {} attempts: {}", dead.key(), dead.attempts(), dead.error());
    ///         }
    ///         cursor = page.next;
    ///         if cursor.is_none() {
    ///             return Ok(());
    ///         }
    ///     }
    /// }
    /// # _ = print_dead_letters;
    /// ```
    pub async fn list(
        &self,
        state: State,
        filter: &Filter,
        after: Option<&Cursor>,
        limit: u32,
    ) -> Result<Page, InboxError> {
        self.list_passing(state, filter, after, limit, MOST_PASSED_OVER).await
    }

    /// Like [`list`](Self::list), but a page passes over at most `most` events, in steps of 500.
    pub(crate) async fn list_passing(
        &self,
        state: State,
        filter: &Filter,
        after: Option<&Cursor>,
        limit: u32,
        most: u32,
    ) -> Result<Page, InboxError> {
        refuse_zero(limit)?;
        let store = &self.store;
        let mut after = match after {
            Some(cursor) => Some(cursor.place(state.name())?.to_owned()),
            None => filter.begins_at().map(|time| store.place_of(time)),
        };
        let (mut entries, mut examined) = (Vec::<Entry>::new(), 0);
        loop {
            // One more, to know whether there is a next page.
            let wanted = limit.saturating_add(1).saturating_sub(count(&entries));
            let at_once = if filter.takes_all() { wanted.min(store::STEP) } else { store::STEP };
            let (found, next) = store.list(state, after.as_deref(), at_once).await?;
            let is_over = found.last().is_some_and(|entry| filter.ends_before(entry));
            for entry in found.into_iter().filter(|entry| filter.takes(entry)) {
                if entries.len() == limit as usize {
                    let next = entries.last().map(|entry| Cursor::new(state.name(), &entry.place));
                    return Ok(Page { entries, next });
                }
                entries.push(entry);
            }
            after = next.filter(|_| !is_over);
            let Some(place) = &after else { return Ok(Page { entries, next: None }) };
            examined += at_once;
            if examined - count(&entries) >= most {
                let next = Some(Cursor::new(state.name(), place));
                return Ok(Page { entries, next });
            }
        }
    }

    /// The event with a [key](Entry::key), in any state. `None` if no such event is known.
    ///
    /// # Errors
    ///
    /// The store failed.
    pub async fn show(&self, key: &str) -> Result<Option<Entry>, InboxError> {
        self.store.show(key).await
    }

    /// The time by the store's clock, as all times of events are. Use it, for example, to filter for what was
    /// finished in the last hour.
    ///
    /// # Errors
    ///
    /// The store failed.
    pub async fn now(&self) -> Result<SystemTime, InboxError> {
        self.store.now().await
    }

    /// Pauses this inbox: from now on its workers claim nothing, in every process, and finish what they run. The inbox
    /// still accepts events. The pause lasts until [`resume`](Self::resume) is called or, if you give a length, until that
    /// time is over. A restart does not end it. If the inbox is already paused, the new pause replaces the old one.
    ///
    /// `by` and `why` tell other people what is going on: [`paused`](Self::paused) returns them, and each worker logs them
    /// once. To pause a single worker, use [`Worker::pause`], or return [`Failure::pause_worker`] from a handler.
    ///
    /// # Errors
    ///
    /// The store failed, one of the strings has a NUL or more than 255 bytes, or the length is zero.
    ///
    /// # Example
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use number7_inbox::{Inbox, InboxError};
    ///
    /// async fn move_the_database(inbox: &Inbox) -> Result<(), InboxError> {
    ///     let hour = Duration::from_secs(60 * 60);
    ///     inbox.pause("ops", "the invoice database is being moved", Some(hour)).await?;
    ///     // …
    ///     inbox.resume().await.map(drop)
    /// }
    /// # _ = move_the_database;
    /// ```
    pub async fn pause(
        &self,
        by: &str,
        why: &str,
        length: Option<Duration>,
    ) -> Result<(), InboxError> {
        self.store.pause("", NewPause::new(by, why, length)?).await
    }

    /// Ends a [pause](Self::pause): the workers go on at once. False if there is none.
    ///
    /// # Errors
    ///
    /// The store failed.
    pub async fn resume(&self) -> Result<bool, InboxError> {
        let is_resumed = self.store.resume("").await?;
        self.store.announce();
        Ok(is_resumed)
    }

    /// The [pause](Self::pause) of this inbox. `None` if there is none, or it is over.
    ///
    /// # Errors
    ///
    /// The store failed.
    pub async fn paused(&self) -> Result<Option<Paused>, InboxError> {
        let pauses = self.store.pauses().await?;
        Ok(pauses.into_iter().find(|paused| paused.account.is_none()))
    }

    /// All pauses that are not over: that of this inbox, and those of its [accounts](AccountInbox::pause).
    ///
    /// # Errors
    ///
    /// The store failed.
    pub async fn pauses(&self) -> Result<Vec<Paused>, InboxError> {
        self.store.pauses().await
    }

    /// Expects a result of a job: if no `job.completed` or `job.failed` of it is accepted within this time, the job is
    /// [overdue](Self::overdue). Call it when your app uploads a document.
    ///
    /// The vendor retries a webhook three times, and is silent forever after that. So a receiver that was down for longer
    /// misses events. An expected job is not missed: when it is overdue, a worker logs a `WARN` once (or not at all, if it ends
    /// at that moment), and [fetches](Worker::reconcile) its result if you set that. For the time before the job is known, use
    /// [`expect_upload`](Self::expect_upload).
    ///
    /// It is one durable write. If the job is expected already, nothing changes, and the time of the first call counts. An
    /// event that was accepted before also settles the job, for as long as its key is known. Jobs are looked up every hour, so
    /// the retention of the workers must be at least an hour. The time is at most 10 years.
    ///
    /// # Errors
    ///
    /// The store failed, or the id is empty, has a NUL, or begins with `upload:` or `account:`.
    ///
    /// # Example
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use number7_inbox::{Inbox, InboxError};
    ///
    /// async fn uploaded(inbox: &Inbox, job_id: &str) -> Result<(), InboxError> {
    ///     inbox.expect_job(job_id, Duration::from_secs(30 * 60)).await
    /// }
    /// # _ = uploaded;
    /// ```
    pub async fn expect_job(
        &self,
        job_id: impl Into<JobId>,
        within: Duration,
    ) -> Result<(), InboxError> {
        self.expect(ExpectedJob::new(None, &job_id.into())?, within).await
    }

    async fn expect(&self, job: ExpectedJob, within: Duration) -> Result<(), InboxError> {
        self.store.expect_job(job, within.min(LONGEST_EXPECTATION)).await?;
        self.store.wake().expectations_changed();
        Ok(())
    }

    /// Stops expecting a job, for example because it was cancelled. False if it was not expected, or if a
    /// look-up has already found it settled. Jobs of [accounts](Self::account) stay expected.
    ///
    /// # Errors
    ///
    /// Those of [`expect_job`](Self::expect_job).
    pub async fn cancel_expectation(&self, job_id: impl Into<JobId>) -> Result<bool, InboxError> {
        let expected = ExpectedJob::new(None, &job_id.into())?;
        self.store.cancel_expectation(&expected.job).await
    }

    /// Lists the jobs that are overdue, the oldest first: at most `limit`, beginning after a cursor.
    ///
    /// Workers in any process mark jobs as overdue. While none runs, no job becomes overdue.
    ///
    /// # Errors
    ///
    /// The store failed, the cursor is not from this list, or the limit is zero.
    pub async fn overdue(
        &self,
        after: Option<&Cursor>,
        limit: u32,
    ) -> Result<Page<OverdueJob>, InboxError> {
        refuse_zero(limit)?;
        let store = &self.store;
        let mut after = after.map(overdue::place).transpose()?;
        let mut entries: Vec<OverdueJob> = Vec::new();
        loop {
            // One more, to know whether there is a next page.
            let at_once = limit.saturating_add(1).saturating_sub(count(&entries)).min(store::STEP);
            let rows = store.overdue(after, at_once).await?;
            let is_last = count(&rows) < at_once;
            after = rows.last().map(|row| JobPlace { due: row.due, job: row.job.clone() });
            entries.extend(rows.into_iter().map(OverdueJob::new));
            let is_more = count(&entries) > limit;
            if is_more || is_last {
                entries.truncate(limit as usize);
                let next = entries.last().filter(|_| is_more).map(OverdueJob::cursor);
                return Ok(Page { entries, next });
            }
        }
    }
}

fn refuse_zero(limit: u32) -> Result<(), InboxError> {
    match limit {
        0 => Err(InboxError::new(InboxErrorKind::Invalid, "a page must have at least one entry")),
        _ => Ok(()),
    }
}

/// The length of a list, which never exceeds a limit.
fn count<T>(of: &[T]) -> u32 {
    of.len().try_into().unwrap_or(u32::MAX)
}

/// Accepting is one write. It is durable when it is confirmed, or fails within [`STORE_TIMEOUT`](crate::STORE_TIMEOUT).
impl Accept for Inbox {
    fn store(&self, record: Record) -> StoreFuture<'_> {
        Box::pin(async move {
            let waiting = Waiting { begun: Instant::now(), is_answered: false };
            let key = record.key().to_owned();
            let stored = self.store.insert(record.into()).await;
            waiting.end(&stored);
            match stored {
                Ok(Acceptance::New) => self.store.announce(),
                Ok(Acceptance::Conflict) => {
                    tracing::warn!(
                        target: "number7", key,
                        "an event was signed again with other bytes, which are kept with it and not handled: `show` has both"
                    );
                    // A worker may have passed over the event while the store looked at it.
                    self.store.announce();
                }
                _ => {}
            }
            Ok(stored?)
        })
    }
}

/// An acceptance that waits for its store. If it is dropped before the store answers, only `drop` can count and log that.
struct Waiting {
    begun: Instant,
    is_answered: bool,
}

impl Waiting {
    fn end(mut self, stored: &Result<Acceptance, InboxError>) {
        self.is_answered = true;
        let outcome = match stored {
            Ok(acceptance) => acceptance.name(),
            Err(_) => "failed",
        };
        measure::acceptance(outcome, self.begun.elapsed());
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if !self.is_answered {
            let took = self.begun.elapsed();
            measure::acceptance("abandoned", took);
            tracing::warn!(
                target: "number7", ?took,
                "an acceptance is abandoned before the store has answered: the sender went away, or its \
                timeout has passed"
            );
        }
    }
}

impl fmt::Debug for Inbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbox")
            .field("store", &self.store.kind())
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
