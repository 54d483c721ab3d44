-- Whether an insert whose answer was lost has stored the event: it was accepted since the insert was sent.
SELECT EXISTS (
    SELECT FROM number7.events
    WHERE inbox = $1 AND key = $2 AND accepted_at >= now() - $3 * interval '1 second'
)
