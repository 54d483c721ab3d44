-- Expects an event of a job, unless one is known or expected. ?1 inbox, ?2 job, ?3 and ?4 the keys of its events,
-- ?5 now, ?6 within what time, ?7 how often it is looked up, ?8 its account
INSERT INTO number7_expected_jobs (inbox, job, completed_key, failed_key, due_at, look_up_at, fetch_at, account)
SELECT ?1, ?2, ?3, ?4, ?5 + ?6, ?5 + min(?6, ?7), ?5 + ?6, ?8
WHERE NOT EXISTS (SELECT 1 FROM number7_events WHERE inbox = ?1 AND key IN (?3, ?4))
ON CONFLICT (inbox, job) DO NOTHING
