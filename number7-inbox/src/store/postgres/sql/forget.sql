DELETE FROM number7.workers
WHERE name = $1 AND NOT EXISTS (
    SELECT FROM number7.events
    WHERE events.inbox = $2 AND state = 'running' AND claimed_by = $1
)
