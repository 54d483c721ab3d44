-- Stops expecting a job. Returns 1, or 0 if it was not expected.
-- ARGV: the job
return cancel(ARGV[1])
