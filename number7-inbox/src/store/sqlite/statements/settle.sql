-- Removes jobs whose event has arrived. ?1 inbox, ?2 jobs
DELETE FROM number7_expected_jobs WHERE inbox = ?1 AND job IN (SELECT value FROM json_each(?2))
