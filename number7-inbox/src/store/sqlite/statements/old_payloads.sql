-- Events that were done long ago, after a place, and whether they have a payload. ?1 inbox, ?2 now, ?3 how long payloads are
-- kept, ?4 and ?5 the place, ?6 how many
SELECT since AS time, id, payload IS NOT NULL
    OR EXISTS (SELECT 1 FROM number7_conflicts WHERE event_id = id) AS has_payload
FROM number7_events INDEXED BY number7_events_state
WHERE inbox = ?1 AND state = 'done' AND since < ?2 - ?3 AND (since, id) > (?4, ?5)
ORDER BY since, id LIMIT ?6
