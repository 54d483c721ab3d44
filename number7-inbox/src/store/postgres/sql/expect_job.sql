INSERT INTO number7.expected_jobs (inbox, job, completed_key, failed_key, due_at, look_up_at, account)
SELECT $1, $2, $3, $4, now() + $5 * interval '1 second', now() + least($5, $6) * interval '1 second', $7
WHERE NOT EXISTS (SELECT FROM number7.events WHERE inbox = $1 AND key IN ($3, $4))
ON CONFLICT (inbox, job) DO NOTHING
