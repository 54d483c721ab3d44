-- Whether there is a job to look up. ?1 inbox, ?2 now
SELECT EXISTS (SELECT 1 FROM number7_expected_jobs WHERE inbox = ?1 AND look_up_at <= ?2)
