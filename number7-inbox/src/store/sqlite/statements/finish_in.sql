-- Finishes one attempt in a transaction of its handler. ?1 event, ?2 attempt, ?3 worker
UPDATE number7_events
SET state = 'done', claimed_by = NULL, claimed_at = NULL,
    finished_at = CAST(1000 * unixepoch('subsec') AS INTEGER)
WHERE id = ?1 AND attempt = ?2 AND claimed_by = ?3
