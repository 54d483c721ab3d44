//! One server, for several machines.

mod connections;
mod expectations;
mod fault;
mod front;
mod migrations;
mod notify;
mod opening;
mod session;
mod statements;

use std::{
    future::ready,
    sync::Arc,
    time::{Duration, SystemTime},
};

use futures_util::{
    FutureExt,
    future::{BoxFuture, try_join},
};
use number7_core::Acceptance;
use sqlx::{
    AssertSqlSafe, FromRow, PgConnection, Postgres as Db, Row,
    postgres::{PgArguments, PgConnectOptions, PgRow},
    query,
    query::Query,
};
use tokio::{runtime::Handle, time::Instant};

use self::{
    connections::{Connections, Server},
    front::Front,
    notify::Notifications,
    statements::{Statements, in_schema},
};
use super::{
    Answer, Exchange, Exchanged, Listed, MOST_IN_A_MINUTE, NewEvent, PausedRow, PerMinute, STEP,
    Store, WaitingAccounts,
    driver::Driver,
    sql::{self, Place},
    transaction::{TransactionalStore, sealed::Finish},
    wakes::Wakes,
};
use crate::model::{
    change::Change,
    claim::{Claim, ClaimId, EventId},
    end::End,
    entry::{Entry, State},
    error::{InboxError, InboxErrorKind},
    history::{History, LOST},
    options::Options,
    paused::{NewPause, Paused},
    stats::Stats,
    time::{millis_of_time, of_micros, time_of_millis},
    wake::Wake,
    worker_status::{MOST_NAMED, WorkerStatus},
};

/// How many connections workers have to claim and record events: one for claims, one for ends, and one that meanwhile releases
/// what a dead worker held.
const WORKING: u32 = 3;

/// With this many ends and claims, an exchange uses one statement for the ends and one for the claims, so that two processors
/// of the server can work on it.
const MANY: usize = 32;

/// How many connections renew leases: two, so that a renewal that waits for a lock holds up no other. They do nothing else, so
/// a lease is renewed in time even if many workers look for events.
const RENEWING: u32 = 2;

/// How much earlier the server may say that an insert began than it was sent: 1 second.
const SLACK: Duration = Duration::from_secs(1);

/// One inbox on one server.
#[derive(Clone)]
pub(crate) struct Postgres {
    /// For acceptance, operators and expected jobs.
    accepting: Connections,
    /// For workers, so that they continue however many accept.
    working: Connections,
    renewing: Connections,
    driver: Driver,
    schema: Arc<str>,
    statements: Arc<Statements>,
    inbox: Arc<str>,
    front: Arc<Front>,
    done: Arc<sql::Counted>,
    wake: Arc<Wake>,
    wakes: Arc<Wakes>,
    notifications: Arc<Notifications>,
    /// How to listen for notifications. `None` if a pooler in transaction mode is in front of the server, because it forgets
    /// who listens, or if the server is to sleep.
    listen: Option<PgConnectOptions>,
}

impl Postgres {
    pub(crate) async fn open(url: &str, options: &Options) -> Result<Self, InboxError> {
        Self::open_with(connect_options(url)?, options).await
    }

    /// Opens it on the database that these options name.
    pub(crate) async fn open_with(
        connect: PgConnectOptions,
        options: &Options,
    ) -> Result<Self, InboxError> {
        let driver = Driver::start()?;
        let (opened, wanted) = (connect.clone(), options.clone());
        let is_pooled = driver.run(async move { opening::open(&opened, &wanted).await }).await?;
        // A session that listens is lost when the server goes to sleep, and opening another one would wake the server.
        let listens = !is_pooled && options.polling.sleep_after.is_none();
        let listen = listens.then(|| connect.clone());
        let server = Arc::new(Server::new(connect, is_pooled, options));
        let (schema, inbox, wakes) =
            (Arc::<str>::from(&*options.schema), Arc::from(""), Arc::<Wakes>::default());
        let notifications = Notifications::new(Arc::clone(&schema), Arc::clone(&wakes));
        let connections = |most| Connections::new(&driver, &server, most);
        Ok(Self {
            accepting: connections(options.connections),
            working: connections(WORKING),
            renewing: connections(RENEWING),
            schema,
            statements: Arc::new(Statements::new(&options.schema)),
            wake: wakes.get(&inbox),
            wakes,
            inbox,
            front: Arc::default(),
            done: Arc::default(),
            notifications: Arc::new(notifications),
            listen,
            driver,
        })
    }

