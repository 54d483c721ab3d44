-- Makes dead letters, or done events, ready again.
--
-- $1 the inbox, $2 keys, $3 the note, $4 the state, $5 how many runs to add
--
-- Adds 2, because a dead letter at n may come from claim n + 1, whose attempt was never made, and the end of that claim may
-- still arrive. `state || ''` makes the planner find the events by their keys, not among all of their state.
UPDATE number7.events
SET state = 'ready', due_at = now(), finished_at = NULL, attempt = attempt + 2, uncounted = attempt + 2,
    runs = runs + $5,
    errors = errors || jsonb_build_array(jsonb_build_object(
        'at', floor(extract(epoch FROM now()) * 1000)::bigint, 'attempt', 0, 'error', $3::text))
WHERE inbox = $1 AND key = ANY ($2) AND state || '' = $4 AND payload IS NOT NULL
