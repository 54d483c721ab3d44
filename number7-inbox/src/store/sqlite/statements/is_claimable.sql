-- Whether there is anything to claim. ?1 inbox, ?2 now
SELECT EXISTS (SELECT 1 FROM number7_events INDEXED BY number7_events_state
    WHERE inbox = ?1 AND state IN ('ready', 'quarantined') AND since <= ?2)
