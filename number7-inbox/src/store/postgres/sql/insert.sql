-- A known key is no error. If its insert is still on its way, this one waits.
INSERT INTO number7.events
    (inbox, key, event, job, payload, origin, signed_by, signature, traceparent, tracestate)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
ON CONFLICT (inbox, key) DO NOTHING
