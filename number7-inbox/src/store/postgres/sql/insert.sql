-- A known key is no error. If its insert is still on its way, this one waits. It does not wait for a handler's transaction
-- that has changed the event: without the condition, it would.
INSERT INTO number7.events
    (inbox, key, event, job, payload, origin, signed_by, signature, traceparent, tracestate, account)
SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11
WHERE NOT EXISTS (SELECT FROM number7.events WHERE inbox = $1 AND key = $2)
ON CONFLICT (inbox, key) DO NOTHING
