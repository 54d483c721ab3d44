-- Forgets workers whose last heartbeat is a day old, and that have nothing claimed. ?1 inbox, ?2 now
DELETE FROM number7_workers WHERE inbox = ?1 AND last_seen < ?2 - 86400000
    AND NOT EXISTS (SELECT 1 FROM number7_events INDEXED BY number7_events_state
        WHERE inbox = ?1 AND state = 'running' AND claimed_by = name)
