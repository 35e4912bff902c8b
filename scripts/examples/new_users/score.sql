-- Scores of new users in SQL (DuckDB's dialect): what a model says to the users it knows, summed by the published rows.
-- Tables: published (the samples), scores (user_id, item_id, score, every user and item), history (user_id, item_id).
-- Items that a new user has are to be left out afterwards.
WITH known AS (
    SELECT user_id, item_id,
        (score - avg(score) OVER (PARTITION BY user_id)) / stddev_pop(score) OVER (PARTITION BY user_id) AS z
    FROM scores
),
near AS (
    SELECT anchor_id, unnest(neighbour_ids) AS user_id, unnest(neighbour_weights) AS weight
    FROM published WHERE strategy = 'new-users'
)
SELECT anchor_id, item_id, sum(weight * (z + CASE WHEN history.item_id IS NULL THEN 0 ELSE 10 END)) AS new_score
FROM near JOIN known USING (user_id) LEFT JOIN history USING (user_id, item_id)
GROUP BY anchor_id, item_id
