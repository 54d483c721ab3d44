-- A known key is no error. If its insert is still on its way, this one waits.
INSERT INTO number7.events (inbox, key, event, job, payload, origin)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (inbox, key) DO NOTHING