    /// The SQL of all migrations, for a DBA.
    pub(crate) fn migrations(options: &Options) -> String {
        migrations::print(&options.schema)
    }
}

/// Reads a URL. The error quotes none of it, because a password that is not encoded may be taken for another part.
fn connect_options(url: &str) -> Result<PgConnectOptions, InboxError> {
    url.parse().map_err(|error: sqlx::Error| {
        let text: Vec<_> = error.to_string().split('"').step_by(2).map(str::to_owned).collect();
        InboxError::new(InboxErrorKind::Refused, text.join("…"))
    })
}

impl TransactionalStore for Db {}

impl Finish for Db {
    const BEGIN: &'static str = "BEGIN";

    fn finish<'a>(
        connection: &'a mut PgConnection,
        schema: &'a str,
        event: i64,
        attempt: u32,
        worker: &'a str,
    ) -> BoxFuture<'a, Result<u64, sqlx::Error>> {
        let finish = AssertSqlSafe(in_schema(include_str!("postgres/sql/finish.sql"), schema));
        // Not prepared: the session is the handler's, and the plan might be from when the table was empty.
        let finish = query(finish).persistent(false);
        let finish = finish.bind(event).bind(count(attempt)).bind(worker);
        Box::pin(finish.execute(connection).map(|done| Ok(done?.rows_affected())))
    }
}

