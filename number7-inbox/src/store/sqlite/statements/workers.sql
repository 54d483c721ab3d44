-- The workers whose last heartbeat is at most 30 seconds old. ?1 inbox, ?2 now
SELECT name, last_seen FROM number7_workers WHERE inbox = ?1 AND last_seen >= ?2 - 30000
