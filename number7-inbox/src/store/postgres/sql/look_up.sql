-- The jobs that are overdue now, and were not before. It skips jobs that another worker is looking up.
--
-- `OFFSET 0` keeps the planner from joining all events, by a plan from when there were few.
WITH found AS MATERIALIZED (
    SELECT job, due_at <= now() AND NOT is_overdue AS is_new, EXISTS (
            SELECT FROM number7.events
            WHERE events.inbox = expected.inbox AND key IN (completed_key, failed_key) OFFSET 0
        ) AS is_settled
    FROM number7.expected_jobs AS expected
    WHERE inbox = $1 AND look_up_at <= now() ORDER BY look_up_at LIMIT $2
    FOR UPDATE OF expected SKIP LOCKED
), settled AS (
    DELETE FROM number7.expected_jobs
    WHERE inbox = $1 AND job = ANY (ARRAY(SELECT job FROM found WHERE is_settled))
), noted AS (
    UPDATE number7.expected_jobs SET is_overdue = due_at <= now(),
        fetch_at = coalesce(fetch_at, CASE WHEN due_at <= now() THEN now() END),
        look_up_at = now() + least($4 * interval '1 second', CASE WHEN due_at <= now()
            THEN greatest($3 * interval '1 second', (now() - due_at) / 10)
            ELSE due_at - now() END)
    WHERE inbox = $1 AND job = ANY (ARRAY(SELECT job FROM found WHERE NOT is_settled))
    RETURNING look_up_at
), next AS (
    SELECT look_up_at FROM noted
    UNION ALL
    (SELECT look_up_at FROM number7.expected_jobs
    WHERE inbox = $1 AND look_up_at > now() ORDER BY look_up_at LIMIT 1)
)
SELECT job, is_new AND NOT is_settled AS is_newly_overdue, NULL::bigint AS next_in FROM found
UNION ALL
-- The time until the next look-up, in microseconds.
SELECT NULL, false, (extract(epoch FROM min(look_up_at) - now()) * 1000000)::bigint FROM next HAVING count(*) > 0
