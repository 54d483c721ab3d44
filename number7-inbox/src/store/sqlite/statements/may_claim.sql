-- Whether a worker may claim, because it is registered and its lease is not over, and whether a quarantined event
-- is ready. ?1 worker, ?2 inbox, ?3 now, ?4 lease
SELECT
    EXISTS (SELECT 1 FROM number7_workers WHERE name = ?1 AND inbox = ?2 AND last_seen >= ?3 - ?4),
    EXISTS (SELECT 1 FROM number7_events INDEXED BY number7_events_state
        WHERE inbox = ?2 AND state = 'quarantined' AND since <= ?3)
