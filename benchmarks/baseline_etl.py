"""The job as one would write it at first: what `glue_scripts/capstone_etl.py` is compared with.

Runs as a Glue job with the same arguments. It reads the new files by bookmark and appends them to bronze;
then it reads all of bronze, keeps the newest copy of each event by a window, overwrites silver and five
aggregates. After each write it logs DataFrame.count(), as is usual, which computes the rows once more.
Settings are Spark's defaults. Not for production: it is not crash-safe, quarantines nothing, and costs more
with history.
"""

from __future__ import annotations

import sys

from awsglue.context import GlueContext
from awsglue.job import Job
from awsglue.utils import getResolvedOptions
from pyspark import SparkContext
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

RAW_EVENT = (
    "timestamp string, user_id string, session_id string, event_type string, product_id string, "
    "quantity int, price decimal(10,2), category string, search_query string"
)
EVENT_TYPES = ("page_view", "add_to_cart", "remove_from_cart", "purchase", "search")
IDENTITY = ("user_id", "session_id", "event_type", "product_id", "search_query", "event_timestamp")
BY_DAY = ("year", "month", "day")


def new_events(glue_context: GlueContext, source_bucket: str) -> DataFrame | None:
    """The events of the files that are new to the bookmark; None when there are none."""
    lines = glue_context.create_dynamic_frame.from_options(
        connection_type="s3",
        connection_options={"paths": [f"s3://{source_bucket}/events/"], "recurse": True},
        format="csv",
        format_options={
            "separator": "\x01",
            "quoteChar": -1,
            "withHeader": False,
            "attachFilename": "source_file",
        },
        transformation_ctx="raw_events",
    ).toDF()
    if "source_file" not in lines.columns:
        return None
    return lines.select(F.from_json("col0", RAW_EVENT).alias("event"), "source_file").select(
        "event.*", "source_file"
    )


def with_day(events: DataFrame) -> DataFrame:
    """Add the event's time, its date, hour and partition columns."""
    time = F.to_timestamp("timestamp")
    return (
        events.withColumn("event_timestamp", time)
        .withColumn("event_date", F.to_date("event_timestamp"))
        .withColumn("event_hour", F.hour("event_timestamp"))
        .withColumn("year", F.date_format("event_date", "yyyy"))
        .withColumn("month", F.date_format("event_date", "MM"))
        .withColumn("day", F.date_format("event_date", "dd"))
    )


def cleaned(events: DataFrame) -> DataFrame:
    """Valid events, of each the newest copy."""
    valid = events.where(
        F.col("event_timestamp").isNotNull()
        & F.col("user_id").isNotNull()
        & F.col("session_id").isNotNull()
        & F.col("event_type").isin(*EVENT_TYPES)
    )
    newest = Window.partitionBy(*IDENTITY).orderBy(F.col("source_file").desc())
    return valid.withColumn("copy", F.row_number().over(newest)).where("copy = 1").drop("copy", "timestamp")


def aggregates(events: DataFrame) -> dict[str, DataFrame]:
    """The five gold tables."""

    def number_of(event_type: str) -> F.Column:
        return F.sum((F.col("event_type") == event_type).cast("bigint"))

    views, carts, purchases = (
        F.col(name).cast("decimal(19,0)") for name in ("views", "add_to_carts", "purchases")
    )
    return {
        "conversion_funnel": events.where("product_id IS NOT NULL")
        .groupBy("product_id", "category")
        .agg(
            number_of("page_view").alias("views"),
            number_of("add_to_cart").alias("add_to_carts"),
            number_of("purchase").alias("purchases"),
        )
        .withColumn("view_to_cart_conversion", carts / views)
        .withColumn("view_to_purchase_conversion", purchases / views)
        .withColumn("cart_to_purchase_conversion", purchases / carts),
        "hourly_revenue": events.where("event_type = 'purchase'")
        .groupBy("event_date", "event_hour")
        .agg(
            F.sum(F.col("price") * F.col("quantity")).alias("total_revenue"),
            F.count("*").alias("transaction_count"),
        ),
        "top_products": events.where("event_type = 'page_view'")
        .groupBy("product_id", "category")
        .agg(F.count("*").alias("view_count"))
        .orderBy(F.desc("view_count"), "product_id")
        .limit(10),
        "category_performance": events.groupBy("event_date", "category").agg(
            F.count("*").alias("event_count")
        ),
        "user_activity": events.groupBy("event_date").agg(
            F.countDistinct("user_id").alias("unique_users"),
            F.countDistinct("session_id").alias("unique_sessions"),
        ),
    }


def main() -> None:
    arguments = getResolvedOptions(sys.argv, ["JOB_NAME", "SOURCE_BUCKET", "ANALYTICS_BUCKET"])
    glue_context = GlueContext(SparkContext.getOrCreate())
    spark = glue_context.spark_session
    job = Job(glue_context)
    job.init(arguments["JOB_NAME"], arguments)
    lake = f"s3://{arguments['ANALYTICS_BUCKET']}"

    new = new_events(glue_context, arguments["SOURCE_BUCKET"])
    if new is not None:
        events = with_day(new)
        events.write.mode("append").partitionBy(*BY_DAY, "event_hour").parquet(f"{lake}/bronze/events")
        print(f"bronze: {events.count()} rows appended")

        distinct = cleaned(spark.read.parquet(f"{lake}/bronze/events"))
        distinct.write.mode("overwrite").partitionBy(*BY_DAY).parquet(f"{lake}/silver/events")
        print(f"silver: {distinct.count()} rows")

        silver = spark.read.parquet(f"{lake}/silver/events")
        for name, rows in aggregates(silver).items():
            rows.write.mode("overwrite").parquet(f"{lake}/gold/{name}")
            print(f"{name}: {rows.count()} rows")
    job.commit()


if __name__ == "__main__":
    main()
