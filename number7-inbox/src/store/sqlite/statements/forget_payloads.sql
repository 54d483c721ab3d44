-- Forgets the payloads of events that are done. ?1 the events
UPDATE number7_events SET payload = NULL
WHERE id IN (SELECT value FROM json_each(?1)) AND +state = 'done'
