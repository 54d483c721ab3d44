-- Pauses an inbox or an account of it, or changes the pause. ?1 inbox, ?2 account or '', ?3 by whom, ?4 why, ?5 now,
-- ?6 until when
INSERT INTO number7_pauses (inbox, account, paused_by, why, since, until) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
ON CONFLICT (inbox, account) DO UPDATE
SET paused_by = excluded.paused_by, why = excluded.why, since = excluded.since, until = excluded.until
