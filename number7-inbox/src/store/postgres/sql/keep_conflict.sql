-- Keeps a body that was signed for a known key, if it differs from that of the event. If the payload of the event is forgotten,
-- the signatures are compared. The event cannot be forgotten meanwhile, and this does not wait for a handler's transaction.
--
-- $1 the inbox, $2 the key, $3 the body, $4 the name of the secret, $5 the signature
INSERT INTO number7.conflicts (event_id, later_payload, later_signed_by, later_signature)
SELECT id, $3, $4, $5 FROM number7.events
WHERE inbox = $1 AND key = $2 AND origin = 'signed'
    AND CASE WHEN payload IS NULL THEN signed_by = $4 AND signature <> $5 ELSE payload <> $3 END
FOR KEY SHARE
ON CONFLICT (event_id) DO UPDATE SET later_payload = excluded.later_payload,
    later_signed_by = excluded.later_signed_by, later_signature = excluded.later_signature, later_at = now()
