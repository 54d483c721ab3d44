DELETE FROM number7.events
WHERE id = ANY (ARRAY(
    SELECT id FROM number7.events
    WHERE inbox = $1 AND state = $2 AND state IN ('done', 'dead')
        AND finished_at < now() - $3 * interval '1 second'
    ORDER BY finished_at, id LIMIT $4
    FOR UPDATE SKIP LOCKED
))
