//! One file, for one machine.

mod clock;
mod expected_jobs;
mod fair_lock;
mod file;
mod group;
mod inboxes;
mod migrations;
mod place;
#[cfg(test)]
mod tests;
mod watch;

use std::{
    collections::HashSet,
    path::Path,
    str::FromStr,
    sync::{Arc, Once},
    time::{Duration, SystemTime},
};

use futures_util::{
    FutureExt, TryFutureExt,
    future::{BoxFuture, ready},
};
use number7_core::Acceptance;
use serde_json::json;
use sqlx::{
    Column, FromRow, Row, Sqlite as Db, SqliteConnection, query,
    query::Query,
    query_as, query_scalar,
    sqlite::{SqliteArguments, SqliteConnectOptions},
};
use tokio::runtime::Handle;
use tracing::instrument::WithSubscriber;

use self::{
    clock::{Clock, NOTED_EVERY},
    file::{File, Making},
    group::{Group, Leader},
    inboxes::{Inbox, Inboxes},
};
use super::{
    Answer, Exchange, Exchanged, Listed, MINUTE, MOST_IN_A_MINUTE, NewEvent, PausedRow, PerMinute,
    STEP, Signer, Store, WaitingAccounts, in_time,
    sql::{self, ClaimRow, EntryRow, Place, StatsRow},
    transaction::{TransactionalStore, sealed::Finish},
};
use crate::model::{
    change::Change,
    claim::{ClaimId, EventId},
    end::End,
    entry::{Entry, State},
    error::{InboxError, InboxErrorKind},
    history::{History, LOST},
    options::Options,
    paused::{NewPause, Paused},
    stats::Stats,
    time::{millis, millis_of_time, of_millis, time_of_millis},
    wake::Wake,
    worker_status::{WorkerStatus, with_claims},
};

/// One of the statements of this store.
macro_rules! statement {
    ($name:literal) => {
        include_str!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/src/store/sqlite/statements/",
            $name,
            ".sql"
        ))
    };
}
use statement;

