-- The time of the server, in milliseconds since the epoch.
SELECT floor(extract(epoch FROM now()) * 1000)::bigint
