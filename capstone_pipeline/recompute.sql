-- The rules of docs/PIPELINE_DOCUMENTATION.md as DuckDB reads them, from delivered lines to the five answers.
-- Written from the rules, sharing nothing with glue_scripts/capstone_etl.py: it is what the job is held against.
--
-- Given: lines(source_file, arrival, line, is_utf8), one row a delivered line, and
--        corrupt_objects(source_file), those that end in bytes that could not be decompressed.

CREATE MACRO standardised(value) AS
    CASE WHEN lower(trim(value, e' \t\n\r\f\v')) IN ('', 'null', 'none', 'nan', 'n/a') THEN NULL
         ELSE trim(value, e' \t\n\r\f\v') END;

CREATE MACRO is_nested(kind) AS coalesce(kind IN ('OBJECT', 'ARRAY'), false);

-- DuckDB's JSON takes NaN, Infinity and trailing commas; JSON itself does not.
CREATE MACRO is_strict_json(value) AS
    json_valid(value) AND NOT regexp_matches(
        regexp_replace(value, '"(?:[^"\\]|\\.)*"', '""', 'g'), '(?i)nan|inf|,\s*[}\]]');

CREATE TABLE fields AS
WITH objects AS (
    SELECT source_file, arrival, line,
           CASE WHEN is_utf8 AND is_strict_json(line) THEN
               CASE WHEN json_type(line) = 'OBJECT' THEN line END END AS object
    FROM lines),
extracted AS (
    SELECT *,
           json_extract_string(object, ['$.timestamp', '$.user_id', '$.session_id', '$.event_type', '$.product_id',
                                        '$.quantity', '$.price', '$.category', '$.search_query']) AS text,
           json_type(object, ['$.timestamp', '$.user_id', '$.session_id', '$.event_type', '$.product_id',
                              '$.quantity', '$.price', '$.category', '$.search_query']) AS kind
    FROM objects)
SELECT source_file, arrival, line, object IS NOT NULL AS is_object, kind,
       standardised(text[1]) AS event_time, standardised(text[2]) AS user_id,
       standardised(text[3]) AS session_id, standardised(text[4]) AS event_type,
       standardised(text[5]) AS product_id, standardised(text[6]) AS quantity_text,
       standardised(text[7]) AS price_text, standardised(text[8]) AS category,
       standardised(text[9]) AS search_query
FROM extracted;

CREATE MACRO is_decimal(value) AS
    regexp_full_match(value, '[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?');

CREATE TABLE typed AS
SELECT * EXCLUDE (event_time),
       event_time,
       CASE WHEN regexp_full_match(event_time,
                '[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?(Z|[+-][0-9]{2}:[0-9]{2})')
            THEN try_cast(event_time AS TIMESTAMPTZ) AT TIME ZONE 'UTC' END AS event_timestamp,
       CASE WHEN is_decimal(quantity_text) THEN try_cast(quantity_text AS DECIMAL(38, 10)) END AS quantity,
       CASE WHEN is_decimal(price_text) THEN try_cast(price_text AS DECIMAL(38, 10)) END AS price,
       event_type IN ('add_to_cart', 'remove_from_cart', 'purchase') AS has_price
FROM fields;

-- The first reason that applies, field by field; NULL for an accepted line.
CREATE TABLE judged AS
SELECT *,
       CASE
           WHEN NOT is_object THEN 'malformed_json'
           WHEN is_nested(kind[1]) THEN 'invalid_value:timestamp'
           WHEN event_time IS NULL THEN 'missing_field:timestamp'
           WHEN event_timestamp IS NULL OR year(event_timestamp) NOT BETWEEN 2020 AND 2039
               THEN 'invalid_value:timestamp'
           WHEN is_nested(kind[2]) THEN 'invalid_value:user_id'
           WHEN user_id IS NULL THEN 'missing_field:user_id'
           WHEN is_nested(kind[3]) THEN 'invalid_value:session_id'
           WHEN session_id IS NULL THEN 'missing_field:session_id'
           WHEN is_nested(kind[4]) THEN 'invalid_value:event_type'
           WHEN event_type IS NULL THEN 'missing_field:event_type'
           WHEN event_type NOT IN ('page_view', 'add_to_cart', 'remove_from_cart', 'purchase', 'search')
               THEN 'unknown_event_type'
           WHEN is_nested(kind[5]) THEN 'invalid_value:product_id'
           WHEN product_id IS NULL AND event_type <> 'search' THEN 'missing_field:product_id'
           WHEN is_nested(kind[6]) OR kind[6] = 'BOOLEAN' THEN 'invalid_value:quantity'
           WHEN quantity_text IS NULL AND has_price THEN 'missing_field:quantity'
           WHEN quantity_text IS NOT NULL AND (quantity IS NULL OR quantity <> trunc(quantity)
                OR abs(quantity) > 2147483647 OR (has_price AND quantity < 1)) THEN 'invalid_value:quantity'
           WHEN is_nested(kind[7]) OR kind[7] = 'BOOLEAN' THEN 'invalid_value:price'
           WHEN price_text IS NULL AND has_price THEN 'missing_field:price'
           WHEN price_text IS NOT NULL AND (price IS NULL OR price * 100 <> trunc(price * 100)
                OR abs(price) >= 100000000 OR (has_price AND price < 0)) THEN 'invalid_value:price'
           WHEN is_nested(kind[8]) THEN 'invalid_value:category'
           WHEN is_nested(kind[9]) THEN 'invalid_value:search_query'
       END AS reason
