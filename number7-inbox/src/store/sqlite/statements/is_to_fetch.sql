-- Whether there is a job to fetch. ?1 inbox, ?2 now
SELECT EXISTS (SELECT 1 FROM number7_expected_jobs INDEXED BY number7_expected_jobs_fetch
    WHERE inbox = ?1 AND is_overdue AND fetch_at <= ?2)
