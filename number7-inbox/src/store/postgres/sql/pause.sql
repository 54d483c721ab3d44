-- Pauses an inbox, or changes its pause. $1 the inbox, $2 by whom, $3 why, $4 for how many seconds
INSERT INTO number7.pauses (inbox, paused_by, why, until) VALUES ($1, $2, $3, now() + $4 * interval '1 second')
ON CONFLICT (inbox) DO UPDATE
SET paused_by = excluded.paused_by, why = excluded.why, since = now(), until = excluded.until
