-- The jobs to look up. ?1 inbox, ?2 now, ?3 how many
SELECT job, due_at <= ?2 AND NOT is_overdue AS is_newly_overdue,
    EXISTS (SELECT 1 FROM number7_events AS events
        WHERE events.inbox = jobs.inbox AND key IN (completed_key, failed_key)) AS is_settled
FROM number7_expected_jobs AS jobs INDEXED BY number7_expected_jobs_look_up
WHERE inbox = ?1 AND look_up_at <= ?2 ORDER BY look_up_at LIMIT ?3
