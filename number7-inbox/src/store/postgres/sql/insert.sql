-- A known key is not an error. If its insert has not been committed yet, this one waits. Without the condition, it would also
-- wait for a handler's transaction that has changed the event.
INSERT INTO number7.events
    (inbox, key, event, job, payload, origin, signed_by, signature, traceparent, tracestate, account)
SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11
WHERE NOT EXISTS (SELECT FROM number7.events WHERE inbox = $1 AND key = $2)
ON CONFLICT (inbox, key) DO NOTHING
