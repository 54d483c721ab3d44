-- Releases claims whose attempts never began. ?1 worker, ?2 events and attempts
UPDATE number7_events
SET state = iif(claimed_as = 'quarantined', 'quarantined', 'ready'), uncounted = uncounted + 1, claimed_by = NULL, claimed_at = NULL
FROM (SELECT value ->> 0 AS event, value ->> 1 AS attempt FROM json_each(?2)) AS claims
WHERE id = claims.event AND number7_events.attempt = claims.attempt AND state = 'running' AND claimed_by = ?1
