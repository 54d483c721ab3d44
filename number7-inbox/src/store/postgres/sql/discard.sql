UPDATE number7.events
SET state = 'done', finished_at = now(),
    errors = errors || jsonb_build_array(jsonb_build_object(
        'at', floor(extract(epoch FROM now()) * 1000)::bigint, 'attempt', 0, 'error', $3::text))
WHERE inbox = $1 AND key = ANY ($2) AND state || '' = 'dead'
