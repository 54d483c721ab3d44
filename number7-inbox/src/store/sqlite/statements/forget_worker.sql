-- Forgets a worker that has nothing claimed. ?1 worker
DELETE FROM number7_workers WHERE name = ?1
    AND NOT EXISTS (SELECT 1 FROM number7_events INDEXED BY number7_events_state
        WHERE inbox = number7_workers.inbox AND state = 'running' AND claimed_by = name)