FROM typed;

CREATE VIEW rejected AS
SELECT source_file, reason FROM judged WHERE reason IS NOT NULL
UNION ALL
SELECT source_file, 'corrupt_file' FROM corrupt_objects;

-- Copies of one event share who, what and when. The newest delivery says what the event was worth; the first
-- delivery that said the same is where the event comes from.
CREATE TABLE events AS
WITH copies AS (
    SELECT event_timestamp, user_id, session_id, event_type, product_id, search_query,
           quantity::INT AS quantity, price::DECIMAL(10, 2) AS price, category, arrival, source_file
    FROM judged WHERE reason IS NULL),
decided AS (
    SELECT *, first_value({'price': price, 'quantity': quantity, 'category': category}) OVER (
        PARTITION BY user_id, session_id, event_type, product_id, search_query, event_timestamp
        ORDER BY arrival DESC, source_file DESC, price DESC NULLS LAST, quantity DESC NULLS LAST,
                 category DESC NULLS LAST
        ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) AS newest
    FROM copies)
SELECT * EXCLUDE (newest, arrival), event_timestamp::DATE AS event_date, hour(event_timestamp)::INT AS event_hour
FROM decided
WHERE price IS NOT DISTINCT FROM newest.price AND quantity IS NOT DISTINCT FROM newest.quantity
  AND category IS NOT DISTINCT FROM newest.category
QUALIFY row_number() OVER (
    PARTITION BY user_id, session_id, event_type, product_id, search_query, event_timestamp
    ORDER BY arrival, source_file) = 1;

-- Rounded half up to four places, in whole numbers: no fraction is lost on the way.
CREATE MACRO ratio(part, whole) AS
    CASE WHEN whole > 0 THEN (((20000 * part + whole) // (2 * whole)) / 10000)::DECIMAL(10, 4) END;

CREATE VIEW conversion_funnel AS
WITH counted AS (
    SELECT product_id, coalesce(category, 'uncategorized') AS category,
           count(*) FILTER (event_type = 'page_view') AS views,
           count(*) FILTER (event_type = 'add_to_cart') AS add_to_carts,
           count(*) FILTER (event_type = 'purchase') AS purchases
    FROM events WHERE product_id IS NOT NULL AND event_type IN ('page_view', 'add_to_cart', 'purchase')
    GROUP BY ALL)
SELECT *, ratio(add_to_carts, views) AS view_to_cart_conversion,
       ratio(purchases, views) AS view_to_purchase_conversion,
       ratio(purchases, add_to_carts) AS cart_to_purchase_conversion
FROM counted;

CREATE VIEW hourly_revenue AS
SELECT event_date, event_hour, sum(price * quantity)::DECIMAL(18, 2) AS total_revenue,
       count(*) AS transaction_count
FROM events WHERE event_type = 'purchase' GROUP BY ALL;

CREATE VIEW top_products AS
SELECT row_number() OVER (ORDER BY count(*) DESC, product_id, coalesce(category, 'uncategorized'))::INT AS rank,
       product_id, coalesce(category, 'uncategorized') AS category, count(*) AS view_count
FROM events WHERE event_type = 'page_view' AND product_id IS NOT NULL
GROUP BY product_id, coalesce(category, 'uncategorized')
ORDER BY rank LIMIT 10;

CREATE VIEW category_performance AS
SELECT event_date, coalesce(category, 'uncategorized') AS category, count(*) AS event_count
FROM events GROUP BY ALL;

CREATE VIEW user_activity AS
SELECT event_date, count(DISTINCT user_id) AS unique_users, count(DISTINCT session_id) AS unique_sessions
FROM events GROUP BY ALL;
