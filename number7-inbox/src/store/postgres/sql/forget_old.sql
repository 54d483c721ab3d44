-- Forgets workers that died and have nothing claimed anymore.
DELETE FROM number7.workers
WHERE name = ANY (ARRAY(
    SELECT name FROM number7.workers
    WHERE inbox = $1 AND last_seen < now() - interval '1 day'
        AND NOT EXISTS (
            SELECT FROM number7.events
            WHERE events.inbox = $1 AND state = 'running' AND claimed_by = name
        )
    LIMIT $2
))
