-- The tables of an inbox. This script grants nothing: docs/schema.md lists the rights that are needed, and what may be
-- changed by hand.

-- The migrations that were applied.
CREATE TABLE number7.schema_version (
    version integer PRIMARY KEY,
    applied_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE number7.events (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- The name of the inbox. '' if it has none.
    inbox text NOT NULL,
    -- An event with a known key is a duplicate.
    key text NOT NULL,
    -- The account in front of the key; '' if there is none.
    account text COLLATE "C" NOT NULL DEFAULT '',
    event text NOT NULL,
    job text,
    -- The JSON, byte for byte.
    payload bytea,
    origin text NOT NULL CHECK (origin IN ('signed', 'fetched')),
    -- The name of the secret that signed it, and the signature in hex.
    signed_by text,
    signature text,
    -- The headers of the same names that came with the event, if they are kept.
    traceparent text,
    tracestate text,
    accepted_at timestamptz NOT NULL DEFAULT now(),
    state text NOT NULL DEFAULT 'ready',
    -- Grows with each claim and each requeue. The second one is how much of it does not count as attempts.
    attempt integer NOT NULL DEFAULT 0,
    uncounted integer NOT NULL DEFAULT 0 CHECK (uncounted BETWEEN 0 AND attempt),
    -- Grows with each rerun.
    runs integer NOT NULL DEFAULT 1,
    -- The earliest time at which a worker may claim it. If that is in the future, the event is scheduled.
    due_at timestamptz NOT NULL DEFAULT now() CHECK (isfinite(due_at)),
    claimed_by text,
    claimed_at timestamptz CHECK (isfinite(claimed_at)),
    -- How it was last claimed: ahead of a handler, so that the attempt may never have begun; or as a quarantined event.
    claimed_as text NOT NULL DEFAULT 'ready' CHECK (claimed_as IN ('ready', 'ahead', 'quarantined')),
    finished_at timestamptz CHECK (isfinite(finished_at)),
    -- [{"at": milliseconds since the epoch, "attempt": 1, "error": "…"}, …], the oldest first.
    errors jsonb NOT NULL DEFAULT '[]',
    -- Finds duplicates, and the events of `show`, `requeue` and `discard`.
    CONSTRAINT events_key UNIQUE (inbox, key),
    CONSTRAINT events_state CHECK (CASE state
        WHEN 'ready' THEN claimed_by IS NULL AND claimed_at IS NULL AND finished_at IS NULL
        WHEN 'quarantined' THEN claimed_by IS NULL AND claimed_at IS NULL AND finished_at IS NULL
        WHEN 'running' THEN claimed_by IS NOT NULL AND claimed_at IS NOT NULL AND finished_at IS NULL
        WHEN 'done' THEN claimed_by IS NULL AND claimed_at IS NULL AND finished_at IS NOT NULL
        WHEN 'dead' THEN claimed_by IS NULL AND claimed_at IS NULL AND finished_at IS NOT NULL
        ELSE false END)
);

-- Serves the claims of `exchange`, and `list` and `stats` of ready and scheduled events.
CREATE INDEX events_ready ON number7.events (inbox, due_at, id) WHERE state = 'ready';

-- Serves `waiting_accounts`, and the claims of `exchange` that are for an account.
CREATE INDEX events_ready_of_account ON number7.events (inbox, account, due_at, id) WHERE state = 'ready';

-- Serves the same of quarantined events. It is almost always empty.
CREATE INDEX events_quarantined ON number7.events (inbox, due_at, id) WHERE state = 'quarantined';

-- Serves `heartbeat`, `rescue`, `forget`, and `list` and `stats` of running events.
CREATE INDEX events_running ON number7.events (inbox, claimed_at, id) WHERE state = 'running';

-- Serves `sweep`, and `list` and `stats` of events that are done or dead.
CREATE INDEX events_finished ON number7.events (inbox, state, finished_at, id)
    WHERE state IN ('done', 'dead');

-- Other bodies that were signed for events later: the last one of each event.
CREATE TABLE number7.conflicts (
    event_id bigint PRIMARY KEY,
    later_payload bytea NOT NULL,
    later_signed_by text NOT NULL,
    later_signature text NOT NULL,
    later_at timestamptz NOT NULL DEFAULT now()
);

-- A worker is live as long as `last_seen` is not older than its lease.
CREATE TABLE number7.workers (
    name text PRIMARY KEY,
    inbox text NOT NULL,
    started_at timestamptz NOT NULL DEFAULT now(),
    last_seen timestamptz NOT NULL DEFAULT now()
);

-- Jobs whose event is expected. A row is deleted when its event has arrived.
CREATE TABLE number7.expected_jobs (
    inbox text NOT NULL,
    job text NOT NULL,
    -- The account in its name; '' if there is none.
    account text COLLATE "C" NOT NULL DEFAULT '',
    -- The keys of the two events that settle it.
    completed_key text NOT NULL,
    failed_key text NOT NULL,
    due_at timestamptz NOT NULL,
    look_up_at timestamptz NOT NULL,
    is_overdue boolean NOT NULL DEFAULT false,
    -- When to ask the vendor about it next. Infinity: never again.
    fetch_at timestamptz,
    fetches integer NOT NULL DEFAULT 0,
    -- How often nobody knew it.
    unknown integer NOT NULL DEFAULT 0,
    PRIMARY KEY (inbox, job)
);

-- Serves `look_up`.
CREATE INDEX expected_jobs_look_up ON number7.expected_jobs (inbox, look_up_at);

-- Serves `overdue` and `stats`.
CREATE INDEX expected_jobs_overdue ON number7.expected_jobs (inbox, due_at, job) WHERE is_overdue;

-- Serves `accounts_to_fetch` and `take`.
CREATE INDEX expected_jobs_fetch ON number7.expected_jobs (inbox, account, fetch_at) WHERE is_overdue;

-- The worker of each inbox that fetches overdue jobs.
CREATE TABLE number7.leaders (
    inbox text PRIMARY KEY,
    worker text NOT NULL,
    until timestamptz NOT NULL
);

-- The inboxes, and accounts of them, whose events workers must not claim: until a time, or until the row is deleted.
CREATE TABLE number7.pauses (
    inbox text NOT NULL,
    -- '' means all of the inbox.
    account text COLLATE "C" NOT NULL,
    paused_by text NOT NULL,
    why text NOT NULL,
    since timestamptz NOT NULL DEFAULT now(),
    until timestamptz CHECK (isfinite(until)),
    PRIMARY KEY (inbox, account)
);
