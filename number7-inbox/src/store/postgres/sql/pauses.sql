-- The pauses that are not over. $1 the inbox
SELECT account, paused_by, why, floor(extract(epoch FROM since) * 1000)::bigint AS since,
    floor(extract(epoch FROM until) * 1000)::bigint AS until
FROM number7.pauses WHERE inbox = $1 AND (until IS NULL OR until > now())
ORDER BY account
