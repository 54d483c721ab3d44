-- The tables of an inbox. All times are milliseconds since the epoch. The name of an unnamed inbox is ''.

-- One row: the version of these tables.
CREATE TABLE number7_schema (version INTEGER NOT NULL) STRICT;

CREATE TABLE number7_events (
    -- AUTOINCREMENT, because attempts are told apart by the id of their event: no id may be used twice.
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    inbox TEXT NOT NULL,
    key TEXT NOT NULL,
    -- The account in front of the key; '' if there is none.
    account TEXT NOT NULL DEFAULT '',
    event TEXT NOT NULL,
    job TEXT,
    origin TEXT NOT NULL DEFAULT 'signed' CHECK (origin IN ('signed', 'fetched')),
    -- The name of the secret that signed it, and the signature in hex.
    signed_by TEXT,
    signature TEXT,
    -- The headers of the same names that came with the event, if they are kept.
    traceparent TEXT,
    tracestate TEXT,
    accepted_at INTEGER NOT NULL,
    -- An event is scheduled if it is ready and its due_at is in the future.
    state TEXT NOT NULL DEFAULT 'ready'
        CHECK (state IN ('ready', 'quarantined', 'running', 'done', 'dead')),
    -- Grows with each claim and each requeue. The second one is how much of it does not count as attempts.
    attempt INTEGER NOT NULL DEFAULT 0,
    uncounted INTEGER NOT NULL DEFAULT 0,
    -- Grows with each rerun.
    runs INTEGER NOT NULL DEFAULT 1,
    due_at INTEGER NOT NULL,
    claimed_by TEXT,
    claimed_at INTEGER,
    -- How it was last claimed: ahead of a handler, so that the attempt may never have begun; or as a quarantined event.
    claimed_as TEXT NOT NULL DEFAULT 'ready' CHECK (claimed_as IN ('ready', 'ahead', 'quarantined')),
    -- When it was done or dead.
    finished_at INTEGER,
    -- Objects with at, attempt and error: the oldest first.
    errors TEXT NOT NULL DEFAULT '[]' CHECK (json_valid(errors) AND json_type(errors) = 'array'),
    -- The JSON, byte for byte. The last one, because it is the longest.
    payload BLOB,
    -- When it entered its state. If it is scheduled, when it becomes ready.
    since INTEGER NOT NULL AS (coalesce(finished_at, claimed_at, due_at))
) STRICT;

-- Accepts an event only once. Finds events by key: show, requeue, discard, and whether an expected job is settled.
CREATE UNIQUE INDEX number7_events_key ON number7_events (inbox, key);

-- Events of one state in the order of its time: claim, heartbeat, rescue, sweep, list and stats.
CREATE INDEX number7_events_state ON number7_events (inbox, state, since);

-- The ready events of each account: claims for accounts, and waiting_accounts.
CREATE INDEX number7_events_ready_of_account ON number7_events (inbox, account, since) WHERE state = 'ready';

-- Other bodies that were signed for events later: the last one of each event.
CREATE TABLE number7_conflicts (
    event_id INTEGER PRIMARY KEY,
    later_payload BLOB NOT NULL,
    later_signed_by TEXT NOT NULL,
    later_signature TEXT NOT NULL,
    later_at INTEGER NOT NULL
) STRICT;

CREATE TABLE number7_workers (
    name TEXT NOT NULL PRIMARY KEY,
    inbox TEXT NOT NULL,
    last_seen INTEGER NOT NULL,
    started_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE number7_expected_jobs (
    inbox TEXT NOT NULL,
    job TEXT NOT NULL,
    -- The account in its name; '' if there is none.
    account TEXT NOT NULL DEFAULT '',
    -- The keys of the events that settle it.
    completed_key TEXT NOT NULL,
    failed_key TEXT NOT NULL,
    due_at INTEGER NOT NULL,
    look_up_at INTEGER NOT NULL,
    is_overdue INTEGER NOT NULL DEFAULT FALSE,
    -- When an overdue job is to be fetched. NULL if it was given up.
    fetch_at INTEGER,
    fetches INTEGER NOT NULL DEFAULT 0,
    -- How often nobody knew it.
    unknown INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (inbox, job)
) STRICT, WITHOUT ROWID;

-- The jobs to be looked up.
CREATE INDEX number7_expected_jobs_look_up ON number7_expected_jobs (inbox, look_up_at);

-- The overdue jobs in the order of their list, and their count.
CREATE INDEX number7_expected_jobs_overdue ON number7_expected_jobs (inbox, due_at, job) WHERE is_overdue;

-- The overdue jobs of each account that are to be fetched.
CREATE INDEX number7_expected_jobs_fetch ON number7_expected_jobs (inbox, account, fetch_at) WHERE is_overdue;

-- The worker that fetches.
CREATE TABLE number7_leaders (
    inbox TEXT NOT NULL PRIMARY KEY,
    worker TEXT NOT NULL,
    until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The inboxes, and accounts of them, whose events workers must not claim: until a time, or until the row is deleted.
CREATE TABLE number7_pauses (
    inbox TEXT NOT NULL,
    -- '' means all of the inbox.
    account TEXT NOT NULL,
    paused_by TEXT NOT NULL,
    why TEXT NOT NULL,
    since INTEGER NOT NULL,
    until INTEGER,
    PRIMARY KEY (inbox, account)
) STRICT, WITHOUT ROWID;

-- The latest time that was written into this file, and the last one that was not in doubt. See "A SQLite file whose time is
-- ahead" in docs/operating.md.
CREATE TABLE number7_clock (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    latest INTEGER NOT NULL,
    believed INTEGER NOT NULL
) STRICT;
