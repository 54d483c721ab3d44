-- Takes jobs to fetch, some of each account. Each then rests, twice as long each time. ?1 inbox, ?2 now, ?3 the first rest, ?4
-- the longest, ?5 the accounts, ?6 how many of each
UPDATE number7_expected_jobs AS jobs
SET fetches = fetches + 1, fetch_at = ?2 + min(?4, ?3 * (1 << min(fetches, 30)))
WHERE inbox = ?1 AND job IN (
    SELECT next.job FROM json_each(?5) AS waiting CROSS JOIN number7_expected_jobs AS next
    WHERE next.inbox = ?1 AND next.job IN (
        SELECT job FROM number7_expected_jobs INDEXED BY number7_expected_jobs_fetch
        WHERE inbox = ?1 AND is_overdue AND account = waiting.value AND fetch_at <= ?2
        ORDER BY fetch_at LIMIT ?6))
RETURNING job, fetches,
    EXISTS (SELECT 1 FROM number7_events
        WHERE number7_events.inbox = ?1 AND key IN (completed_key, failed_key)) AS is_settled
