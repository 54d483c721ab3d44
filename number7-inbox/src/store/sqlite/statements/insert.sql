-- Stores the events whose keys are not known, and returns their keys. ?1 inbox, ?2 events, ?3 now
INSERT INTO number7_events
    (inbox, key, event, job, origin, payload, signed_by, signature, traceparent, tracestate, account, accepted_at,
    due_at)
SELECT ?1, value ->> 0, value ->> 1, value ->> 2, value ->> 3, CAST(value ->> 4 AS BLOB), value ->> 5, value ->> 6,
    value ->> 7, value ->> 8, value ->> 9, ?3, ?3
FROM json_each(?2) WHERE true
ON CONFLICT (inbox, key) DO NOTHING
RETURNING key;
