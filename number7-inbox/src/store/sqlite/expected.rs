//! The expected jobs.

use std::time::Duration;

use sqlx::{query, query_as, query_scalar};

use super::{Sqlite, whole_seconds as seconds};
use crate::engine::{
    Answer,
    expected::{
        Expectations, Expected, JobPlace, LOOK_UP_AGAIN, LOOK_UP_EVERY, LookedUp, MOST_LOOKED_UP,
        OverdueRow, Rest, Taken,
    },
};

/// The keys of both events that settle a job are beside it, so that a look-up is by index.
pub(super) const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS number7_expected (
        queue TEXT NOT NULL, job TEXT NOT NULL, completed TEXT NOT NULL, failed TEXT NOT NULL,
        due_at INTEGER NOT NULL, look_up_at INTEGER NOT NULL,
        is_overdue INTEGER NOT NULL DEFAULT FALSE, take_at INTEGER, takes INTEGER NOT NULL DEFAULT 0,
        PRIMARY KEY (queue, job)
    ) WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS idx_number7_look_up ON number7_expected (queue, look_up_at);
    CREATE INDEX IF NOT EXISTS idx_number7_overdue ON number7_expected (queue, due_at, job)
        WHERE is_overdue;
    CREATE INDEX IF NOT EXISTS idx_number7_take ON number7_expected (queue, take_at)
        WHERE is_overdue;
    CREATE TABLE IF NOT EXISTS number7_leaders (
        queue TEXT NOT NULL PRIMARY KEY, worker TEXT NOT NULL, until INTEGER NOT NULL
    ) WITHOUT ROWID";

const EXPECT: &str = "
    INSERT INTO number7_expected (queue, job, completed, failed, due_at, look_up_at)
    SELECT ?1, ?2, ?3, ?4, ?7 + ?5, ?7 + min(?5, ?6)
        WHERE NOT EXISTS (SELECT 1 FROM Jobs WHERE job_type = ?1 AND idempotency_key IN (?3, ?4))
    ON CONFLICT (queue, job) DO NOTHING";

const FORGET: &str = "DELETE FROM number7_expected WHERE queue = ? AND job = ?";

const IS_TO_LOOK_UP: &str = "
    SELECT EXISTS (SELECT 1 FROM number7_expected WHERE queue = ? AND look_up_at <= ?)";

macro_rules! is_settled {
    () => {
        "EXISTS (SELECT 1 FROM Jobs WHERE job_type = queue AND idempotency_key IN (completed, failed))"
    };
}

/// Job, whether it is settled, and whether it is now overdue and was not.
const LOOK_UP: &str = concat!(
    "SELECT job, ",
    is_settled!(),
    ", due_at <= ?2 AND NOT is_overdue FROM number7_expected
    WHERE queue = ?1 AND look_up_at <= ?2 ORDER BY look_up_at LIMIT ?3"
);

const SETTLE: &str = "
    DELETE FROM number7_expected WHERE queue = ? AND job IN (SELECT value FROM json_each(?))";

const NOTE: &str = "
    UPDATE number7_expected SET is_overdue = due_at <= ?5,
        take_at = coalesce(take_at, iif(due_at <= ?5, ?5, NULL)),
        look_up_at = ?5 + min(?4, iif(due_at <= ?5, max(?3, (?5 - due_at) / 10), due_at - ?5))
    WHERE queue = ?1 AND job IN (SELECT value FROM json_each(?2))";

/// It is taken at no time that ever comes.
const GIVE_UP: &str = "
    UPDATE number7_expected SET take_at = 9223372036854775807
    WHERE queue = ? AND job = ? AND is_overdue";

const OVERDUE: &str = concat!(
    "SELECT job, 1000000 * due_at, takes, take_at = 9223372036854775807 FROM number7_expected
    WHERE queue = ?1 AND is_overdue AND (due_at, job) > (?2 / 1000000, ?3) AND NOT ",
    is_settled!(),
    " ORDER BY due_at, job LIMIT ?4"
);

const LEAD: &str = "
    INSERT INTO number7_leaders (queue, worker, until) VALUES (?1, ?2, ?4 + ?3)
    ON CONFLICT (queue) DO UPDATE SET worker = excluded.worker, until = excluded.until
        WHERE worker = excluded.worker OR until < ?4";

const IS_TO_TAKE: &str = "
    SELECT EXISTS (SELECT 1 FROM number7_expected
        WHERE queue = ? AND is_overdue AND take_at <= ?)";

const TAKE: &str = concat!(
    "UPDATE number7_expected SET takes = takes + 1,
        take_at = ?5 + min(?4, ?3 << min(takes, 30))
    WHERE queue = ?1 AND job IN (SELECT job FROM number7_expected
        WHERE queue = ?1 AND is_overdue AND take_at <= ?5 ORDER BY take_at LIMIT ?2)
    RETURNING job, ",
    is_settled!(),
    ", takes"
);

