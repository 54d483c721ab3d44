UPDATE number7.expected_jobs SET fetch_at = 'infinity' WHERE inbox = $1 AND job = $2 AND is_overdue
