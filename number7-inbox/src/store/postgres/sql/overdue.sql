SELECT job, (extract(epoch FROM due_at) * 1000000)::bigint AS due, fetches::bigint,
    coalesce(fetch_at = 'infinity', false) AS is_given_up
FROM number7.expected_jobs AS expected
WHERE inbox = $1 AND is_overdue
    AND (due_at, job) > ('epoch'::timestamptz + $2 * interval '1 microsecond', $3)
    AND NOT EXISTS (
        SELECT FROM number7.events
        WHERE events.inbox = expected.inbox AND key IN (completed_key, failed_key) OFFSET 0
    )
ORDER BY due_at, job LIMIT $4
