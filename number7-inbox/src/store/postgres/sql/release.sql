-- `= ANY (ARRAY[…])`: as in `exchange`.
UPDATE number7.events AS event
SET state = CASE claimed_as WHEN 'quarantined' THEN 'quarantined' ELSE 'ready' END, uncounted = uncounted + 1, claimed_by = NULL, claimed_at = NULL
FROM unnest($2::bigint[], $3::integer[]) AS claims (id, attempt)
WHERE event.id = ANY (ARRAY[claims.id]) AND event.attempt = claims.attempt AND event.claimed_by = $1
