WITH seen AS (
    INSERT INTO number7.workers (name, inbox) VALUES ($1, $2)
    ON CONFLICT (name) DO UPDATE SET last_seen = now()
)
SELECT id, attempt FROM number7.events
WHERE inbox = $2 AND state = 'running' AND claimed_by = $1
