-- Rescues claims if both they and the heartbeat of their worker are older than a lease. A worker without a row,
-- because somebody deleted it, has no heartbeat. ?1 inbox, ?2 now, ?3 lease, ?4 the attempts after which an event
-- is quarantined, ?5 the note, ?6 how many
UPDATE number7_events
SET state = iif(claimed_as = 'ahead' OR attempt - uncounted >= ?4, 'quarantined', 'ready'),
    uncounted = uncounted + (claimed_as = 'ahead'), claimed_by = NULL, claimed_at = NULL,
    errors = json_insert(errors, '$[#]',
        json_object('at', ?2, 'attempt', max(attempt - uncounted, 0), 'error', ?5))
WHERE id IN (SELECT id FROM number7_events INDEXED BY number7_events_state
    WHERE inbox = ?1 AND state = 'running' AND since < ?2 - ?3
        AND NOT EXISTS (SELECT 1 FROM number7_workers WHERE name = claimed_by AND last_seen >= ?2 - ?3)
    LIMIT ?6)
