WITH found AS MATERIALIZED (
    SELECT job FROM number7.expected_jobs
    WHERE inbox = $1 AND is_overdue AND fetch_at <= now() ORDER BY fetch_at LIMIT $2
    FOR UPDATE SKIP LOCKED
)
UPDATE number7.expected_jobs AS expected SET fetches = fetches + 1,
    fetch_at = now() + least($4, $3 * 2 ^ least(fetches, 30)) * interval '1 second'
WHERE inbox = $1 AND job = ANY (ARRAY(SELECT job FROM found))
RETURNING job, fetches::bigint, EXISTS (
    SELECT FROM number7.events
    WHERE events.inbox = expected.inbox AND key IN (completed_key, failed_key) OFFSET 0
) AS is_settled