impl Store for Postgres {
    fn kind(&self) -> &'static str {
        "postgres"
    }

    fn named(&self, inbox: &str) -> Arc<dyn Store> {
        let (front, done, inbox) = (Arc::default(), Arc::default(), Arc::from(inbox));
        let wake = self.wakes.get(&inbox);
        Arc::new(Self { inbox, front, done, wake, ..self.clone() })
    }

    fn schema(&self) -> Arc<str> {
        Arc::clone(&self.schema)
    }

    fn wake(&self) -> &Arc<Wake> {
        &self.wake
    }

    fn announce(&self) {
        self.wake.events_are_ready();
        self.wakes.announce(&self.inbox);
        self.notifications.tell(&self.accepting, &self.driver);
    }

    fn runtime(&self) -> Handle {
        self.driver.runtime().clone()
    }

    fn insert(&self, event: NewEvent) -> Answer<'_, Acceptance> {
        let sent = Instant::now();
        let origin = event.origin().name();
        let account = event.account().unwrap_or_default().to_owned();
        let NewEvent { key, event, job, json, signer, trace } = event;
        let insert = query(self.statements.insert.clone()).bind(&*self.inbox).bind(&key);
        let insert = insert.bind(event).bind(job).bind(&*json).bind(origin);
        let signature = signer.as_ref().map(|signer| signer.signature.to_string());
        let insert = insert.bind(signer.as_ref().map(|signer| &signer.name));
        let insert = insert.bind(signature);
        let (parent, state) = trace.map(|trace| (trace.parent, trace.state)).unzip();
        let insert = insert.bind(parent).bind(state).bind(account);
        Box::pin(async move {
            let inserted = self.accepting.run(insert, true).await?;
            let mut is_new = inserted.affected > 0;
            if !is_new && inserted.is_repeated {
                let since = (sent.elapsed() + SLACK).as_secs_f64();
                let check = query(self.statements.is_new.clone()).bind(&*self.inbox);
                (is_new,) = self.accepting.fetch_one(check.bind(&key).bind(since)).await?;
            }
            let Some(signer) = signer.filter(|_| !is_new) else {
                return Ok(if is_new { Acceptance::New } else { Acceptance::Duplicate });
            };
            let keep = query(self.statements.keep_conflict.clone()).bind(&*self.inbox).bind(key);
            let keep = keep.bind(&*json).bind(signer.name).bind(signer.signature.to_string());
            Ok(sql::acceptance_of_known(self.accepting.execute(keep).await?))
        })
    }

    fn exchange<'a>(&'a self, exchange: Exchange<'a>) -> Answer<'a, Exchanged> {
        Box::pin(async move {
            let most = exchange.most + exchange.ahead;
            let is_claim = most > 0;
            let start = is_claim.then(|| self.front.start());
            let after = start.and_then(|start| start.after);
            let parts = match exchange.ends.len() >= MANY && most >= MANY {
                true => self.exchange_apart(exchange, after).await?,
                false => self.working.fetch_all_once(self.query_of(exchange, after)).await?,
            };
            let (mut exchanged, mut last, mut paused_for) = (Exchanged::default(), None, None);
            for part in parts {
                match part {
                    Part::Claimed { claim, due_at } => {
                        let id = claim.event.0;
                        last = last.max(due_at.map(|time| Place { time, id }));
                        exchanged.claims.push(*claim);
                    }
                    Part::Ended(event) => exchanged.ended.push(event),
                    Part::Locked(event) => exchanged.locked.push(event),
                    Part::Lapsed => exchanged.is_lapsed = true,
                    Part::Next(next_in) => exchanged.next_in = Some(next_in),
                    Part::AccountsPaused => exchanged.has_paused_accounts = true,
                    Part::Paused(ends_in) => {
                        exchanged.is_paused = true;
                        paused_for = ends_in;
                    }
                }
            }
            if exchanged.is_paused {
                return Ok(Exchanged { next_in: paused_for, ..exchanged });
            }
            if let Some(start) = start {
                let is_all = exchanged.claims.len() < most
                    && !exchanged.is_lapsed
                    && !exchanged.has_paused_accounts;
                self.front.end(start, last, is_all);
                if is_all && after.is_some() {
                    // What became ready before that place is found by the next claim from the oldest event on.
                    let next = self.front.next_round_in();
                    exchanged.next_in =
                        Some(exchanged.next_in.map_or(next, |other| other.min(next)));
                }
            }
            Ok(exchanged)
        })
    }

    fn heartbeat<'a>(&'a self, worker: &'a str) -> Answer<'a, Vec<ClaimId>> {
        if let Some(connect) = &self.listen {
            self.notifications.listen(connect, &self.accepting, &self.driver);
        }
        let heartbeat = query(self.statements.heartbeat.clone()).bind(worker).bind(&*self.inbox);
        let held = self.renewing.fetch_all::<HeldRow>(heartbeat);
        Box::pin(held.map(|rows| Ok(rows?.into_iter().map(ClaimId::from).collect())))
    }

    fn release<'a>(&'a self, worker: &'a str, claims: &'a [ClaimId]) -> Answer<'a, ()> {
        if claims.is_empty() {
            return Box::pin(ready(Ok(())));
        }
        let (events, attempts): (Vec<_>, Vec<_>) =
            claims.iter().map(|claim| (claim.event.0, count(claim.attempt))).unzip();
        let release = query(self.statements.release.clone()).bind(worker);
        let release = self.working.execute(release.bind(events).bind(attempts));
        Box::pin(release.map(|done| done.map(|_| self.front.start_anew())))
    }

    fn forget<'a>(&'a self, worker: &'a str) -> Answer<'a, ()> {
        let forget = query(self.statements.forget.clone()).bind(worker).bind(&*self.inbox);
        Box::pin(self.working.execute(forget).map(|done| done.map(drop)))
    }

    fn rescue(&self, lease: Duration, quarantine_after: u32) -> Answer<'_, u64> {
        Box::pin(async move {
            let mut rescued = 0;
            loop {
                let rescue = query(self.statements.rescue.clone()).bind(&*self.inbox);
                let rescue = rescue.bind(lease.as_secs_f64()).bind(count(quarantine_after));
                // If the answer were lost, the rescued events would be missing in the log.
                let rescue = rescue.bind(LOST).bind(i64::from(STEP));
                let step = self.working.execute_once(rescue).await?;
                rescued += step;
                if step < u64::from(STEP) {
                    self.front.start_anew();
                    return Ok(rescued);
                }
            }
        })
    }

    fn sweep(&self, retention: Duration, of_dead: Option<Duration>) -> Answer<'_, u64> {
        Box::pin(async move {
            let (mut swept, most) = (0, i64::from(STEP));
            for (state, retention) in [("done", Some(retention)), ("dead", of_dead)] {
                let Some(retention) = retention else { continue };
                let sweep = query(self.statements.sweep.clone()).bind(&*self.inbox).bind(state);
                let sweep = sweep.bind(seconds(retention)).bind(most);
                swept += self.working.execute(sweep).await?;
            }
            let forget = query(self.statements.forget_old.clone()).bind(&*self.inbox).bind(most);
            self.working.execute(forget).await?;
            Ok(swept)
        })
    }

    fn forget_payloads<'a>(
        &'a self,
        retention: Duration,
        after: Option<&'a str>,
    ) -> Answer<'a, Option<String>> {
        Box::pin(async move {
            let after = after.map(Place::read).transpose()?;
            let forget = query(self.statements.forget_payloads.clone()).bind(&*self.inbox);
            let forget = forget.bind(seconds(retention)).bind(after.map(|place| place.time));
            let forget = forget.bind(after.map_or(0, |place| place.id)).bind(i64::from(STEP));
            let last: Vec<Place> = self.working.fetch_all(forget).await?;
            Ok(last.first().map(|place| place.text()))
        })
    }

    fn ping(&self) -> Answer<'_, ()> {
        let ping = query(self.statements.ping.clone());
        Box::pin(self.accepting.execute(ping).map(|done| done.map(drop)))
    }

    fn now(&self) -> Answer<'_, SystemTime> {
        let now = self.accepting.fetch_one::<(i64,)>(query(self.statements.now.clone()));
        Box::pin(now.map(|now| Ok(time_of_millis(now?.0))))
    }

    fn waiting_accounts<'a>(&'a self, from: &'a str) -> Answer<'a, WaitingAccounts> {
        Box::pin(async move {
            let waiting = query(self.statements.waiting_accounts.clone()).bind(&*self.inbox);
            let waiting = waiting.bind(from).bind(i64::from(STEP));
            Ok(sql::waiting_accounts(self.working.fetch_all_once(waiting).await?))
        })
    }

    fn pause<'a>(&'a self, account: &'a str, pause: NewPause) -> Answer<'a, ()> {
        let NewPause { by, why, length } = pause;
        let pause = query(self.statements.pause.clone()).bind(&*self.inbox).bind(account);
        let pause = pause.bind(by).bind(why).bind(length.map(|length| length.as_secs_f64()));
        Box::pin(self.accepting.execute(pause).map(|done| done.map(drop)))
    }

    fn resume<'a>(&'a self, account: &'a str) -> Answer<'a, bool> {
        Box::pin(async move {
            let resume = query(self.statements.resume.clone()).bind(&*self.inbox).bind(account);
            let ended: Vec<(i64,)> = self.accepting.fetch_all_once(resume).await?;
            Ok(ended.first().is_some_and(|(ended,)| *ended > 0))
        })
    }

    fn pauses(&self) -> Answer<'_, Vec<Paused>> {
        let pauses = query(self.statements.pauses.clone()).bind(&*self.inbox);
        let pauses = self.accepting.fetch_all::<PausedRow>(pauses);
        Box::pin(pauses.map(|rows| Ok(rows?.into_iter().map(Paused::from).collect())))
    }

    fn stats(&self) -> Answer<'_, Stats> {
        Box::pin(async move {
            let stats = query(self.statements.stats.clone()).bind(&*self.inbox);
            let stats: sql::StatsRow = self.accepting.fetch_one(stats).await?;
            let done = async {
                let done = query(self.statements.count_done.clone()).bind(&*self.inbox);
                Ok::<_, InboxError>(self.accepting.fetch_one::<(i64,)>(done).await?.0)
            };
            Ok(stats.stats(self.done.get(done).await?))
        })
    }

    fn handled_per_minute(&self, first: i64) -> Answer<'_, PerMinute> {
        let handled = query(self.statements.handled.clone()).bind(&*self.inbox).bind(first);
        let handled = self.accepting.fetch_all::<(i64,)>(handled.bind(MOST_IN_A_MINUTE));
        Box::pin(handled.map(|rows| {
            let mut minutes = PerMinute::default();
            for (minute, (count,)) in minutes.iter_mut().zip(rows?) {
                *minute = count.try_into().unwrap_or_default();
            }
            Ok(minutes)
        }))
    }

    fn workers(&self) -> Answer<'_, Vec<WorkerStatus>> {
        let workers = query(self.statements.workers.clone()).bind(&*self.inbox);
        let workers = self.accepting.fetch_all::<WorkerRow>(workers.bind(sql::rows(MOST_NAMED)));
        Box::pin(workers.map(|rows| Ok(rows?.into_iter().map(WorkerStatus::from).collect())))
    }

    fn place_of(&self, time: SystemTime) -> String {
        Place { time: millis_of_time(time) * 1_000, id: 0 }.text()
    }

    fn list<'a>(&'a self, state: State, after: Option<&'a str>, most: u32) -> Answer<'a, Listed> {
        Box::pin(async move {
            let (after, most) = (after.map(Place::read).transpose()?, most.min(STEP));
            let (time, id) = (after.map(|place| place.time), after.map_or(0, |place| place.id));
            let list = query(self.statements.list(state)).bind(&*self.inbox).bind(time);
            let rows = self.accepting.fetch_all(list.bind(id).bind(i64::from(most))).await?;
            Ok(sql::listed(rows, most))
        })
    }

    fn show<'a>(&'a self, key: &'a str) -> Answer<'a, Option<Entry>> {
        let show = query(self.statements.show.clone()).bind(&*self.inbox).bind(key);
        let shown = self.accepting.fetch_all::<sql::EntryRow>(show);
        Box::pin(shown.map(|rows| Ok(rows?.pop().map(Entry::from))))
    }

    fn change<'a>(&'a self, keys: &'a [String], change: Change) -> Answer<'a, u64> {
        let Statements { requeue, run_now, discard, .. } = &*self.statements;
        let (statement, runs) = match change {
            Change::Requeue => (requeue, Some(0)),
            Change::Rerun => (requeue, Some(1)),
            Change::RunNow => (run_now, None),
            Change::Discard => (discard, None),
        };
        let statement = query(statement.clone()).bind(&*self.inbox).bind(keys).bind(change.note());
        Box::pin(self.accepting.execute_once(match runs {
            Some(runs) => statement.bind(change.of().name()).bind(runs),
            None => statement,
        }))
    }
}

