-- Renews the lease of a worker, and registers the worker if it is not known. ?1 worker, ?2 inbox, ?3 now
INSERT INTO number7_workers (name, inbox, last_seen, started_at) VALUES (?1, ?2, ?3, ?3)
ON CONFLICT (name) DO UPDATE SET last_seen = excluded.last_seen
