-- Makes a worker the one that fetches, unless there is another. ?1 inbox, ?2 worker, ?3 now, ?4 lease
INSERT INTO number7_leaders (inbox, worker, until) VALUES (?1, ?2, ?3 + ?4)
ON CONFLICT (inbox) DO UPDATE SET worker = excluded.worker, until = excluded.until
    WHERE worker = excluded.worker OR until < ?3
