-- The next accounts, from one on, that have ready events. '' is the account of events without one. It passes over accounts
-- whose events are all scheduled, and those that are paused.
-- $1 the inbox, $2 the account, $3 how many accounts to examine
WITH RECURSIVE waiting AS (
    (SELECT account, due_at FROM number7.events
    WHERE inbox = $1 AND state = 'ready' AND account >= $2
    ORDER BY account, due_at LIMIT 1)
    UNION ALL
    SELECT next.account, next.due_at FROM waiting, LATERAL (
        SELECT account, due_at FROM number7.events
        WHERE inbox = $1 AND state = 'ready' AND account > waiting.account
        ORDER BY account, due_at LIMIT 1
    ) AS next
)
-- The recursive query makes no more rows than are read.
SELECT account, due_at <= now() AND NOT EXISTS (
    SELECT FROM number7.pauses
    WHERE inbox = $1 AND pauses.account = waiting.account AND (until IS NULL OR until > now())
) AS is_ready
FROM waiting LIMIT $3
