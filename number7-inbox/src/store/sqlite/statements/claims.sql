-- The claims of all workers, the oldest first. ?1 inbox
SELECT claimed_by, key FROM number7_events INDEXED BY number7_events_state
WHERE inbox = ?1 AND state = 'running' ORDER BY since, id
