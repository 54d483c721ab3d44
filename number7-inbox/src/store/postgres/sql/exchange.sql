-- Records the ends of attempts, and claims what is ready.
--
-- $1 the worker, $2 its inbox, $3 its lease in seconds; $4 to $10 the ends; $11 how many events to claim at most,
-- $12 how many of them quarantined; $13 and $14 where the last claim ended: microseconds, and the id; $15 how many more
-- events to claim ahead; $16 and $17 some accounts, and how many events of each to claim before
-- those of all.
--
-- `id = ANY (ARRAY[…])` is found by the primary key. An `id = …` might also be found by going through the whole index, by
-- a plan that was made when the table was empty.
WITH live AS MATERIALIZED (
    SELECT FROM number7.workers
    WHERE name = $1 AND last_seen >= now() - $3 * interval '1 second'
), paused AS MATERIALIZED (
    SELECT until FROM number7.pauses WHERE inbox = $2 AND account = '' AND (until IS NULL OR until > now())
), paused_accounts AS MATERIALIZED (
    SELECT account FROM number7.pauses WHERE inbox = $2 AND account <> '' AND (until IS NULL OR until > now())
), ends AS MATERIALIZED (
    -- What is locked is being finished, in a transaction of a handler's.
    SELECT ends.* FROM unnest(
            $4::bigint[], $5::integer[], $6::text[], $7::integer[], $8::integer[], $9::float8[], $10::text[]
        ) AS ends (id, claim, state, attempt, uncounted, delay, errors)
        JOIN number7.events AS event ON event.id = ANY (ARRAY[ends.id])
    FOR UPDATE OF event SKIP LOCKED
), ended AS (
    -- What is done stays done, even if a handler's transaction finished it. An end whose answer was lost is sent
    -- again. If it made a dead letter, the row has the number that it wrote: for a claim beyond the last attempt,
    -- its own minus one.
    --
    -- No condition here may imply the one of a partial index, or the planner could go through its dead entries.
    UPDATE number7.events AS event
    SET state = ends.state, attempt = ends.attempt, uncounted = ends.uncounted,
        errors = coalesce(ends.errors::jsonb, event.errors),
        claimed_by = NULL, claimed_at = NULL,
        due_at = now() + ends.delay * interval '1 second',
        finished_at = CASE WHEN ends.state <> 'ready' THEN now() END
    FROM ends
    WHERE event.id = ANY (ARRAY[ends.id])
        AND event.attempt = CASE event.state WHEN 'dead' THEN ends.attempt ELSE ends.claim END
        AND (event.state <> 'done' OR ends.state = 'done')
        AND (event.state <> 'dead' OR ends.state <> 'ready')
        AND coalesce(event.claimed_by, $1) = $1
    RETURNING event.id
), quarantined AS (
    SELECT id FROM number7.events
    WHERE inbox = $2 AND state = 'quarantined' AND due_at <= now() AND EXISTS (SELECT FROM live)
        AND NOT EXISTS (SELECT FROM paused)
        AND account <> ALL (ARRAY(SELECT account FROM paused_accounts))
    ORDER BY due_at, id LIMIT $12
    FOR UPDATE SKIP LOCKED
), of_accounts AS (
    SELECT event.id FROM unnest($16::text[]) AS waiting (account), LATERAL (
        SELECT id FROM number7.events
        WHERE inbox = $2 AND state = 'ready' AND account = waiting.account AND due_at <= now()
            AND EXISTS (SELECT FROM live) AND NOT EXISTS (SELECT FROM paused)
            AND account <> ALL (ARRAY(SELECT account FROM paused_accounts))
        ORDER BY due_at, id LIMIT $17
        FOR UPDATE SKIP LOCKED
    ) AS event
    LIMIT $11 + $15 - (SELECT count(*) FROM quarantined)
), ready AS (
    SELECT id, due_at FROM number7.events
    WHERE inbox = $2 AND state = 'ready' AND due_at <= now() AND EXISTS (SELECT FROM live)
        AND NOT EXISTS (SELECT FROM paused)
        -- Not past the events of accounts that are paused: there may be many.
        AND NOT EXISTS (SELECT FROM paused_accounts)
        AND (due_at, id) > (
            coalesce('epoch'::timestamptz + $13 * interval '1 microsecond', '-infinity'), $14::bigint)
        AND id <> ALL (ARRAY(SELECT id FROM of_accounts))
    ORDER BY due_at, id LIMIT $11 + $15 - (SELECT count(*) FROM quarantined) - (SELECT count(*) FROM of_accounts)
    FOR UPDATE SKIP LOCKED
), free AS (
    SELECT id, 'quarantined' AS claimed_as, false AS is_next FROM quarantined
    UNION ALL
    -- In any order: the rows are in theirs, and which of them are ahead does not matter.
    SELECT id, CASE WHEN row_number() OVER () > $11 - (SELECT count(*) FROM quarantined) THEN 'ahead' ELSE 'ready' END,
        is_next
    FROM (SELECT id, false AS is_next FROM of_accounts UNION ALL SELECT id, true FROM ready) AS ready
), claimed AS (
    UPDATE number7.events AS event
    SET state = 'running', attempt = event.attempt + 1, claimed_by = $1, claimed_at = now(),
        claimed_as = free.claimed_as
    FROM free
    WHERE event.id = ANY (ARRAY[free.id])
    RETURNING event.id, event.attempt::bigint, event.uncounted::bigint, event.runs::bigint,
        event.key, event.payload, event.errors::text, event.origin,
        event.signed_by, event.traceparent, event.tracestate,
        floor(extract(epoch FROM event.accepted_at) * 1000)::bigint AS accepted_at, event.claimed_as,
        -- Only of what was claimed in this order.
        CASE WHEN free.is_next THEN (extract(epoch FROM event.due_at) * 1000000)::bigint END AS due_at
)
-- First the ends: an event that was rescued may have one, and be claimed as well. The first of the two counts.
SELECT 'ended' AS part, id, NULL::bigint AS attempt, NULL::bigint AS uncounted, NULL::bigint AS runs, NULL AS key, NULL::bytea AS payload,
    NULL AS errors, NULL AS origin, NULL AS signed_by, NULL AS traceparent, NULL AS tracestate, NULL::bigint AS accepted_at, NULL::boolean AS is_quarantined,
    NULL::bigint AS due_at
