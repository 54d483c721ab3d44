-- Stops expecting a job. ?1 inbox, ?2 job
DELETE FROM number7_expected_jobs WHERE inbox = ?1 AND job = ?2
