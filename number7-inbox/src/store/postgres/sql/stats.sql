SELECT
    (SELECT count(*) FROM number7.events
        WHERE inbox = $1 AND state = 'ready' AND due_at <= now()) AS ready,
    (SELECT count(*) FROM number7.events
        WHERE inbox = $1 AND state = 'ready' AND due_at > now()) AS scheduled,
    (SELECT count(*) FROM number7.events WHERE inbox = $1 AND state = 'quarantined') AS quarantined,
    (SELECT count(*) FROM number7.events WHERE inbox = $1 AND state = 'running') AS running,
    (SELECT count(*) FROM number7.events
        WHERE inbox = $1 AND state = 'dead' AND state IN ('done', 'dead')) AS dead,
    (SELECT count(*) FROM number7.workers
        WHERE inbox = $1 AND last_seen >= now() - interval '30 seconds') AS workers,
    (SELECT count(*) FROM number7.expected_jobs WHERE inbox = $1 AND is_overdue) AS overdue,
    floor(extract(epoch FROM now() - least(now(),
        (SELECT due_at FROM number7.events WHERE inbox = $1 AND state = 'ready'
            ORDER BY due_at LIMIT 1),
        (SELECT due_at FROM number7.events WHERE inbox = $1 AND state = 'quarantined'
            ORDER BY due_at LIMIT 1)
    )) * 1000)::bigint AS oldest_ready,
    coalesce(floor(extract(epoch FROM now() - (SELECT due_at FROM number7.expected_jobs
        WHERE inbox = $1 AND is_overdue ORDER BY due_at LIMIT 1)) * 1000), 0)::bigint AS oldest_overdue,
    EXISTS (SELECT FROM number7.pauses
        WHERE inbox = $1 AND account = '' AND (until IS NULL OR until > now())) AS is_paused,
    (SELECT count(*) FROM number7.pauses
        WHERE inbox = $1 AND account <> '' AND (until IS NULL OR until > now())) AS paused_accounts
