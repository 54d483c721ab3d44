-- Forgets the payloads of events that were done long ago, among the next ones after a place. Returns the place of the last one
-- that it examined, if there may be more.
--
-- $1 the inbox, $2 seconds of retention, $3 and $4 the place, $5 how many events to examine
WITH old AS MATERIALIZED (
    SELECT id, finished_at, payload IS NOT NULL AS has_payload FROM number7.events
    WHERE inbox = $1 AND state = 'done' AND state IN ('done', 'dead')
        AND finished_at < now() - $2 * interval '1 second'
        AND (finished_at, id) > (coalesce('epoch'::timestamptz + $3 * interval '1 microsecond', '-infinity'), $4)
    ORDER BY finished_at, id LIMIT $5
), forgotten AS (
    UPDATE number7.events AS event SET payload = NULL
    FROM old
    WHERE event.id = ANY (ARRAY[old.id]) AND event.state || '' = 'done' AND old.has_payload
), forgotten_conflicts AS (
    DELETE FROM number7.conflicts WHERE event_id = ANY (ARRAY(SELECT id FROM old))
)
SELECT (extract(epoch FROM finished_at) * 1000000)::bigint AS time, id
FROM old
WHERE (SELECT count(*) FROM old) = $5
ORDER BY finished_at DESC, id DESC LIMIT 1
