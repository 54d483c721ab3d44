-- How many events were finished in each of the 15 minutes from $2 (milliseconds since the epoch), at most $3 of each state.
SELECT
    (SELECT count(*) FROM (SELECT FROM number7.events
        WHERE inbox = $1 AND state = 'done' AND state IN ('done', 'dead')
            AND finished_at >= start AND finished_at < start + interval '1 minute'
        ORDER BY finished_at LIMIT $3) AS done)
    + (SELECT count(*) FROM (SELECT FROM number7.events
        WHERE inbox = $1 AND state = 'dead' AND state IN ('done', 'dead')
            AND finished_at >= start AND finished_at < start + interval '1 minute'
        ORDER BY finished_at LIMIT $3) AS dead)
FROM (
    SELECT 'epoch'::timestamptz + ($2 + minute * 60000) * interval '1 millisecond' AS start
    FROM generate_series(0, 14) AS minute
) AS minutes
ORDER BY start
