DELETE FROM number7.expected_jobs WHERE inbox = $1 AND job = $2
