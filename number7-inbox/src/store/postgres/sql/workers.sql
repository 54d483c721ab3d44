-- The workers whose last heartbeat is at most 30 seconds old, and the first $2 keys that each has claimed.
WITH claims AS MATERIALIZED (
    SELECT claimed_by, count(*) AS claimed, array_agg(key ORDER BY claimed_at, id) AS keys
    FROM number7.events WHERE inbox = $1 AND state = 'running' GROUP BY claimed_by
)
SELECT name, floor(extract(epoch FROM last_seen) * 1000)::bigint AS last_seen, coalesce(claimed, 0) AS claimed,
    coalesce(keys[:$2], '{}') AS keys
FROM number7.workers LEFT JOIN claims ON claimed_by = name
WHERE inbox = $1 AND last_seen >= now() - interval '30 seconds'
