-- The next accounts, from one on, that have overdue jobs to be fetched now. '' is the account of jobs without one.
-- $1 the inbox, $2 the account, $3 how many accounts to examine
WITH RECURSIVE waiting AS (
    (SELECT account, fetch_at FROM number7.expected_jobs
    WHERE inbox = $1 AND is_overdue AND account >= $2
    ORDER BY account, fetch_at LIMIT 1)
    UNION ALL
    SELECT next.account, next.fetch_at FROM waiting, LATERAL (
        SELECT account, fetch_at FROM number7.expected_jobs
        WHERE inbox = $1 AND is_overdue AND account > waiting.account
        ORDER BY account, fetch_at LIMIT 1
    ) AS next
)
SELECT account, coalesce(fetch_at <= now(), false) AS is_ready FROM waiting LIMIT $3
