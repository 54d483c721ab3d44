-- Fails if nothing can be written, and writes nothing.
SELECT FROM number7.workers WHERE false FOR UPDATE
