-- Ends a pause. Also deletes pauses that are over, without counting them. $1 the inbox, $2 the account or ''
WITH ended AS (
    DELETE FROM number7.pauses WHERE inbox = $1 AND account = $2 RETURNING until IS NULL OR until > now() AS is_on
)
SELECT count(*) FROM ended WHERE is_on
