-- Counts dead letters as done. ?1 inbox, ?2 keys, ?3 now, ?4 the note, ?5 when they were finished, ?6 the state
UPDATE number7_events
SET state = 'done', finished_at = ?5,
    errors = json_insert(errors, '$[#]', json_object('at', ?3, 'attempt', 0, 'error', ?4))
WHERE inbox = ?1 AND key IN (SELECT value FROM json_each(?2)) AND +state = ?6
