//! The expected jobs.

use std::time::Duration;

use futures_util::FutureExt;
use sqlx::query;

use super::Postgres;
use crate::engine::{
    Answer,
    expected::{
        Expectations, Expected, JobPlace, LOOK_UP_AGAIN, LOOK_UP_EVERY, LookedUp, MOST_LOOKED_UP,
        OverdueRow, Rest, Taken,
    },
};

/// Made once, by one process; it takes no lock if it exists already. The keys of both events that settle a
/// job are beside it, so that a look-up is by index.
pub(super) const TABLES: &str = "
    DO $$ BEGIN
        IF to_regclass('apalis.number7_leaders') IS NULL THEN
            PERFORM pg_advisory_xact_lock(hashtext('apalis.number7_expected'));
            CREATE TABLE IF NOT EXISTS apalis.number7_expected (
                queue text NOT NULL, job text NOT NULL, completed text NOT NULL,
                failed text NOT NULL, due_at timestamptz NOT NULL,
                look_up_at timestamptz NOT NULL, is_overdue boolean NOT NULL DEFAULT false,
                take_at timestamptz, takes integer NOT NULL DEFAULT 0,
                PRIMARY KEY (queue, job)
            );
            CREATE INDEX IF NOT EXISTS idx_number7_look_up
                ON apalis.number7_expected (queue, look_up_at);
            CREATE INDEX IF NOT EXISTS idx_number7_overdue
                ON apalis.number7_expected (queue, due_at, job) WHERE is_overdue;
            CREATE INDEX IF NOT EXISTS idx_number7_take
                ON apalis.number7_expected (queue, take_at) WHERE is_overdue;
            CREATE TABLE IF NOT EXISTS apalis.number7_leaders (
                queue text PRIMARY KEY, worker text NOT NULL, until timestamptz NOT NULL
            );
        END IF;
    END $$";

const EXPECT: &str = "
    INSERT INTO apalis.number7_expected (queue, job, completed, failed, due_at, look_up_at)
    SELECT $1, $2, $3, $4, now() + $5 * interval '1 second',
        now() + least($5, $6) * interval '1 second'
        WHERE NOT EXISTS (SELECT 1 FROM apalis.jobs
            WHERE job_type = $1 AND idempotency_key IN ($3, $4))
    ON CONFLICT (queue, job) DO NOTHING";

const FORGET: &str = "DELETE FROM apalis.number7_expected WHERE queue = $1 AND job = $2";

macro_rules! is_settled {
    () => {
        // `OFFSET 0` keeps the planner from joining all events, or filtering the whole queue, by a plan
        // that it made when there were few.
        "(EXISTS (SELECT 1 FROM apalis.jobs
                WHERE job_type = queue AND idempotency_key = completed OFFSET 0)
            OR EXISTS (SELECT 1 FROM apalis.jobs
                WHERE job_type = queue AND idempotency_key = failed OFFSET 0))"
    };
}

/// Job, and whether it is now overdue and was not. What another worker has just found is left to it.
const LOOK_UP: &str = concat!(
    "WITH found AS MATERIALIZED (
        SELECT job, ",
    is_settled!(),
    " AS is_settled, due_at <= now() AND NOT is_overdue AS is_new
        FROM apalis.number7_expected
        WHERE queue = $1 AND look_up_at <= now() ORDER BY look_up_at LIMIT $2
        FOR UPDATE OF number7_expected SKIP LOCKED
    ), settled AS (
        DELETE FROM apalis.number7_expected
        WHERE queue = $1 AND job = ANY (ARRAY(SELECT job FROM found WHERE is_settled))
    ), noted AS (
        UPDATE apalis.number7_expected SET is_overdue = due_at <= now(),
            take_at = coalesce(take_at, CASE WHEN due_at <= now() THEN now() END),
            look_up_at = now() + least($4 * interval '1 second', CASE WHEN due_at <= now()
                THEN greatest($3 * interval '1 second', (now() - due_at) / 10)
                ELSE due_at - now() END)
        WHERE queue = $1 AND job = ANY (ARRAY(SELECT job FROM found WHERE NOT is_settled))
    )
    SELECT job, is_new AND NOT is_settled FROM found"
);

/// It is taken at no time that ever comes.
const GIVE_UP: &str = "
    UPDATE apalis.number7_expected SET take_at = 'infinity'
    WHERE queue = $1 AND job = $2 AND is_overdue";

