-- When the first events that wait were or will be ready. ?1 inbox
SELECT
    (SELECT min(since) FROM number7_events INDEXED BY number7_events_state
        WHERE inbox = ?1 AND state = 'ready'),
    (SELECT min(since) FROM number7_events INDEXED BY number7_events_state
        WHERE inbox = ?1 AND state = 'quarantined')
