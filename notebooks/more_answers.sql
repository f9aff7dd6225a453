-- The questions that come after the five of queries.sql: more_answers.ipynb asks them, docs/QUERIES_REFERENCE.md
-- explains them. `$day` and `$days` stand for conditions on the partitions, `$first_day` and `$last_day` for dates.
-- Those on events_cleaned run in the silver database and read one day; the others run in gold.

-- query 6, sales by category and day
-- What does each category sell, and what is put into carts, day by day?
-- One row per day and category with a cart or a purchase, newest day first.
SELECT
    event_date,
    category,
    sum(CASE WHEN event_type = 'add_to_cart' THEN event_count ELSE 0 END) AS add_to_carts,
    sum(CASE WHEN event_type = 'purchase' THEN event_count ELSE 0 END) AS purchases,
    CAST(sum(revenue) AS decimal(18, 2)) AS total_revenue
FROM event_cube
WHERE $days
    AND event_date BETWEEN $first_day AND $last_day
    AND event_type IN ('add_to_cart', 'purchase')
GROUP BY event_date, category
ORDER BY event_date DESC, total_revenue DESC, category;

-- query 7, orders
-- What is an order worth, and how many items does it hold?
-- No event names an order: here it is all that one session buys on one day. One row per number of different products
-- in the order; the first, where that is NULL, is of all orders.
WITH bought AS (
    SELECT
        session_id,
        count(DISTINCT product_id) AS products,
        sum(quantity) AS items,
        sum(price * quantity) AS revenue
    FROM events_cleaned
    WHERE $day AND event_type = 'purchase'
    GROUP BY session_id
)
SELECT
    products,
    count(*) AS orders,
    sum(items) AS items,
    CAST(sum(revenue) AS decimal(18, 2)) AS total_revenue,
    CAST(sum(revenue) / count(*) AS decimal(18, 2)) AS average_order,
    CAST(CAST(sum(items) AS decimal(18, 2)) / count(*) AS decimal(18, 2)) AS items_per_order
FROM bought
GROUP BY ROLLUP (products)
HAVING count(*) > 0
ORDER BY products NULLS FIRST;

-- query 8, carts that were left
-- How many sessions filled a cart and bought nothing that day, and what lay in these carts?
-- In a cart is what was put in and not taken out. One row per category, which a cart may have several of; the first,
-- where that is NULL, is of all carts.
WITH moves AS (
    SELECT
        session_id,
        product_id,
        coalesce(category, 'uncategorized') AS category,
        event_type,
        price,
        CASE event_type WHEN 'add_to_cart' THEN quantity WHEN 'remove_from_cart' THEN -quantity END AS items
    FROM events_cleaned
    WHERE $day AND event_type IN ('add_to_cart', 'remove_from_cart', 'purchase')
),
in_cart AS (
    SELECT
        session_id,
        category,
        sum(items) AS items,
        sum(price * items) AS worth,
        sum(count_if(event_type = 'purchase')) OVER (PARTITION BY session_id) = 0 AS is_left
    FROM moves
    GROUP BY session_id, product_id, category
)
SELECT
    category,
    count(DISTINCT session_id) AS carts,
    count(DISTINCT CASE WHEN is_left THEN session_id END) AS left_carts,
    CAST(
        CAST(count(DISTINCT CASE WHEN is_left THEN session_id END) AS decimal(19, 4)) / count(DISTINCT session_id)
        AS decimal(10, 4)
    ) AS share,
    sum(CASE WHEN is_left THEN items ELSE 0 END) AS left_items,
    CAST(sum(CASE WHEN is_left THEN worth ELSE 0 END) AS decimal(18, 2)) AS left_worth
FROM in_cart
WHERE items > 0
GROUP BY ROLLUP (category)
HAVING count(*) > 0
ORDER BY category IS NULL DESC, left_worth DESC, category;

-- query 9, from view to purchase
-- How long does a visitor look before buying?
-- From a session's first view of a product to its first purchase of it on that day. One row per length of time.
WITH bought AS (
    SELECT
        min(CASE WHEN event_type = 'page_view' THEN event_timestamp END) AS viewed,
        min(CASE WHEN event_type = 'purchase' THEN event_timestamp END) AS purchased
    FROM events_cleaned
    WHERE $day AND event_type IN ('page_view', 'purchase')
    GROUP BY session_id, product_id
),
timed AS (
    SELECT CASE WHEN viewed <= purchased THEN date_diff('second', viewed, purchased) END AS seconds
    FROM bought
    WHERE purchased IS NOT NULL
)
SELECT
    CASE
        WHEN seconds IS NULL THEN 'not seen before'
        WHEN seconds < 30 THEN 'under 30 s'
        WHEN seconds < 60 THEN '30 s to 1 min'
        WHEN seconds < 120 THEN '1 to 2 min'
        WHEN seconds < 300 THEN '2 to 5 min'
        WHEN seconds < 600 THEN '5 to 10 min'
        WHEN seconds < 3600 THEN '10 min to 1 h'
        ELSE 'over 1 h'
    END AS time_to_purchase,
    count(*) AS purchases,
    CAST(CAST(count(*) AS decimal(19, 4)) / sum(count(*)) OVER () AS decimal(10, 4)) AS share
