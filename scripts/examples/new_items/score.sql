-- Scores of new items in SQL (DuckDB's dialect): what a model says of known items, summed by the published rows.
-- Tables: published (the samples), scores (user_id, item_id, score, every known item), history (user_id, item_id).
-- A new item's score compares with the standardised ones, `z`, of known items.
WITH known AS (
    SELECT user_id, item_id,
        (score - avg(score) OVER (PARTITION BY user_id)) / stddev_pop(score) OVER (PARTITION BY user_id) AS z
    FROM scores
),
near AS (
    SELECT anchor_id, unnest(neighbour_ids) AS item_id, unnest(neighbour_weights) AS weight
    FROM published WHERE strategy = 'new-items'
)
SELECT user_id, anchor_id, sum(weight * (z + CASE WHEN history.item_id IS NULL THEN 0 ELSE 6 END)) AS new_score
FROM near JOIN known USING (item_id) LEFT JOIN history USING (user_id, item_id)
GROUP BY user_id, anchor_id
