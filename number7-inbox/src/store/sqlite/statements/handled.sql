-- How many events were finished in a period, at most ?4 of each state. ?1 inbox, ?2 its beginning, ?3 its end
SELECT
    (SELECT count(*) FROM (SELECT 1 FROM number7_events INDEXED BY number7_events_state
        WHERE inbox = ?1 AND state = 'done' AND since >= ?2 AND since < ?3 LIMIT ?4))
    + (SELECT count(*) FROM (SELECT 1 FROM number7_events INDEXED BY number7_events_state
        WHERE inbox = ?1 AND state = 'dead' AND since >= ?2 AND since < ?3 LIMIT ?4))
