-- When the next job is to be looked up. ?1 inbox
SELECT min(look_up_at) FROM number7_expected_jobs INDEXED BY number7_expected_jobs_look_up WHERE inbox = ?1
