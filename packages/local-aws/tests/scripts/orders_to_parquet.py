# Reads orders that arrived as JSON, gives them the columns of the report, and keeps them as Parquet.
# ruff: noqa: F403, F405, I001  (written as students write)
# mypy: ignore-errors
import sys

from awsglue.transforms import *
from awsglue.utils import getResolvedOptions
from pyspark.context import SparkContext
from awsglue.context import GlueContext
from awsglue.job import Job

args = getResolvedOptions(sys.argv, ["JOB_NAME", "BUCKET"])

sc = SparkContext()
glueContext = GlueContext(sc)
spark = glueContext.spark_session
job = Job(glueContext)
job.init(args["JOB_NAME"], args)
logger = glueContext.get_logger()

orders = glueContext.create_dynamic_frame.from_options(
    connection_type="s3",
    connection_options={"paths": [f"s3://{args['BUCKET']}/raw/orders/"], "recurse": True},
    format="json",
    transformation_ctx="orders",
)
orders.printSchema()
logger.info(f"orders read: {orders.count()}")

mapped = ApplyMapping.apply(
    frame=orders,
    mappings=[
        ("order_id", "string", "order_id", "string"),
        ("customer.name", "string", "customer", "string"),
        ("amount", "string", "amount", "double"),
        ("ordered_at", "string", "ordered_at", "timestamp"),
    ],
    transformation_ctx="mapped",
)
resolved = ResolveChoice.apply(frame=mapped, choice="make_struct", transformation_ctx="resolved")
cleaned = DropNullFields.apply(frame=resolved, transformation_ctx="cleaned")

glueContext.write_dynamic_frame.from_options(
    frame=cleaned,
    connection_type="s3",
    connection_options={"path": f"s3://{args['BUCKET']}/clean/orders/"},
    format="parquet",
    transformation_ctx="sink",
)
job.commit()
