//! The statements of an inbox, each in a file of its own.

use std::collections::HashMap;

use sqlx::{AssertSqlSafe, SqlSafeStr, SqlStr};

use crate::model::{entry::State, options::DEFAULT_SCHEMA};

macro_rules! statements {
    ($($name:ident),+ $(,)?) => {
        /// The statements, for the tables of one schema.
        pub(super) struct Statements {
            $(pub(super) $name: SqlStr,)+
            pub(super) show: SqlStr,
            lists: HashMap<State, SqlStr>,
        }

        impl Statements {
            pub(super) fn new(schema: &str) -> Self {
                let sql = |text: &str| AssertSqlSafe(in_schema(text, schema)).into_sql_str();
                Self {
                    $($name: sql(include_str!(concat!("sql/", stringify!($name), ".sql"))),)+
                    show: sql(&format!("{ENTRIES} WHERE inbox = $1 AND key = $2")),
                    lists: State::ALL.map(|state| (state, sql(&list(state)))).into(),
                }
            }
        }
    };
}

statements!(
    accounts_to_fetch,
    cancel_expectation,
    count_done,
    discard,
    exchange,
    expect_job,
    forget,
    forget_old,
    forget_payloads,
    give_up,
    handled,
    heartbeat,
    insert,
    is_new,
    keep_conflict,
    lead,
    look_up,
    now,
    overdue,
    pause,
    pauses,
    ping,
    release,
    requeue,
    rescue,
    resume,
    run_now,
    stats,
    sweep,
    take,
    waiting_accounts,
    workers,
);

const ENTRIES: &str = include_str!("sql/entries.sql");

impl Statements {
    /// The events of a state after a place.
    pub(super) fn list(&self, state: State) -> SqlStr {
        self.lists[&state].clone()
    }
}

fn list(state: State) -> String {
    let (time, condition) = match state {
        State::Ready => ("due_at", "state = 'ready' AND due_at <= now()"),
        State::Scheduled => ("due_at", "state = 'ready' AND due_at > now()"),
        State::Quarantined => ("due_at", "state = 'quarantined'"),
        State::Running => ("claimed_at", "state = 'running'"),
        // This repeats the condition of the index.
        State::Done => ("finished_at", "state = 'done' AND state IN ('done', 'dead')"),
        State::Dead => ("finished_at", "state = 'dead' AND state IN ('done', 'dead')"),
    };
    format!(
        "{ENTRIES} WHERE inbox = $1 AND {condition} AND ({time}, id) > (
            coalesce('epoch'::timestamptz + $2 * interval '1 microsecond', '-infinity'), $3)
        ORDER BY {time}, id LIMIT $4"
    )
}

/// In our SQL the tables are in the schema `number7`. This replaces it by another one.
pub(super) fn in_schema(text: &str, schema: &str) -> String {
    match schema {
        DEFAULT_SCHEMA => text.to_owned(),
        schema => text.replace("number7.", &format!("\"{}\".", schema.replace('"', "\"\""))),
    }
}
