-- Finishes one attempt, in a transaction of its handler.
UPDATE number7.events
SET state = 'done', claimed_by = NULL, claimed_at = NULL, finished_at = now()
WHERE id = $1 AND attempt = $2 AND claimed_by = $3
