-- Stops fetching an overdue job. ?1 inbox, ?2 job
UPDATE number7_expected_jobs SET fetch_at = NULL WHERE inbox = ?1 AND job = ?2 AND is_overdue
