-- Events as operators see them. The part that is appended selects them.
SELECT id, key, event, job, payload, origin, signed_by, signature, traceparent, tracestate,
    floor(extract(epoch FROM accepted_at) * 1000)::bigint AS accepted_at, state,
    due_at > now() AS is_scheduled, (extract(epoch FROM since) * 1000000)::bigint AS place,
    floor(extract(epoch FROM since) * 1000)::bigint AS since,
    (attempt - uncounted)::bigint AS attempts, runs::bigint, errors::text,
    (SELECT floor(extract(epoch FROM last_seen) * 1000)::bigint FROM number7.workers
        WHERE name = claimed_by) AS worker_seen,
    later_payload, later_signed_by, later_signature,
    floor(extract(epoch FROM later_at) * 1000)::bigint AS later_at
FROM number7.events
    LEFT JOIN number7.conflicts ON event_id = id
    CROSS JOIN LATERAL (SELECT coalesce(claimed_at, finished_at, due_at) AS since) AS of_state
