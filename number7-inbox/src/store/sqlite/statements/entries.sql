-- Events for an operator. ?1 now
SELECT id, key, event, job, payload, origin, accepted_at, state, state = 'ready' AND since > ?1 AS is_scheduled,
    since AS place, since, max(attempt - uncounted, 0) AS attempts, runs, errors,
    (SELECT last_seen FROM number7_workers WHERE name = claimed_by) AS worker_seen
FROM number7_events
