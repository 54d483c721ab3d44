-- Claims events of one state, those first that became due first. ?1 inbox, ?2 state, ?3 now, ?4 worker, ?5 how many,
-- ?6 whether ahead of handlers
UPDATE number7_events
SET state = 'running', attempt = attempt + 1, claimed_by = ?4, claimed_at = ?3, is_ahead = ?6
WHERE id IN (SELECT id FROM number7_events INDEXED BY number7_events_state
    WHERE inbox = ?1 AND state = ?2 AND since <= ?3 ORDER BY since, id LIMIT ?5)
RETURNING id, attempt, uncounted, key, payload, errors, origin, accepted_at,
    ?2 = 'quarantined' AS is_quarantined
