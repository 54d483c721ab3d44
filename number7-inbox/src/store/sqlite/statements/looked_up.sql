-- Records that jobs were looked up whose event has not arrived. ?1 inbox, ?2 jobs, ?3 now, ?4 how soon to look up an overdue
-- job again, ?5 how often to look up each job
UPDATE number7_expected_jobs
SET is_overdue = due_at <= ?3,
    look_up_at = ?3 + min(?5, iif(due_at <= ?3, max(?4, (?3 - due_at) / 10), due_at - ?3))
WHERE inbox = ?1 AND job IN (SELECT value FROM json_each(?2))
