-- The overdue jobs after a place. ?1 inbox, ?2 and ?3 the place, ?4 how many
SELECT job, 1000 * due_at AS due, fetches, fetch_at IS NULL AS is_given_up
FROM number7_expected_jobs AS jobs INDEXED BY number7_expected_jobs_overdue
WHERE inbox = ?1 AND is_overdue AND (due_at, job) > (?2, ?3)
    AND NOT EXISTS (SELECT 1 FROM number7_events AS events
        WHERE events.inbox = jobs.inbox AND key IN (completed_key, failed_key))
ORDER BY due_at, job LIMIT ?4