FROM timed
GROUP BY 1
ORDER BY min(seconds) NULLS LAST;

-- query 10, searches
-- What is searched most, and do those who search buy?
-- The most frequent texts. Before them, where the text is NULL, a row of all sessions that searched and one of all
-- that did not; 22 rows at most. A session buys when it does so on that day, before or after its search.
WITH sessions AS (
    SELECT
        session_id,
        count_if(event_type = 'search') > 0 AS has_searched,
        count_if(event_type = 'purchase') > 0 AS has_bought,
        array_agg(coalesce(search_query, '(no text)')) FILTER (WHERE event_type = 'search') AS texts
    FROM events_cleaned
    WHERE $day
    GROUP BY session_id
)
SELECT
    has_searched,
    search_query,
    count(search_query) AS searches,
    count(DISTINCT session_id) AS sessions,
    count(DISTINCT CASE WHEN has_bought THEN session_id END) AS buying_sessions,
    CAST(
        CAST(count(DISTINCT CASE WHEN has_bought THEN session_id END) AS decimal(19, 4)) / count(DISTINCT session_id)
        AS decimal(10, 4)
    ) AS share
FROM sessions
LEFT JOIN UNNEST(texts) AS searched (search_query) ON TRUE
GROUP BY GROUPING SETS ((has_searched), (has_searched, search_query))
HAVING has_searched OR grouping(search_query) = 1
ORDER BY search_query IS NOT NULL, has_searched DESC, searches DESC, search_query
LIMIT 22;

-- query 11, users who come back
-- How many users of a day come again on the next?
-- One row per day, newest first, but for the last, which has no next one yet.
WITH visits AS (
    SELECT event_date, lead(event_date) OVER (PARTITION BY visitor_id ORDER BY event_date) AS next_visit
    FROM (
        SELECT DISTINCT event_date, visitor_id
        FROM daily_visitors
        WHERE $days AND event_date BETWEEN $first_day AND $last_day AND visitor_type = 'user'
    )
)
SELECT
    event_date,
    count(*) AS unique_users,
    count(CASE WHEN next_visit = date_add('day', 1, event_date) THEN 1 END) AS returning_users,
    CAST(
        CAST(count(CASE WHEN next_visit = date_add('day', 1, event_date) THEN 1 END) AS decimal(19, 4)) / count(*)
        AS decimal(10, 4)
    ) AS share
FROM visits
WHERE event_date < $last_day
GROUP BY event_date
ORDER BY event_date DESC;

-- query 12, each day beside the one before
-- Is a day better than the one before it, and each of its hours than the same hour then?
-- One row per day, where the hour is NULL, then one per hour of the last day. The change looks at the day before
-- only up to the hour of the day's last purchase, as a day may not be over; NULL where nothing was sold by then.
WITH sides AS (  -- what an hour sold stands once for itself, and once for the same hour of the next day
    SELECT event_date, event_hour, transaction_count, total_revenue, DECIMAL '0.00' AS revenue_before
    FROM hourly_revenue
    WHERE event_date BETWEEN $first_day AND $last_day
    UNION ALL
    SELECT date_add('day', 1, event_date), event_hour, 0, DECIMAL '0.00', total_revenue
    FROM hourly_revenue
    WHERE date_add('day', 1, event_date) BETWEEN $first_day AND $last_day
),
hours AS (
    SELECT
        event_date,
        event_hour,
        sum(total_revenue) AS revenue,
        sum(revenue_before) AS earlier,
        max(CASE WHEN sum(transaction_count) > 0 THEN event_hour END) OVER (PARTITION BY event_date) AS last_hour
    FROM sides
    GROUP BY event_date, event_hour
)
SELECT
    event_date,
    event_hour,
    CAST(sum(revenue) AS decimal(18, 2)) AS total_revenue,
    CAST(sum(earlier) AS decimal(18, 2)) AS revenue_before,
    CAST(sum(CASE WHEN event_hour <= last_hour THEN earlier ELSE 0 END) AS decimal(18, 2)) AS revenue_before_by_then,
    CAST(
        CAST(sum(revenue) - sum(CASE WHEN event_hour <= last_hour THEN earlier ELSE 0 END) AS decimal(22, 4))
        / nullif(sum(CASE WHEN event_hour <= last_hour THEN earlier ELSE 0 END), 0)
        AS decimal(18, 4)
    ) AS change
FROM hours
GROUP BY GROUPING SETS ((event_date), (event_date, event_hour))
HAVING grouping(event_hour) = 1 OR event_date = $last_day
ORDER BY event_hour NULLS FIRST, event_date DESC;
