-- Makes scheduled events ready. $1 the inbox, $2 keys, $3 the note
UPDATE number7.events
SET due_at = now(),
    errors = errors || jsonb_build_array(jsonb_build_object(
        'at', floor(extract(epoch FROM now()) * 1000)::bigint, 'attempt', 0, 'error', $3::text))
WHERE inbox = $1 AND key = ANY ($2) AND state || '' = 'ready' AND due_at > now()
