-- Counts a dead letter as done. ?1 inbox, ?2 key, ?3 now, ?4 the note, ?5 when it was finished
UPDATE number7_events
SET state = 'done', finished_at = ?5,
    errors = json_insert(errors, '$[#]', json_object('at', ?3, 'attempt', 0, 'error', ?4))
WHERE inbox = ?1 AND key = ?2 AND +state = 'dead'