FROM ended
UNION ALL
-- Those that are begun at once before those that are claimed ahead.
(SELECT 'claimed', id, attempt, uncounted, runs, key, payload, errors, origin, signed_by, traceparent, tracestate, accepted_at,
    claimed_as = 'quarantined', due_at
FROM claimed ORDER BY claimed_as = 'ahead', due_at, id)
UNION ALL
SELECT 'locked', id, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL FROM number7.events
WHERE id = ANY (ARRAY(SELECT unnest($4) EXCEPT SELECT id FROM ends))
UNION ALL
SELECT 'lapsed', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
WHERE $11 + $15 > 0 AND NOT EXISTS (SELECT FROM live)
UNION ALL
-- In how long the pause ends by itself.
SELECT 'paused', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
    (extract(epoch FROM until - now()) * 1000000)::bigint
FROM paused WHERE $11 + $15 > 0
UNION ALL
SELECT 'accounts paused', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
WHERE $11 + $15 > 0 AND EXISTS (SELECT FROM paused_accounts)
UNION ALL
-- Only if all that is ready was claimed, so that what is found first is scheduled.
(SELECT 'next', id, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
    (extract(epoch FROM greatest(due_at - now(), '0')) * 1000000)::bigint
FROM number7.events
WHERE inbox = $2 AND state = 'ready' AND due_at > now() AND (SELECT count(*) FROM claimed) < $11 + $15
ORDER BY due_at LIMIT 1)