impl Postgres {
    /// Records ends and claims events at the same time. If one of the two fails, the other may have happened, as after a lost
    /// answer: ends are sent again, and unknown claims are released.
    async fn exchange_apart(
        &self,
        exchange: Exchange<'_>,
        after: Option<Place>,
    ) -> Result<Vec<Part>, InboxError> {
        let ends = Exchange { most: 0, ahead: 0, quarantined: false, accounts: &[], ..exchange };
        let claims = Exchange { ends: &[], ..exchange };
        let ends = self.working.fetch_all_once(self.query_of(ends, None));
        let claims = self.working.fetch_all_once(self.query_of(claims, after));
        let (mut parts, claims): (Vec<Part>, Vec<Part>) = try_join(ends, claims).await?;
        parts.extend(claims);
        Ok(parts)
    }

    /// The statement of an exchange whose claim begins after a place.
    fn query_of(
        &self,
        exchange: Exchange<'_>,
        after: Option<Place>,
    ) -> Query<'static, Db, PgArguments> {
        let Exchange { worker, lease, ends, most, ahead, quarantined, accounts, of_each } =
            exchange;
        fn column<T>(ends: &[End], of: impl Fn(&End) -> T) -> Vec<T> {
            ends.iter().map(of).collect()
        }
        query(self.statements.exchange.clone())
            .bind(worker)
            .bind(&*self.inbox)
            .bind(lease.as_secs_f64())
            .bind(column(ends, |end| end.event.0))
            .bind(column(ends, |end| count(end.number.of_all)))
            .bind(column(ends, |end| end.outcome.state().name()))
            .bind(column(ends, |end| count(end.after().of_all)))
            .bind(column(ends, |end| count(end.after().uncounted)))
            .bind(column(ends, |end| end.outcome.delay().as_secs_f64()))
            .bind(column(ends, |end| end.history.as_ref().map(History::json)))
            .bind(sql::rows(most))
            .bind(i64::from(quarantined && most > 0))
            .bind(after.map(|place| place.time))
            .bind(after.map_or(0, |place| place.id))
            .bind(sql::rows(ahead))
            .bind(accounts.to_vec())
            .bind(sql::rows(of_each))
    }
}

