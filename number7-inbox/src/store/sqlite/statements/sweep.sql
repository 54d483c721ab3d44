-- Forgets finished events of one state, and returns them. ?1 inbox, ?2 state, ?3 now, ?4 how long they are kept, ?5 how many
DELETE FROM number7_events WHERE id IN (SELECT id FROM number7_events INDEXED BY number7_events_state
    WHERE inbox = ?1 AND state = ?2 AND since < ?3 - ?4 ORDER BY since LIMIT ?5)
RETURNING id
