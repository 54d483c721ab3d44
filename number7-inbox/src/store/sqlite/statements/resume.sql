-- Ends a pause that is not over. ?1 inbox, ?2 account or '', ?3 now
DELETE FROM number7_pauses WHERE inbox = ?1 AND account = ?2 AND (until IS NULL OR until > ?3)
