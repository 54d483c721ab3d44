-- Counts that nobody knows an overdue job. After $3 times it is not fetched anymore. $1 the inbox, $2 the job
UPDATE number7.expected_jobs SET unknown = unknown + 1,
    fetch_at = CASE WHEN unknown + 1 >= $3 THEN 'infinity' ELSE fetch_at END
WHERE inbox = $1 AND job = $2 AND is_overdue
RETURNING unknown >= $3 AS is_given_up
