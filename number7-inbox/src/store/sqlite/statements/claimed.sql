-- Whether the worker was allowed to claim, when the first remaining event was or will be ready, and whether the inbox or
-- accounts of it are paused, and until when the inbox is. ?1 inbox, ?2 now, ?3 worker, ?4 lease
SELECT
    EXISTS (SELECT 1 FROM number7_workers WHERE name = ?3 AND inbox = ?1 AND last_seen >= ?2 - ?4) AS is_live,
    (SELECT min(since) FROM number7_events INDEXED BY number7_events_state
        WHERE inbox = ?1 AND state = 'ready') AS next_due,
    EXISTS (SELECT 1 FROM number7_pauses
        WHERE inbox = ?1 AND account = '' AND (until IS NULL OR until > ?2)) AS is_paused,
    EXISTS (SELECT 1 FROM number7_pauses
        WHERE inbox = ?1 AND account > '' AND (until IS NULL OR until > ?2)) AS has_paused_accounts,
    (SELECT until FROM number7_pauses WHERE inbox = ?1 AND account = '') AS paused_until;
