-- Forgets finished events of one state, and the other bodies that were signed for them.
--
-- $1 the inbox, $2 the state, $3 seconds of retention, $4 how many at most
WITH old AS MATERIALIZED (
    SELECT id FROM number7.events
    WHERE inbox = $1 AND state = $2 AND state IN ('done', 'dead')
        AND finished_at < now() - $3 * interval '1 second'
    ORDER BY finished_at, id LIMIT $4
    FOR UPDATE SKIP LOCKED
), forgotten AS (
    DELETE FROM number7.conflicts WHERE event_id = ANY (ARRAY(SELECT id FROM old))
)
DELETE FROM number7.events WHERE id = ANY (ARRAY(SELECT id FROM old))
