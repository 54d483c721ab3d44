SELECT count(*) FROM number7.events WHERE inbox = $1 AND state = 'done' AND state IN ('done', 'dead')
