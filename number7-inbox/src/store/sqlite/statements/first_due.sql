-- When the first waiting events were or will be ready, whether the inbox or accounts of it are paused, and until
-- when the inbox is. ?1 inbox, ?2 now
SELECT
    (SELECT min(since) FROM number7_events INDEXED BY number7_events_state
        WHERE inbox = ?1 AND state = 'ready') AS ready,
    (SELECT min(since) FROM number7_events INDEXED BY number7_events_state
        WHERE inbox = ?1 AND state = 'quarantined') AS quarantined,
    EXISTS (SELECT 1 FROM number7_pauses
        WHERE inbox = ?1 AND account = '' AND (until IS NULL OR until > ?2)) AS is_paused,
    EXISTS (SELECT 1 FROM number7_pauses
        WHERE inbox = ?1 AND account > '' AND (until IS NULL OR until > ?2)) AS has_paused_accounts,
    (SELECT until FROM number7_pauses WHERE inbox = ?1 AND account = '') AS paused_until