/// Claims events if the lease of the worker is not over, and the inbox is not paused: some that are begun at once, and the others
/// ahead of handlers. ?1 inbox, ?2 now, ?3 worker, ?4 lease
macro_rules! claim_statement {
    ($events:expr, $at_once:literal) => {
        concat!(
            "UPDATE number7_events
            SET state = 'running', attempt = attempt + 1, claimed_by = ?3, claimed_at = ?2,
                claimed_as = iif(state = 'quarantined', state, iif(place > ",
            $at_once,
            ", 'ahead', 'ready'))
            FROM (SELECT id, row_number() OVER () AS place FROM (",
            $events,
            ") WHERE EXISTS (SELECT 1 FROM number7_workers
                    WHERE name = ?3 AND inbox = ?1 AND last_seen >= ?2 - ?4)
                AND NOT EXISTS (SELECT 1 FROM number7_pauses
                    WHERE inbox = ?1 AND account = '' AND (until IS NULL OR until > ?2))) AS free
            WHERE number7_events.id = free.id
            RETURNING id, attempt, uncounted, runs, key, payload, errors, origin, signed_by, traceparent, tracestate,
                accepted_at, claimed_as = 'quarantined' AS is_quarantined;\n"
        )
    };
}
#[cfg(test)]
use claim_statement;

/// The accounts that are paused. ?1 inbox, ?2 now
macro_rules! paused_accounts {
    () => {
        "SELECT account FROM number7_pauses
            WHERE inbox = ?1 AND account > '' AND (until IS NULL OR until > ?2)"
    };
}
#[cfg(test)]
use paused_accounts;

/// The quarantined event that became due first and is of no account that is paused. ?1 inbox, ?2 now, ?5 what is wanted
macro_rules! first_quarantined {
    () => {
        concat!(
            "SELECT id FROM number7_events INDEXED BY number7_events_state
            WHERE inbox = ?1 AND state = 'quarantined' AND since <= ?2 AND account NOT IN (",
            paused_accounts!(),
            ") ORDER BY since, id LIMIT ?5 ->> 'quarantined'"
        )
    };
}
#[cfg(test)]
use first_quarantined;

/// Of some accounts, the events of each that became due first. ?1 inbox, ?2 now, ?5 what is wanted
macro_rules! first_of_accounts {
    () => {
        concat!(
            "SELECT events.id FROM json_each(?5, '$.accounts') AS waiting CROSS JOIN number7_events AS events
            WHERE events.id IN (SELECT id FROM number7_events INDEXED BY number7_events_ready_of_account
                WHERE inbox = ?1 AND state = 'ready' AND account = waiting.value AND since <= ?2
                    AND account NOT IN (",
            paused_accounts!(),
            ")
                ORDER BY since, id LIMIT ?5 ->> 'of_each')"
        )
    };
}
#[cfg(test)]
use first_of_accounts;

/// The ready events that became due first. None while accounts are paused: it might have to pass over many of theirs. ?1 inbox,
/// ?2 now, ?5 what is wanted
macro_rules! first_ready {
    () => {
        concat!(
            "SELECT id FROM number7_events INDEXED BY number7_events_state
            WHERE inbox = ?1 AND state = 'ready' AND since <= iif(EXISTS (",
            paused_accounts!(),
            "), NULL, ?2) ORDER BY since, id LIMIT (?5 ->> 'most') + (?5 ->> 'ahead') - changes()"
        )
    };
}
#[cfg(test)]
use first_ready;

/// All that a worker wants of its store, in one go: each statement for itself would be a switch between threads. ?5
/// is [what is wanted](wanted); ?6 and ?7 are those of finish.sql.
const EXCHANGE: &str = concat!(
    statement!("finish"),
    claim_statement!(
        concat!(
            "SELECT id FROM (SELECT id FROM (",
            first_quarantined!(),
            ") UNION ALL ",
            first_of_accounts!(),
            ") LIMIT (?5 ->> 'most') + (?5 ->> 'ahead')"
        ),
        "(?5 ->> 'most')"
    ),
    claim_statement!(first_ready!(), "(?5 ->> 'most') - changes()"),
    statement!("claimed"),
    "COMMIT"
);

const INSERT: &str = concat!(statement!("insert"), "COMMIT");

/// What was signed for them later.
macro_rules! with_conflicts {
    () => {
        "LEFT JOIN number7_conflicts ON event_id = id\n"
    };
}

const SHOW: &str =
    concat!(statement!("entries"), with_conflicts!(), "WHERE inbox = ?2 AND key = ?3");

/// The events of a state from after a place up to a time.
const LIST: &str = concat!(
    statement!("entries"),
    "INDEXED BY number7_events_state ",
    with_conflicts!(),
    "WHERE inbox = ?2 AND state = ?3 AND since <= ?4 AND (since, id) > (?5, ?6)
    ORDER BY since, id LIMIT ?7"
);

/// An event that was done long ago.
#[derive(FromRow)]
struct OldPayload {
    #[sqlx(flatten)]
    place: Place,
    has_payload: bool,
}

/// One inbox in one file. Its clones are the same.
#[derive(Clone)]
pub(crate) struct Sqlite {
    file: Arc<File>,
    inboxes: Arc<Inboxes>,
    inbox: Arc<Inbox>,
    is_watched: Arc<Once>,
}

impl Sqlite {
    pub(crate) async fn open(path: &Path, options: &Options) -> Result<Self, InboxError> {
        let connect = SqliteConnectOptions::new().filename(path);
        let connect = connect.create_if_missing(options.migrate);
        Self::open_by(connect, options, true, Clock::of_system()).await
    }

    /// On the file that a URL names, as sqlx reads it, except that it is made unless the URL says how to open
    /// it.
    pub(crate) async fn open_url(url: &str, options: &Options) -> Result<Self, InboxError> {
        Self::open_by(connect_options(url, options)?, options, true, Clock::of_system()).await
    }

    /// On the file that these options of a pool name.
    pub(crate) async fn open_with(
        connect: SqliteConnectOptions,
        options: &Options,
    ) -> Result<Self, InboxError> {
        Self::open_by(connect, options, false, Clock::of_system()).await
    }

    async fn open_by(
        connect: SqliteConnectOptions,
        options: &Options,
        is_own_file: bool,
        clock: Clock,
    ) -> Result<Self, InboxError> {
        let making = Making { is_wanted: options.migrate, is_own_file };
        let file = File::open(connect, making, clock).await?;
        let inboxes = Arc::new(Inboxes::default());
        let inbox = inboxes.get("");
        Ok(Self { file: Arc::new(file), inboxes, inbox, is_watched: Arc::new(Once::new()) })
    }

    /// The inbox of another name in the same file.
    fn of(&self, name: &str) -> Self {
        Self { inbox: self.inboxes.get(name), ..self.clone() }
    }

    /// Lets the workers hear of what other processes write.
    fn watch(&self) {
        if watch::CAN_WATCH {
            self.is_watched.call_once(|| watch::start(&self.file, &self.inboxes));
            self.inbox.wake.set_hears_others(true);
        }
    }

    /// The SQL of all migrations, for a DBA.
    pub(crate) fn migrations(_: &Options) -> String {
        migrations::sql()
    }

    /// Runs an operation on the driver: connections, and the order in which they are used, belong to no
    /// runtime that could be blocked, or end.
    fn run<'a, T: Send + 'static, F>(&self, operation: impl FnOnce(Self) -> F) -> Answer<'a, T>
    where
        F: Future<Output = Result<T, InboxError>> + Send + 'static,
    {
        let operation = in_time(operation(self.clone()));
        let driver = self.file.driver.clone();
        Box::pin(async move { driver.run(operation).await })
    }

    /// Runs one statement that changes rows, in a transaction of its own. Says how many.
    fn change_rows<'a>(
        &self,
        statement: impl FnOnce(&Self, i64) -> Query<'static, Db, SqliteArguments> + Send + 'static,
    ) -> Answer<'a, u64> {
        self.run(move |this| async move {
            let mut writing = this.file.begin().await?;
            let statement = statement(&this, writing.now);
            let changed = statement.execute(&mut *writing).await?.rows_affected();
            writing.commit().await?;
            Ok(changed)
        })
    }

    fn name(&self) -> String {
        self.inbox.name.to_string()
    }

    /// Stores what waits, until nothing does. Not a part of any caller's future: if one goes away,
    /// the others' events are stored all the same.
    async fn lead(self, mut leader: Leader) {
        while let Some(group) = leader.next() {
            match in_time(self.store(&group)).await {
                // One event of the group may be at fault, so each is tried alone, for as long as somebody
                // waits for it.
                Err(error) if !group.is_one() && is_about_an_event(&error) => {
                    for alone in group.split() {
                        if alone.is_wanted() {
                            let stored = in_time(self.store(&alone)).await;
                            alone.answer(stored);
                        }
                    }
                }
                stored => group.answer(stored),
            }
        }
    }

    /// Stores a group by one commit, and says what became of each event. Of those with one new key the first is new.
    async fn store(&self, group: &Group) -> Result<Vec<Acceptance>, InboxError> {
        let rows: serde_json::Value = group.events().map(row).collect();
        let writing = self.file.begin().await?;
        let insert = query(INSERT).bind(self.name()).bind(rows.to_string()).bind(writing.now);
        let keys = writing.end(insert).await?;
        let mut new_keys: HashSet<String> =
            keys.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
        let mut stored = Vec::with_capacity(group.events().count());
        for event in group.events() {
            stored.push(match new_keys.remove(&event.key) {
                true => Acceptance::New,
                false => self.keep_conflict(event).await?,
            });
        }
        Ok(stored)
    }

    /// Compares an event of a known key with the one that is stored.
    async fn keep_conflict(&self, event: &NewEvent) -> Result<Acceptance, InboxError> {
        let Some(Signer { name, signature }) = &event.signer else {
            return Ok(Acceptance::Duplicate);
        };
        let mut writing = self.file.begin().await?;
        let keep = query(statement!("keep_conflict")).bind(&*self.inbox.name).bind(&event.key);
        let keep = keep.bind(&*event.json).bind(name).bind(signature.to_string());
        let keep = keep.bind(writing.now).execute(&mut *writing).await?;
        writing.commit().await?;
        Ok(sql::acceptance_of_known(keep.rows_affected()))
    }

    /// Records ends, and claims.
    async fn record_and_claim(&self, wanted: Wanted) -> Result<Exchanged, InboxError> {
        let Wanted { worker, lease, ends, is_claim, claims } = wanted;
        let writing = self.file.begin().await?;
        let exchange = query(EXCHANGE).bind(self.name()).bind(writing.now).bind(worker);
        let exchange = exchange.bind(millis(lease)).bind(claims);
        let exchange = exchange.bind(ends.unwrap_or_else(|| "[]".into()));
        let exchange = exchange.bind(self.file.clock.finished_at());
        let mut exchanged = Exchanged::default();
        for row in writing.end(exchange).await? {
            match row.column(0).name() {
                "ended" => exchanged.ended.push(EventId(row.try_get(0)?)),
                "id" => exchanged.claims.push(ClaimRow::from_row(&row)?.into()),
                _ => {
                    let claimed = ClaimedRow::from_row(&row)?;
                    exchanged.is_lapsed = is_claim && !claimed.is_live;
                    exchanged.is_paused = is_claim && claimed.is_paused;
                    exchanged.has_paused_accounts = is_claim && claimed.has_paused_accounts;
                    let next =
                        if exchanged.is_paused { claimed.paused_until } else { claimed.next_due };
                    exchanged.next_in = next.map(|at| self.time_until(at));
                }
            }
        }
        Ok(exchanged)
    }

    /// What an exchange finds that has nothing to record, if there is nothing to claim either. It only reads: a worker
    /// that has nothing to do must not take the write lock.
    async fn find_nothing(
        &self,
        is_quarantined_wanted: bool,
    ) -> Result<Option<Exchanged>, InboxError> {
        let first = query_as(statement!("first_due")).bind(&*self.inbox.name);
        let first = first.bind(self.file.clock.millis());
        let first: FirstDueRow = first.fetch_one(&mut *self.file.reader().await?).await?;
        let quarantined = first.quarantined.filter(|_| is_quarantined_wanted);
        let next = match first.is_paused {
            true => first.paused_until,
            false => first.ready.into_iter().chain(quarantined).min(),
        };
        let next_in = next.map(|at| self.time_until(at));
        let FirstDueRow { is_paused, has_paused_accounts, .. } = first;
        let is_nothing = is_paused || next_in != Some(Duration::ZERO);
        let nothing =
            || Exchanged { next_in, is_paused, has_paused_accounts, ..Exchanged::default() };
        Ok(is_nothing.then(nothing))
    }

    /// How long a time is ahead, as the columns have it.
    fn time_until(&self, time: i64) -> Duration {
        let millis = time.saturating_sub(self.file.clock.millis());
        of_millis(millis)
    }
}

async fn forget_conflicts(
    events: &[i64],
    connection: &mut SqliteConnection,
) -> Result<(), InboxError> {
    if !events.is_empty() {
        let forget = query(statement!("forget_conflicts")).bind(json!(events).to_string());
        forget.execute(connection).await?;
    }
    Ok(())
}

/// When the first events that wait were or will be ready, and whether nobody may claim them.
#[derive(FromRow)]
struct FirstDueRow {
    ready: Option<i64>,
    quarantined: Option<i64>,
    is_paused: bool,
    has_paused_accounts: bool,
    paused_until: Option<i64>,
}

/// What an [`Exchange`] says, for another thread.
struct Wanted {
    worker: String,
    lease: Duration,
    /// The parameter of `finish.sql`.
    ends: Option<String>,
    /// Whether events are to be claimed, and what [`wanted`] makes of that.
    is_claim: bool,
    claims: String,
}

/// Reads a URL.
fn connect_options(url: &str, options: &Options) -> Result<SqliteConnectOptions, InboxError> {
    let params = url.split_once('?').map(|(_, params)| params).unwrap_or_default();
    for param in params.split('&') {
        let refused = match param {
            "mode=ro" => "mode=ro: an inbox has to write",
            "mode=memory" => "mode=memory: an inbox in memory survives no crash",
            "cache=shared" => "cache=shared: connections that share a cache lock each other out",
            "immutable=true" | "immutable=1" => "immutable: an inbox has to write",
            _ => continue,
        };
        let text = format!("the URL of an inbox cannot have {refused}");
        return Err(InboxError::new(InboxErrorKind::Invalid, text));
    }
    let connect = SqliteConnectOptions::from_str(url)
        .map_err(|error| InboxError::new(InboxErrorKind::Invalid, error))?;
    let says_how = params.split('&').any(|param| param.starts_with("mode="));
    Ok(if says_how { connect } else { connect.create_if_missing(options.migrate) })
}

fn is_about_an_event(error: &InboxError) -> bool {
    matches!(error.kind(), InboxErrorKind::Unstorable | InboxErrorKind::Full)
}

/// An event in the parameter of `insert.sql`.
fn row(event: &NewEvent) -> serde_json::Value {
    let (signer, trace) = (event.signer.as_ref(), event.trace.as_ref());
    json!([
        event.key,
        event.event,
        event.job,
        event.origin().name(),
        // It is UTF-8: a body of other bytes has no key.
        String::from_utf8_lossy(&event.json),
        signer.map(|signer| &signer.name),
        signer.map(|signer| signer.signature.to_string()),
        trace.map(|trace| &trace.parent),
        trace.map(|trace| &trace.state),
        event.account().unwrap_or_default(),
    ])
}

/// The parameter of `finish.sql`.
fn ends(ends: &[End]) -> String {
    let row = |end: &End| {
        let (state, after) = (end.outcome.state(), end.after());
        let delay = (state == State::Ready).then(|| millis(end.outcome.delay()));
        let errors = end.history.as_ref().map(History::json);
        let EventId(event) = end.event;
        json!([
            event,
            end.number.of_all,
            state.name(),
            after.of_all,
            after.uncounted,
            delay,
            errors
        ])
    };
    ends.iter().map(row).collect::<serde_json::Value>().to_string()
}

/// What an exchange is to claim: the parameter of [`EXCHANGE`].
fn wanted(exchange: Exchange<'_>) -> String {
    let Exchange { most, ahead, quarantined, accounts, of_each, .. } = exchange;
    let quarantined = u8::from(quarantined && most > 0);
    let wanted = json!({
        "quarantined": quarantined, "most": most, "ahead": ahead, "accounts": accounts, "of_each": of_each,
    });
    wanted.to_string()
}

/// The parameter of `release.sql`.
fn claims(claims: &[ClaimId]) -> String {
    let row = |claim: &ClaimId| json!([claim.event.0, claim.attempt]);
    claims.iter().map(row).collect::<serde_json::Value>().to_string()
}

/// What there is to know of an exchange beside its events.
#[derive(FromRow)]
struct ClaimedRow {
    is_live: bool,
    next_due: Option<i64>,
    is_paused: bool,
    has_paused_accounts: bool,
    paused_until: Option<i64>,
}

/// A claim that a worker holds.
#[derive(FromRow)]
struct HeldRow {
    id: i64,
    attempt: u32,
}

impl TransactionalStore for Db {}

impl Finish for Db {
    const BEGIN: &'static str = "BEGIN IMMEDIATE";

    fn finish<'a>(
        connection: &'a mut SqliteConnection,
        _: &'a str,
        event: i64,
        attempt: u32,
        worker: &'a str,
    ) -> BoxFuture<'a, Result<u64, sqlx::Error>> {
        Box::pin(async move {
            let finish = query(statement!("finish_in")).bind(event).bind(attempt);
            Ok(finish.bind(worker).execute(connection).await?.rows_affected())
        })
    }
}

impl Store for Sqlite {
    fn kind(&self) -> &'static str {
        "sqlite"
    }

    fn named(&self, inbox: &str) -> Arc<dyn Store> {
        Arc::new(self.of(inbox))
    }

    fn wake(&self) -> &Arc<Wake> {
        &self.inbox.wake
    }

    fn runtime(&self) -> Handle {
        self.file.driver.runtime().clone()
    }

    fn insert(&self, event: NewEvent) -> Answer<'_, Acceptance> {
        Box::pin(in_time(async move {
            let (stored, leader) = self.inbox.waiting.join(event);
            if let Some(leader) = leader {
                let lead = self.clone().lead(leader).with_current_subscriber();
                self.runtime().spawn(lead);
            }
            // The sender is dropped only when the driver ends.
            stored.await.unwrap_or_else(|_| Err(InboxErrorKind::Unreachable.into()))
        }))
    }

    fn exchange<'a>(&'a self, exchange: Exchange<'a>) -> Answer<'a, Exchanged> {
        let Exchange { worker, lease, most, ahead, quarantined, .. } = exchange;
        let ends = (!exchange.ends.is_empty()).then(|| ends(exchange.ends));
        let (worker, is_claim, claims) = (worker.to_owned(), most + ahead > 0, wanted(exchange));
        let wanted = Wanted { worker, lease, ends, is_claim, claims };
        self.run(move |this| async move {
            if wanted.ends.is_none()
                && let Some(nothing) = this.find_nothing(quarantined).await?
            {
                return Ok(nothing);
            }
            this.record_and_claim(wanted).await
        })
    }

    fn heartbeat<'a>(&'a self, worker: &'a str) -> Answer<'a, Vec<ClaimId>> {
        self.watch();
        let worker = worker.to_owned();
        self.run(move |this| async move {
            let mut writing = this.file.begin().await?;
            let renew = query(statement!("renew_lease")).bind(&worker).bind(&*this.inbox.name);
            renew.bind(writing.now).execute(&mut *writing).await?;
            let held =
                query_as(statement!("claims_of_worker")).bind(&worker).bind(&*this.inbox.name);
            let held: Vec<HeldRow> = held.fetch_all(&mut *writing).await?;
            writing.commit().await?;
            let claim = |row: HeldRow| ClaimId { event: EventId(row.id), attempt: row.attempt };
            Ok(held.into_iter().map(claim).collect())
        })
    }

    fn release<'a>(&'a self, worker: &'a str, claims: &'a [ClaimId]) -> Answer<'a, ()> {
        if claims.is_empty() {
            return Box::pin(ready(Ok(())));
        }
        let (worker, claims) = (worker.to_owned(), self::claims(claims));
        let release = move |_: &Self, _| query(statement!("release")).bind(worker).bind(claims);
        self.change_rows(release).map_ok(drop).boxed()
    }

    fn forget<'a>(&'a self, worker: &'a str) -> Answer<'a, ()> {
        let worker = worker.to_owned();
        let forget = move |_: &Self, _| query(statement!("forget_worker")).bind(worker);
        self.change_rows(forget).map_ok(drop).boxed()
    }

    fn rescue(&self, lease: Duration, quarantine_after: u32) -> Answer<'_, u64> {
        self.run(move |this| async move {
            let mut rescued = 0;
            loop {
                let mut writing = this.file.begin().await?;
                // All who live have heard of the time by then, and have renewed their leases.
                if !this.file.clock.is_even_for(lease.saturating_add(NOTED_EVERY)) {
                    writing.commit().await?;
                    return Ok(rescued);
                }
                let rescue = query(statement!("rescue")).bind(&*this.inbox.name).bind(writing.now);
                let rescue = rescue.bind(millis(lease)).bind(quarantine_after).bind(LOST);
                let step = rescue.bind(STEP).execute(&mut *writing).await?.rows_affected();
                writing.commit().await?;
                rescued += step;
                if step < u64::from(STEP) {
                    return Ok(rescued);
                }
            }
        })
    }

    fn sweep(&self, retention: Duration, of_dead: Option<Duration>) -> Answer<'_, u64> {
        self.run(move |this| async move {
            let mut writing = this.file.begin().await?;
            let Some(now) = this.file.clock.believed() else {
                writing.roll_back().await?;
                return Ok(0);
            };
            let mut swept = 0;
            for (state, retention) in [(State::Done, Some(retention)), (State::Dead, of_dead)] {
                let Some(retention) = retention else { continue };
                let sweep =
                    query_scalar(statement!("sweep")).bind(&*this.inbox.name).bind(state.name());
                let sweep = sweep.bind(now).bind(millis(retention)).bind(STEP);
                let ids: Vec<i64> = sweep.fetch_all(&mut *writing).await?;
                swept += ids.len() as u64;
                forget_conflicts(&ids, &mut writing).await?;
            }
            let forget = query(statement!("forget_workers")).bind(&*this.inbox.name).bind(now);
            forget.execute(&mut *writing).await?;
            writing.commit().await?;
            Ok(swept)
        })
    }

    fn forget_payloads<'a>(
        &'a self,
        retention: Duration,
        after: Option<&'a str>,
    ) -> Answer<'a, Option<String>> {
        let after = after.map(Place::read).transpose();
        self.run(move |this| async move {
            let Some(now) = this.file.clock.believed() else { return Ok(None) };
            let place = after?.unwrap_or(Place { time: i64::MIN, id: 0 });
            let old = query_as(statement!("old_payloads")).bind(&*this.inbox.name).bind(now);
            let old = old.bind(millis(retention)).bind(place.time).bind(place.id).bind(STEP);
            let old: Vec<OldPayload> = old.fetch_all(&mut *this.file.reader().await?).await?;
            let ids: Vec<_> =
                old.iter().filter(|old| old.has_payload).map(|old| old.place.id).collect();
            if !ids.is_empty() {
                let mut writing = this.file.begin().await?;
                let forget = query(statement!("forget_payloads")).bind(json!(ids).to_string());
                forget.execute(&mut *writing).await?;
                forget_conflicts(&ids, &mut writing).await?;
                writing.commit().await?;
            }
            let last = old.last().filter(|_| old.len() == STEP as usize);
            Ok(last.map(|old| old.place.text()))
        })
    }

    fn ping(&self) -> Answer<'_, ()> {
        self.run(|this| async move {
            // Takes the lock of those who write, and writes nothing.
            this.file.begin().await?.roll_back().await
        })
    }

    fn now(&self) -> Answer<'_, SystemTime> {
        Box::pin(ready(Ok(time_of_millis(self.file.clock.millis()))))
    }

    fn waiting_accounts<'a>(&'a self, from: &'a str) -> Answer<'a, WaitingAccounts> {
        let from = from.to_owned();
        self.run(|this| async move {
            let waiting = query_as(statement!("waiting_accounts")).bind(&*this.inbox.name);
            let waiting = waiting.bind(from).bind(this.file.clock.millis()).bind(STEP);
            let waiting = waiting.fetch_all(&mut *this.file.reader().await?).await?;
            Ok(sql::waiting_accounts(waiting))
        })
    }

    fn pause<'a>(&'a self, account: &'a str, pause: NewPause) -> Answer<'a, ()> {
        let (account, NewPause { by, why, length }) = (account.to_owned(), pause);
        let pause = move |this: &Self, now: i64| {
            let until = length.map(|length| now.saturating_add(millis(length)));
            let pause = query(statement!("pause")).bind(this.name()).bind(account);
            pause.bind(by).bind(why).bind(now).bind(until)
        };
        self.change_rows(pause).map_ok(drop).boxed()
    }

    fn resume<'a>(&'a self, account: &'a str) -> Answer<'a, bool> {
        let account = account.to_owned();
        let resume = |this: &Self, now| {
            query(statement!("resume")).bind(this.name()).bind(account).bind(now)
        };
        self.change_rows(resume).map_ok(|changed| changed > 0).boxed()
    }

    fn pauses(&self) -> Answer<'_, Vec<Paused>> {
        self.run(|this| async move {
            let pauses = query_as(statement!("pauses")).bind(&*this.inbox.name);
            let pauses = pauses.bind(this.file.clock.millis());
            let pauses: Vec<PausedRow> = pauses.fetch_all(&mut *this.file.reader().await?).await?;
            Ok(pauses.into_iter().map(Paused::from).collect())
        })
    }

    fn stats(&self) -> Answer<'_, Stats> {
        self.run(|this| async move {
            let (inbox, now) = (&*this.inbox.name, this.file.clock.millis());
            let mut reader = this.file.reader().await?;
            let stats = query_as(statement!("stats")).bind(inbox).bind(now);
            let stats: StatsRow = stats.fetch_one(&mut *reader).await?;
            let done = query_scalar(statement!("count_done")).bind(inbox).fetch_one(&mut *reader);
            Ok(stats.stats(this.inbox.done.get(done).await?))
        })
    }

    fn handled_per_minute(&self, first: i64) -> Answer<'_, PerMinute> {
        self.run(move |this| async move {
            let (mut reader, mut minutes) = (this.file.reader().await?, PerMinute::default());
            for (minute, start) in minutes.iter_mut().zip((first..).step_by(60_000)) {
                let count = query_scalar(statement!("handled")).bind(&*this.inbox.name);
                let count = count.bind(start).bind(start + MINUTE).bind(MOST_IN_A_MINUTE);
                let count: i64 = count.fetch_one(&mut *reader).await?;
                *minute = count.try_into().unwrap_or_default();
            }
            Ok(minutes)
        })
    }

    fn workers(&self) -> Answer<'_, Vec<WorkerStatus>> {
        self.run(|this| async move {
            let (inbox, now) = (&*this.inbox.name, this.file.clock.millis());
            let mut reader = this.file.reader().await?;
            let workers = query_as(statement!("workers")).bind(inbox).bind(now);
            let workers: Vec<(String, i64)> = workers.fetch_all(&mut *reader).await?;
            let claims = query_as(statement!("claims")).bind(inbox);
            let claims: Vec<(String, String)> = claims.fetch_all(&mut *reader).await?;
            let workers = workers.into_iter().map(|(name, seen)| (name, time_of_millis(seen)));
            Ok(with_claims(workers, claims))
        })
    }

    fn place_of(&self, time: SystemTime) -> String {
        Place { time: millis_of_time(time), id: 0 }.text()
    }

    fn list<'a>(&'a self, state: State, after: Option<&'a str>, most: u32) -> Answer<'a, Listed> {
        let (after, most) = (after.map(Place::read).transpose(), most.min(STEP));
        self.run(move |this| async move {
            let now = this.file.clock.millis();
            // What is scheduled comes after all that is ready.
            let (stored, first, until) = match state {
                State::Ready => (State::Ready, i64::MIN, now),
                State::Scheduled => (State::Ready, now, i64::MAX),
                other => (other, i64::MIN, i64::MAX),
            };
            let first = (first, i64::MAX);
            let (time, id) = after?.map_or(first, |place| first.max((place.time, place.id)));
            let list =
                query_as(LIST).bind(now).bind(&*this.inbox.name).bind(stored.name()).bind(until);
            let list = list.bind(time).bind(id).bind(most);
            let rows: Vec<EntryRow> = list.fetch_all(&mut *this.file.reader().await?).await?;
            Ok(sql::listed(rows, most))
        })
    }

    fn show<'a>(&'a self, key: &'a str) -> Answer<'a, Option<Entry>> {
        let key = key.to_owned();
        self.run(move |this| async move {
            let show =
                query_as(SHOW).bind(this.file.clock.millis()).bind(&*this.inbox.name).bind(key);
            let found: Option<EntryRow> =
                show.fetch_optional(&mut *this.file.reader().await?).await?;
            Ok(found.map(Entry::from))
        })
    }

    fn change<'a>(&'a self, keys: &'a [String], change: Change) -> Answer<'a, u64> {
        let keys = json!(keys).to_string();
        self.change_rows(move |this, now| {
            let (sql, last) = match change {
                Change::Requeue => (statement!("requeue"), Some(0)),
                Change::Rerun => (statement!("requeue"), Some(1)),
                Change::RunNow => (statement!("run_now"), None),
                Change::Discard => (statement!("discard"), Some(this.file.clock.finished_at())),
            };
            let changes = query(sql).bind(this.name()).bind(keys).bind(now).bind(change.note());
            match last {
                Some(last) => changes.bind(last).bind(change.of().name()),
                None => changes,
            }
        })
    }
}
