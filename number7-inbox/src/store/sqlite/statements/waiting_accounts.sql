-- The next accounts, from one on, that have ready events. '' is the account of events without one. It passes over accounts
-- whose events are all scheduled, and those that are paused.
-- ?1 inbox, ?2 the account, ?3 now, ?4 how many accounts to examine
WITH RECURSIVE next (account) AS (
    SELECT min(account) FROM number7_events INDEXED BY number7_events_ready_of_account
        WHERE inbox = ?1 AND state = 'ready' AND account >= ?2
    UNION ALL
    SELECT (SELECT min(account) FROM number7_events INDEXED BY number7_events_ready_of_account
            WHERE inbox = ?1 AND state = 'ready' AND account > next.account)
    FROM next WHERE account IS NOT NULL
    LIMIT ?4
)
SELECT account, ?3 >= (SELECT min(since) FROM number7_events INDEXED BY number7_events_ready_of_account
    WHERE inbox = ?1 AND state = 'ready' AND account = next.account)
    AND NOT EXISTS (SELECT 1 FROM number7_pauses
        WHERE inbox = ?1 AND number7_pauses.account = next.account AND (until IS NULL OR until > ?3)) AS is_ready
FROM next WHERE account IS NOT NULL
