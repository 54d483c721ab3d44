-- Whether there is a job to look up. ?1 inbox, ?2 now
SELECT EXISTS (SELECT 1 FROM number7_expected_jobs INDEXED BY number7_expected_jobs_look_up
    WHERE inbox = ?1 AND look_up_at <= ?2)