/// The fields of [`OverdueRow`].
const OVERDUE: &str = concat!(
    "SELECT job, (extract(epoch FROM due_at) * 1000000)::bigint, takes::bigint,
        coalesce(take_at = 'infinity', false)
    FROM apalis.number7_expected
    WHERE queue = $1 AND is_overdue AND (due_at, job) >
        ('epoch'::timestamptz + $2 * interval '1 microsecond', $3)
        AND NOT ",
    is_settled!(),
    " ORDER BY due_at, job LIMIT $4"
);

const LEAD: &str = "
    INSERT INTO apalis.number7_leaders AS leader (queue, worker, until)
    VALUES ($1, $2, now() + $3 * interval '1 second')
    ON CONFLICT (queue) DO UPDATE SET worker = excluded.worker, until = excluded.until
        WHERE leader.worker = excluded.worker OR leader.until < now()";

const TAKE: &str = concat!(
    "WITH found AS MATERIALIZED (
        SELECT job FROM apalis.number7_expected
        WHERE queue = $1 AND is_overdue AND take_at <= now() ORDER BY take_at LIMIT $2
        FOR UPDATE SKIP LOCKED
    )
    UPDATE apalis.number7_expected SET takes = takes + 1,
        take_at = now() + least($4, $3 * 2 ^ least(takes, 30)) * interval '1 second'
    WHERE queue = $1 AND job = ANY (ARRAY(SELECT job FROM found))
    RETURNING job, ",
    is_settled!(),
    ", takes::bigint"
);

impl Expectations for Postgres {
    fn expect(&self, Expected { job, keys }: Expected, within: Duration) -> Answer<'_, ()> {
        let [completed, failed] = keys;
        let expect = query(EXPECT).bind(&self.queue).bind(job).bind(completed);
        let expect = expect.bind(failed).bind(seconds(within)).bind(seconds(LOOK_UP_EVERY));
        Box::pin(self.accepting.execute(expect).map(|done| done.map(drop)))
    }

    fn forget_job<'a>(&'a self, job: &'a str) -> Answer<'a, bool> {
        let forget = query(FORGET).bind(&self.queue).bind(job);
        Box::pin(self.accepting.execute_once(forget).map(|done| Ok(done? > 0)))
    }

    fn look_up(&self) -> Answer<'_, LookedUp> {
        let look_up = query(LOOK_UP).bind(&self.queue).bind(i64::from(MOST_LOOKED_UP));
        let look_up = look_up.bind(seconds(LOOK_UP_AGAIN)).bind(seconds(LOOK_UP_EVERY));
        Box::pin(async move {
            let found: Vec<(String, bool)> = self.accepting.fetch_all_once(look_up).await?;
            let is_more = found.len() == MOST_LOOKED_UP as usize;
            let overdue = found.into_iter().filter(|(_, is_new)| *is_new);
            Ok(LookedUp { overdue: overdue.map(|(job, _)| job).collect(), is_more })
        })
    }

    fn overdue(&self, after: Option<JobPlace>, most: u32) -> Answer<'_, Vec<OverdueRow>> {
        Box::pin(async move {
            let (due, job) = after.unwrap_or_default();
            let overdue = query(OVERDUE).bind(&self.queue).bind(due).bind(job);
            let overdue = overdue.bind(i64::from(most));
            let rows: Vec<(String, i64, i64, bool)> = self.accepting.fetch_all(overdue).await?;
            Ok(rows.into_iter().map(OverdueRow::from).collect())
        })
    }

    fn lead<'a>(&'a self, worker: &'a str, lease: Duration) -> Answer<'a, bool> {
        let lead = query(LEAD).bind(&self.queue).bind(worker);
        Box::pin(self.accepting.execute(lead.bind(seconds(lease))).map(|done| Ok(done? > 0)))
    }

    fn give_up<'a>(&'a self, job: &'a str) -> Answer<'a, ()> {
        let give_up = query(GIVE_UP).bind(&self.queue).bind(job);
        Box::pin(self.accepting.execute(give_up).map(|done| done.map(drop)))
    }

    fn take<'a>(&'a self, most: u32, rest: Rest) -> Answer<'a, Vec<Taken>> {
        let take = query(TAKE).bind(&self.queue).bind(i64::from(most));
        let take = take.bind(seconds(rest.first)).bind(seconds(rest.longest));
        Box::pin(async move {
            let taken: Vec<(String, bool, i64)> = self.accepting.fetch_all_once(take).await?;
            Ok(taken.into_iter().map(Taken::from).collect())
        })
    }
}

fn seconds(duration: Duration) -> f64 {
    duration.as_secs_f64()
}
