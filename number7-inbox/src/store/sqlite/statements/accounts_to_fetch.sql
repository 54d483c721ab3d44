-- The next accounts, from one on, that have overdue jobs to be fetched now. '' is the account of jobs without one.
-- ?1 inbox, ?2 the account, ?3 now, ?4 how many accounts to examine
WITH RECURSIVE next (account) AS (
    SELECT min(account) FROM number7_expected_jobs INDEXED BY number7_expected_jobs_fetch
        WHERE inbox = ?1 AND is_overdue AND account >= ?2
    UNION ALL
    SELECT (SELECT min(account) FROM number7_expected_jobs INDEXED BY number7_expected_jobs_fetch
            WHERE inbox = ?1 AND is_overdue AND account > next.account)
    FROM next WHERE account IS NOT NULL
    LIMIT ?4
)
SELECT account, EXISTS (SELECT 1 FROM number7_expected_jobs INDEXED BY number7_expected_jobs_fetch
    WHERE inbox = ?1 AND is_overdue AND account = next.account AND fetch_at <= ?3) AS is_ready
FROM next WHERE account IS NOT NULL
