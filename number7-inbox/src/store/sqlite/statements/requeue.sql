-- Makes dead letters, or done events, ready again. The number grows by 2, because a dead letter at n may come from claim n + 1,
-- whose attempt was never made, and the end of that claim may still arrive. ?1 inbox, ?2 keys, ?3 now, ?4 the note, ?5 how many
-- runs to add, ?6 the state
UPDATE number7_events
SET state = 'ready', attempt = attempt + 2, uncounted = attempt + 2, runs = runs + ?5, due_at = ?3,
    finished_at = NULL, errors = json_insert(errors, '$[#]', json_object('at', ?3, 'attempt', 0, 'error', ?4))
WHERE inbox = ?1 AND key IN (SELECT value FROM json_each(?2)) AND +state = ?6 AND payload IS NOT NULL
