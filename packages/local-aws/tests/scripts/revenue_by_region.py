# Joins the sales of one month with the shops, both from the catalog, and keeps revenue by region as a table.
# ruff: noqa: F403, F405  (written as students write)
# mypy: ignore-errors
import sys

from awsglue import DynamicFrame
from awsglue.context import GlueContext
from awsglue.job import Job
from awsglue.transforms import *
from awsglue.utils import getResolvedOptions
from pyspark.context import SparkContext
from pyspark.sql import functions as F

args = getResolvedOptions(sys.argv, ["JOB_NAME", "DATABASE", "BUCKET"])
glueContext = GlueContext(SparkContext.getOrCreate())
spark = glueContext.spark_session
job = Job(glueContext)
job.init(args["JOB_NAME"], args)
database = args["DATABASE"]

sales = glueContext.create_dynamic_frame.from_catalog(
    database=database,
    table_name="sales",
    push_down_predicate="year = '2025' and month = '02'",
    transformation_ctx="sales",
)
shops = glueContext.create_dynamic_frame.from_catalog(
    database=database, table_name="shops", transformation_ctx="shops"
)
shops.printSchema()

sold = Filter.apply(frame=sales, f=lambda sale: sale["quantity"] > 0)
joined = Join.apply(sold, shops, "shop_id", "id").drop_fields(["id"])
priced = joined.map(f=lambda sale: {**sale, "revenue": sale["quantity"] * sale["price"]})

revenue = F.round(F.sum("revenue"), 2).alias("revenue")
by_region = priced.toDF().groupBy("region", "year", "month").agg(revenue)
result = DynamicFrame.fromDF(by_region.coalesce(1), glueContext, "result")
glueContext.write_dynamic_frame.from_catalog(
    frame=result,
    database=database,
    table_name="revenue",
    additional_options={"partitionKeys": ["year", "month"]},
)
print("regions:", spark.table(f"{database}.shops_by_id").count())
print("partitions:", spark.sql(f"select distinct month from {database}.sales order by 1").collect())
job.commit()
