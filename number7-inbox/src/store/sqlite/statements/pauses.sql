-- The pauses that are not over. ?1 inbox, ?2 now
SELECT account, paused_by, why, since, until FROM number7_pauses
WHERE inbox = ?1 AND (until IS NULL OR until > ?2) ORDER BY account
