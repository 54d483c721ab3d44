-- Pauses an inbox or an account of it, or changes the pause. $1 the inbox, $2 the account or '', $3 by whom, $4 why, $5 for
-- how many seconds
INSERT INTO number7.pauses (inbox, account, paused_by, why, until)
VALUES ($1, $2, $3, $4, now() + $5 * interval '1 second')
ON CONFLICT (inbox, account) DO UPDATE
SET paused_by = excluded.paused_by, why = excluded.why, since = now(), until = excluded.until
