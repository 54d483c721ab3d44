-- Takes jobs to fetch, some of each account. Each then rests, twice as long each time.
-- $1 the inbox, $2 the accounts, $3 how many of each, $4 seconds of the first rest, $5 of the longest
WITH found AS MATERIALIZED (
    SELECT next.job FROM unnest($2::text[]) AS waiting (account), LATERAL (
        SELECT job FROM number7.expected_jobs
        WHERE inbox = $1 AND is_overdue AND account = waiting.account AND fetch_at <= now()
        ORDER BY fetch_at LIMIT $3
        FOR UPDATE SKIP LOCKED
    ) AS next
)
UPDATE number7.expected_jobs AS expected SET fetches = fetches + 1,
    fetch_at = now() + least($5, $4 * 2 ^ least(fetches, 30)) * interval '1 second'
WHERE inbox = $1 AND job = ANY (ARRAY(SELECT job FROM found))
RETURNING job, fetches::bigint, EXISTS (
    SELECT FROM number7.events
    WHERE events.inbox = expected.inbox AND key IN (completed_key, failed_key) OFFSET 0
) AS is_settled
