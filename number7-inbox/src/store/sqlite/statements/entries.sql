-- Events for an operator. The part that is appended may name an index. ?1 now
SELECT id, key, event, job, payload, origin, signed_by, signature, traceparent, tracestate, accepted_at, state,
    state = 'ready' AND since > ?1 AS is_scheduled,
    since AS place, since, max(attempt - uncounted, 0) AS attempts, runs, errors,
    (SELECT last_seen FROM number7_workers WHERE name = claimed_by) AS worker_seen,
    later_payload, later_signed_by, later_signature, later_at
FROM number7_events
