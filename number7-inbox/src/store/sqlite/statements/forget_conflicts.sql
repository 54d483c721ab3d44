-- Forgets the other bodies of events that are forgotten, or whose payloads are. ?1 the events
DELETE FROM number7_conflicts WHERE event_id IN (SELECT value FROM json_each(?1))
