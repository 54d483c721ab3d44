-- The numbers of an inbox. Each is counted separately, which is four times as fast as one pass. ?1 inbox, ?2 now
WITH events AS NOT MATERIALIZED (
    SELECT state, since FROM number7_events INDEXED BY number7_events_state WHERE inbox = ?1
), overdue AS NOT MATERIALIZED (
    SELECT due_at FROM number7_expected_jobs INDEXED BY number7_expected_jobs_overdue
    WHERE inbox = ?1 AND is_overdue
)
SELECT
    (SELECT count(*) FROM events WHERE state = 'ready' AND since <= ?2) AS ready,
    (SELECT count(*) FROM events WHERE state = 'ready' AND since > ?2) AS scheduled,
    (SELECT count(*) FROM events WHERE state = 'quarantined') AS quarantined,
    (SELECT count(*) FROM events WHERE state = 'running') AS running,
    (SELECT count(*) FROM events WHERE state = 'dead') AS dead,
    (SELECT count(*) FROM number7_workers WHERE inbox = ?1 AND last_seen >= ?2 - 30000) AS workers,
    (SELECT count(*) FROM overdue) AS overdue,
    max(0, coalesce(?2 - (SELECT min(since) FROM events WHERE state = 'ready'), 0),
        coalesce(?2 - (SELECT min(since) FROM events WHERE state = 'quarantined'), 0)) AS oldest_ready,
    coalesce(?2 - (SELECT min(due_at) FROM overdue), 0) AS oldest_overdue,
    EXISTS (SELECT 1 FROM number7_pauses
        WHERE inbox = ?1 AND account = '' AND (until IS NULL OR until > ?2)) AS is_paused,
    (SELECT count(*) FROM number7_pauses
        WHERE inbox = ?1 AND account > '' AND (until IS NULL OR until > ?2)) AS paused_accounts
