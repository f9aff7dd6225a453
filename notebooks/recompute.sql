-- From judged lines to the five answers, as DuckDB computes them: the second half of `recompute.py`.
-- Written from the rules, sharing nothing with glue_scripts/capstone_etl.py: it is what the job is held against.

-- One row a delivered line, in the order of the lines. With a reason it is rejected; else it is an event: as
-- delivered, and then what that means.
CREATE TABLE judged (
    source_file VARCHAR, arrival TIMESTAMP, line VARCHAR, reason VARCHAR,
    delivered STRUCT("timestamp" VARCHAR, user_id VARCHAR, session_id VARCHAR, event_type VARCHAR,
                     product_id VARCHAR, quantity INT, price DECIMAL(10, 2), category VARCHAR,
                     search_query VARCHAR),
    user_id VARCHAR, session_id VARCHAR, event_type VARCHAR, product_id VARCHAR, search_query VARCHAR,
    event_timestamp TIMESTAMP, quantity INT, price DECIMAL(10, 2), category VARCHAR);

-- One row an object of which something could not be read.
CREATE TABLE corrupt_objects (source_file VARCHAR, arrival TIMESTAMP);

-- Derived
CREATE VIEW lines AS SELECT source_file, arrival, line FROM judged;

CREATE VIEW accepted AS
SELECT unnest(delivered), source_file, year(arrival) AS year, month(arrival) AS month, day(arrival) AS day,
       hour(arrival) AS hour, minute(arrival) AS minute
FROM judged WHERE reason IS NULL;

CREATE VIEW rejected AS
SELECT raw_line, reason, source_file, year(arrival) AS year, month(arrival) AS month, day(arrival) AS day
FROM (SELECT line AS raw_line, reason, source_file, arrival FROM judged WHERE reason IS NOT NULL
      UNION ALL SELECT NULL, 'corrupt_file', source_file, arrival FROM corrupt_objects);

-- Copies of one event share who, what and when, and are of one version when they say the same of its worth. The
-- version that was delivered last counts: whoever delivered it may be named as the event's source.
CREATE TABLE events AS
WITH versions AS (
    SELECT user_id, session_id, event_type, product_id, search_query, event_timestamp, quantity, price, category,
           max((arrival, source_file)) AS newest, list(DISTINCT source_file) AS sources
    FROM judged WHERE reason IS NULL GROUP BY ALL)
SELECT * EXCLUDE (newest), event_timestamp::DATE AS event_date, hour(event_timestamp)::INT AS event_hour,
       year(event_timestamp) AS year, month(event_timestamp) AS month, day(event_timestamp) AS day
FROM versions
QUALIFY row_number() OVER (
    PARTITION BY user_id, session_id, event_type, product_id, search_query, event_timestamp
    ORDER BY newest DESC, price DESC NULLS LAST, quantity DESC NULLS LAST, category DESC NULLS LAST) = 1;

-- In gold, an event without a category has this one.
CREATE VIEW gold_events AS SELECT * REPLACE (coalesce(category, 'uncategorized') AS category) FROM events;

CREATE VIEW event_cube AS
SELECT event_date, event_hour, product_id, category, event_type, count(*) AS event_count,
       coalesce(sum(quantity), 0)::BIGINT AS quantity,
       coalesce(sum(price * quantity) FILTER (event_type = 'purchase'), 0) AS revenue, year, month, day
FROM gold_events GROUP BY ALL;

-- Rounded half up to four places, in whole numbers: no fraction is lost on the way.
CREATE MACRO ratio(part, whole) AS
    CASE WHEN whole > 0 THEN (((20000 * part + whole) // (2 * whole)) / 10000)::DECIMAL(10, 4) END;

CREATE VIEW conversion_funnel AS
WITH counted AS (
    SELECT product_id, category,
           count(*) FILTER (event_type = 'page_view') AS views,
           count(*) FILTER (event_type = 'add_to_cart') AS add_to_carts,
           count(*) FILTER (event_type = 'purchase') AS purchases
    FROM gold_events WHERE product_id IS NOT NULL AND event_type IN ('page_view', 'add_to_cart', 'purchase')
    GROUP BY ALL)
SELECT *, ratio(add_to_carts, views) AS view_to_cart_conversion,
       ratio(purchases, views) AS view_to_purchase_conversion,
       ratio(purchases, add_to_carts) AS cart_to_purchase_conversion
FROM counted;

CREATE VIEW hourly_revenue AS
SELECT event_date, event_hour, sum(price * quantity) AS total_revenue, count(*) AS transaction_count
FROM events WHERE event_type = 'purchase' GROUP BY ALL;

CREATE VIEW top_products AS
SELECT row_number() OVER (ORDER BY count(*) DESC, product_id, category)::INT AS rank,
       product_id, category, count(*) AS view_count
FROM gold_events WHERE event_type = 'page_view' AND product_id IS NOT NULL
GROUP BY product_id, category
ORDER BY rank LIMIT 10;

CREATE VIEW category_performance AS
SELECT event_date, category, count(*) AS event_count FROM gold_events GROUP BY ALL;

CREATE VIEW user_activity AS
SELECT event_date, count(DISTINCT user_id) AS unique_users, count(DISTINCT session_id) AS unique_sessions
FROM events GROUP BY ALL;
