-- Pauses an inbox, or changes its pause. ?1 inbox, ?2 by whom, ?3 why, ?4 now, ?5 until when
INSERT INTO number7_pauses (inbox, paused_by, why, since, until) VALUES (?1, ?2, ?3, ?4, ?5)
ON CONFLICT (inbox) DO UPDATE
SET paused_by = excluded.paused_by, why = excluded.why, since = excluded.since, until = excluded.until
