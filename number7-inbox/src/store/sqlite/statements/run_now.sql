-- Makes scheduled events ready. ?1 inbox, ?2 keys, ?3 now, ?4 the note
UPDATE number7_events
SET due_at = ?3, errors = json_insert(errors, '$[#]', json_object('at', ?3, 'attempt', 0, 'error', ?4))
WHERE inbox = ?1 AND key IN (SELECT value FROM json_each(?2)) AND +state = 'ready' AND due_at > ?3
