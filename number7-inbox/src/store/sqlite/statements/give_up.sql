-- Counts that nobody knows an overdue job. After ?3 times it is not fetched anymore. ?1 inbox, ?2 job
UPDATE number7_expected_jobs SET unknown = unknown + 1, fetch_at = iif(unknown + 1 >= ?3, NULL, fetch_at)
WHERE inbox = ?1 AND job = ?2 AND is_overdue
RETURNING unknown >= ?3 AS is_given_up