/// A row of the result of an exchange.
enum Part {
    /// A claim, and the time in microseconds when its event became due, if events were claimed in that order.
    Claimed {
        claim: Box<Claim>,
        due_at: Option<i64>,
    },
    Ended(EventId),
    Locked(EventId),
    Lapsed,
    /// The time until the next scheduled event is ready.
    Next(Duration),
    /// The time until a pause ends by itself.
    Paused(Option<Duration>),
    /// Some accounts are paused, and none of their events are claimed.
    AccountsPaused,
}

impl FromRow<'_, PgRow> for Part {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(match row.try_get("part")? {
            "ended" => Self::Ended(EventId(row.try_get("id")?)),
            "locked" => Self::Locked(EventId(row.try_get("id")?)),
            "lapsed" => Self::Lapsed,
            "next" => Self::Next(of_micros(row.try_get("due_at")?)),
            "accounts paused" => Self::AccountsPaused,
            "paused" => Self::Paused(row.try_get::<Option<i64>, _>("due_at")?.map(of_micros)),
            _ => {
                let claim = Box::new(sql::ClaimRow::from_row(row)?.into());
                Self::Claimed { claim, due_at: row.try_get("due_at")? }
            }
        })
    }
}

/// A claim of a worker.
#[derive(FromRow)]
struct HeldRow {
    id: i64,
    attempt: i32,
}

