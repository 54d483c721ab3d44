INSERT INTO number7.leaders AS leader (inbox, worker, until)
VALUES ($1, $2, now() + $3 * interval '1 second')
ON CONFLICT (inbox) DO UPDATE SET worker = excluded.worker, until = excluded.until
    WHERE leader.worker = excluded.worker OR leader.until < now()
