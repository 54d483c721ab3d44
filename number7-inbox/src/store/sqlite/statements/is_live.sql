-- Whether a worker may claim: it is registered, and its lease is not over. ?1 worker, ?2 inbox, ?3 when a lease
-- that is over now was renewed
SELECT EXISTS (SELECT 1 FROM number7_workers WHERE name = ?1 AND inbox = ?2 AND last_seen >= ?3)
