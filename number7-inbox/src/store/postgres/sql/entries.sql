-- Events as operators see them. What follows says which.
SELECT id, key, event, job, payload, origin,
    floor(extract(epoch FROM accepted_at) * 1000)::bigint AS accepted_at, state,
    due_at > now() AS is_scheduled, (extract(epoch FROM since) * 1000000)::bigint AS place,
    floor(extract(epoch FROM since) * 1000)::bigint AS since,
    (attempt - uncounted)::bigint AS attempts, runs::bigint, errors::text,
    (SELECT floor(extract(epoch FROM last_seen) * 1000)::bigint FROM number7.workers
        WHERE name = claimed_by) AS worker_seen
FROM number7.events
    CROSS JOIN LATERAL (SELECT coalesce(claimed_at, finished_at, due_at) AS since) AS of_state
