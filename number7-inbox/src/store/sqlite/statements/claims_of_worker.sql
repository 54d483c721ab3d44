-- The claims that a worker holds. ?1 worker, ?2 inbox
SELECT id, attempt FROM number7_events INDEXED BY number7_events_state
WHERE inbox = ?2 AND state = 'running' AND claimed_by = ?1
