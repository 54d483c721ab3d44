-- Records the ends of attempts, and returns the events whose ends count. ?2 now, ?3 worker, ?6 ends, ?7 the
-- finishing time of done and dead events
--
-- A done event stays done, even if a handler's transaction finished it. An end whose answer was lost is sent again: if it made
-- a dead letter, the event has the number that it wrote.
UPDATE number7_events
SET state = ends.state, attempt = ends.attempt_after, uncounted = ends.uncounted,
    errors = coalesce(ends.errors, number7_events.errors),
    due_at = coalesce(?2 + ends.delay, due_at),
    claimed_by = NULL, claimed_at = NULL,
    finished_at = iif(ends.state = 'ready', NULL, ?7)
FROM (SELECT value ->> 0 AS event, value ->> 1 AS attempt, value ->> 2 AS state,
        value ->> 3 AS attempt_after, value ->> 4 AS uncounted, value ->> 5 AS delay, value ->> 6 AS errors
    FROM json_each(?6)) AS ends
WHERE id = ends.event
    AND number7_events.attempt = iif(number7_events.state = 'dead', ends.attempt_after, ends.attempt)
    AND (number7_events.state <> 'done' OR ends.state = 'done')
    AND (number7_events.state <> 'dead' OR ends.state <> 'ready')
    AND (claimed_by = ?3 OR claimed_by IS NULL)
RETURNING id AS ended;
