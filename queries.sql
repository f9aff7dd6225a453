-- query 1, conversion funnel
-- Which products turn views into carts, and carts into purchases?
-- One row per product and category. Ratios are fractions, NULL where the denominator is 0.
SELECT
    product_id,
    category,
    views,
    add_to_carts,
    purchases,
    view_to_cart_conversion,
    view_to_purchase_conversion,
    cart_to_purchase_conversion
FROM conversion_funnel
ORDER BY views DESC, product_id, category;

-- query 2, hourly revenue
-- How much does the shop sell, hour by hour?
-- One row per hour (UTC) with at least one purchase, newest first. Revenue is price times quantity.
SELECT
    event_date,
    event_hour,
    total_revenue,
    transaction_count
FROM hourly_revenue
ORDER BY event_date DESC, event_hour DESC;

-- query 3, top 10 products
-- Which products are viewed most?
-- Ten rows at most. Products with equally many views are ranked by their id.
SELECT
    rank,
    product_id,
    category,
    view_count
FROM top_products
ORDER BY rank;

-- query 4, category performance
-- How much activity does each category see, day by day?
-- Events of every type count. Those without a category, as searches, are "uncategorized".
SELECT
    event_date,
    category,
    event_count
FROM category_performance
ORDER BY event_date DESC, event_count DESC, category;

-- query 5, user activity
-- How many different users and sessions come each day?
-- Exact counts, one row per day (UTC), newest first.
SELECT
    event_date,
    unique_users,
    unique_sessions
FROM user_activity
ORDER BY event_date DESC;
