-- A claim is rescued by its own data, because the row of its worker may be gone. Locked events are skipped: a handler is
-- finishing them in a transaction.
UPDATE number7.events
SET state = CASE WHEN claimed_as = 'ahead' OR attempt - uncounted >= $3 THEN 'quarantined' ELSE 'ready' END,
    uncounted = uncounted + (claimed_as = 'ahead')::integer,
    claimed_by = NULL, claimed_at = NULL,
    errors = errors || jsonb_build_array(jsonb_build_object(
        'at', floor(extract(epoch FROM now()) * 1000)::bigint, 'attempt', attempt - uncounted,
        'error', $4::text))
WHERE id = ANY (ARRAY(
    SELECT id FROM number7.events
    WHERE inbox = $1 AND state = 'running' AND claimed_at < now() - $2 * interval '1 second'
        AND NOT EXISTS (
            SELECT FROM number7.workers
            WHERE name = claimed_by AND last_seen >= now() - $2 * interval '1 second'
        )
    ORDER BY claimed_at, id LIMIT $5
    FOR UPDATE OF events SKIP LOCKED
))