impl Expectations for Sqlite {
    fn expect(&self, Expected { job, keys }: Expected, within: Duration) -> Answer<'_, ()> {
        self.run(move |this| async move {
            let [completed, failed] = keys;
            let mut writing = this.file.begin().await?;
            let expect = query(EXPECT).bind(&*this.queue).bind(job).bind(completed).bind(failed);
            let expect = expect.bind(seconds(within)).bind(seconds(LOOK_UP_EVERY));
            expect.bind(writing.now).execute(&mut *writing).await?;
            writing.commit().await
        })
    }

    fn forget_job<'a>(&'a self, job: &'a str) -> Answer<'a, bool> {
        let job = job.to_owned();
        self.run(move |this| async move {
            let mut writing = this.file.begin().await?;
            let forget = query(FORGET).bind(&*this.queue).bind(job);
            let forgotten = forget.execute(&mut *writing).await?.rows_affected();
            writing.commit().await?;
            Ok(forgotten > 0)
        })
    }

    fn look_up(&self) -> Answer<'_, LookedUp> {
        self.run(|this| async move {
            let queue = &*this.queue;
            let is_some = query_scalar(IS_TO_LOOK_UP).bind(queue).bind(this.file.clock.seconds());
            if !is_some.fetch_one(&mut *this.file.reader().await?).await? {
                return Ok(LookedUp::default());
            }
            let mut writing = this.file.begin().await?;
            let found = query_as(LOOK_UP).bind(queue).bind(writing.now).bind(MOST_LOOKED_UP);
            let found: Vec<(String, bool, bool)> = found.fetch_all(&mut *writing).await?;
            let is_more = found.len() == MOST_LOOKED_UP as usize;
            let jobs = |wanted| {
                let found = found.iter().filter(|(_, is_settled, _)| *is_settled == wanted);
                found.map(|(job, ..)| job.as_str()).collect::<serde_json::Value>().to_string()
            };
            let settle = query(SETTLE).bind(queue).bind(jobs(true));
            settle.execute(&mut *writing).await?;
            let note = query(NOTE).bind(queue).bind(jobs(false)).bind(seconds(LOOK_UP_AGAIN));
            let note = note.bind(seconds(LOOK_UP_EVERY)).bind(writing.now);
            note.execute(&mut *writing).await?;
            writing.commit().await?;
            let overdue =
                found.into_iter().filter(|(_, is_settled, is_new)| *is_new && !is_settled);
            Ok(LookedUp { overdue: overdue.map(|(job, ..)| job).collect(), is_more })
        })
    }

    fn overdue(&self, after: Option<JobPlace>, most: u32) -> Answer<'_, Vec<OverdueRow>> {
        self.run(move |this| async move {
            let (due, job) = after.unwrap_or_default();
            let overdue = query_as(OVERDUE).bind(&*this.queue).bind(due).bind(job).bind(most);
            let rows: Vec<(String, i64, i64, bool)> =
                overdue.fetch_all(&mut *this.file.reader().await?).await?;
            Ok(rows.into_iter().map(OverdueRow::from).collect())
        })
    }

    fn lead<'a>(&'a self, worker: &'a str, lease: Duration) -> Answer<'a, bool> {
        let worker = worker.to_owned();
        self.run(move |this| async move {
            let mut writing = this.file.begin().await?;
            let lead = query(LEAD).bind(&*this.queue).bind(worker).bind(seconds(lease));
            let leads = lead.bind(writing.now).execute(&mut *writing).await?.rows_affected();
            writing.commit().await?;
            Ok(leads > 0)
        })
    }

    fn give_up<'a>(&'a self, job: &'a str) -> Answer<'a, ()> {
        let job = job.to_owned();
        self.run(move |this| async move {
            let mut writing = this.file.begin().await?;
            query(GIVE_UP).bind(&*this.queue).bind(job).execute(&mut *writing).await?;
            writing.commit().await
        })
    }

    fn take<'a>(&'a self, most: u32, rest: Rest) -> Answer<'a, Vec<Taken>> {
        self.run(move |this| async move {
            let queue = &*this.queue;
            let is_some = query_scalar(IS_TO_TAKE).bind(queue).bind(this.file.clock.seconds());
            if !is_some.fetch_one(&mut *this.file.reader().await?).await? {
                return Ok(Vec::new());
            }
            let mut writing = this.file.begin().await?;
            let take = query_as(TAKE).bind(queue).bind(most);
            let take = take.bind(seconds(rest.first)).bind(seconds(rest.longest)).bind(writing.now);
            let taken: Vec<(String, bool, i64)> = take.fetch_all(&mut *writing).await?;
            writing.commit().await?;
            Ok(taken.into_iter().map(Taken::from).collect())
        })
    }
}

#[cfg(test)]
mod tests {
    use sqlx::{AssertSqlSafe, Row};

    use super::*;

    #[tokio::test]
    async fn nothing_goes_through_all_expectations() {
        let folder = tempfile::tempdir().unwrap();
        let sqlite = Sqlite::open(&folder.path().join("inbox.db"), "q".into()).await.unwrap();
        const KEY: &str = "PRIMARY KEY (queue=? AND job=?)";
        for (sql, how) in [
            (FORGET, KEY),
            (IS_TO_LOOK_UP, "idx_number7_look_up (queue=? AND look_up_at<?)"),
            (LOOK_UP, "idx_number7_look_up (queue=? AND look_up_at<?)"),
            (SETTLE, KEY),
            (NOTE, KEY),
            (GIVE_UP, KEY),
            (OVERDUE, "idx_number7_overdue (queue=? AND (due_at,job)>(?,?))"),
            (IS_TO_TAKE, "idx_number7_take (queue=? AND take_at<?)"),
            (TAKE, "idx_number7_take (queue=? AND take_at<?)"),
        ] {
            let explain = AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}"));
            let rows = query(explain).fetch_all(&sqlite.file.writer()).await.unwrap();
            let plan: Vec<String> = rows.iter().map(|row| row.get("detail")).collect();
            assert!(plan.iter().any(|step| step.ends_with(how)), "{sql}: {plan:?}");
            let is_scan =
                |step: &String| step.starts_with("SCAN Jobs") || step.starts_with("SCAN number7");
            assert!(!plan.iter().any(is_scan), "{sql}: {plan:?}");
        }
    }
}