impl From<HeldRow> for ClaimId {
    fn from(row: HeldRow) -> Self {
        Self { event: EventId(row.id), attempt: row.attempt.try_into().unwrap_or_default() }
    }
}

/// A worker, and what it has claimed.
#[derive(FromRow)]
struct WorkerRow {
    name: String,
    last_seen: i64,
    claimed: i64,
    keys: Vec<String>,
}

impl From<WorkerRow> for WorkerStatus {
    fn from(WorkerRow { name, last_seen, claimed, keys: running }: WorkerRow) -> Self {
        let (last_heartbeat, claimed) =
            (time_of_millis(last_seen), claimed.try_into().unwrap_or_default());
        Self { name, last_heartbeat, claimed, running }
    }
}

/// The columns of attempts are `integer`.
fn count(attempts: u32) -> i32 {
    attempts.try_into().unwrap_or(i32::MAX)
}

fn seconds(retention: Duration) -> i64 {
    /// More than anyone needs, and all stores can count it.
    const CENTURY: i64 = 100 * 365 * 24 * 60 * 60;
    retention.as_secs().try_into().unwrap_or(CENTURY).min(CENTURY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retention_of_decades_is_kept() {
        let decades = Duration::from_hours(99 * 365 * 24);
        assert_eq!(seconds(decades), 3_122_064_000);
        // Longer ones all become one length that every store can count.
        assert_eq!(seconds(Duration::MAX), seconds(2 * decades));
        assert!(seconds(Duration::MAX) > seconds(decades));
    }
}
