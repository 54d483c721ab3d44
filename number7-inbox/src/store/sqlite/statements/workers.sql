-- The workers that were heard of in the last 30 seconds. ?1 inbox, ?2 now
SELECT name, last_seen FROM number7_workers WHERE inbox = ?1 AND last_seen >= ?2 - 30000
