-- Keeps a body that was signed for a known key, if it differs from that of the event. If the payload of the event is forgotten,
-- the signatures are compared. ?1 inbox, ?2 key, ?3 body, ?4 the name of the secret, ?5 signature, ?6 now
INSERT INTO number7_conflicts (event_id, later_payload, later_signed_by, later_signature, later_at)
SELECT id, ?3, ?4, ?5, ?6 FROM number7_events
WHERE inbox = ?1 AND key = ?2 AND origin = 'signed'
    AND CASE WHEN payload IS NULL THEN signed_by = ?4 AND signature <> ?5 ELSE payload <> ?3 END
ON CONFLICT (event_id) DO UPDATE SET later_payload = excluded.later_payload, later_signed_by = excluded.later_signed_by,
    later_signature = excluded.later_signature, later_at = excluded.later_at
