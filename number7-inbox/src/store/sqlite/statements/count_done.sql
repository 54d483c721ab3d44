-- How many events are done. ?1 inbox
SELECT count(*) FROM number7_events INDEXED BY number7_events_state WHERE inbox = ?1 AND state = 'done'
