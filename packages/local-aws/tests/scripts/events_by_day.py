# Appends the day's events to a partitioned table, which the sink creates and extends in the catalog.
import sys

from awsglue.context import GlueContext
from awsglue.dynamicframe import DynamicFrame
from awsglue.job import Job
from awsglue.utils import getResolvedOptions
from pyspark.context import SparkContext
from pyspark.sql.functions import col, to_date

args = getResolvedOptions(sys.argv, ["JOB_NAME", "BUCKET", "DATABASE", "SINK"])
glueContext = GlueContext(SparkContext.getOrCreate())
job = Job(glueContext)
job.init(args["JOB_NAME"], args)
path = f"s3://{args['BUCKET']}/events_by_day/"

raw = glueContext.create_dynamic_frame.from_options(
    "s3",
    {"paths": [f"s3://{args['BUCKET']}/raw/events/"], "recurse": True},
    "csv",
    {"withHeader": True, "separator": ","},
    transformation_ctx="raw",
)
if raw.count() > 0:
    events = raw.toDF().withColumn("day", to_date(col("at")).cast("string")).repartition("day")
    frame = DynamicFrame.fromDF(events, glueContext, "events").resolveChoice(specs=[("value", "cast:double")])
    if args["SINK"] == "catalog":
        sink = glueContext.getSink(
            connection_type="s3",
            path=path,
            enableUpdateCatalog=True,
            updateBehavior="UPDATE_IN_DATABASE",
            partitionKeys=["day"],
        )
        sink.setFormat("glueparquet")
        sink.setCatalogInfo(catalogDatabase=args["DATABASE"], catalogTableName="events_by_day")
        sink.writeFrame(frame)
    else:
        glueContext.write_dynamic_frame.from_options(
            frame=frame,
            connection_type="s3",
            connection_options={"path": path, "partitionKeys": ["day"]},
            format="parquet",
        )
glueContext.purge_s3_path(f"s3://{args['BUCKET']}/scratch/", {"retentionPeriod": 0})
job.commit()
