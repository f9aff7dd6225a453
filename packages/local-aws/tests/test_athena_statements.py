"""Athena's statements that write, alter and prepare, and results that are reused or kept by Athena."""

from __future__ import annotations

import base64
import bz2
import gzip
import io
import json
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.orc as orc
import pyarrow.parquet as pq
import pytest
from botocore.exceptions import ClientError

from lake import Lake
from local_aws.server import LocalAws

REUSE = {"ResultReuseByAgeConfiguration": {"Enabled": True, "MaxAgeInMinutes": 5}}
SHOPS = "(VALUES (1, 'north', 2.5E0), (2, 'south', NULL), (3, 'north', 7E0)) AS t (id, region, revenue)"


@pytest.fixture(scope="module")
def lake(aws: LocalAws) -> Iterator[Lake]:
    lake = Lake(aws, "athena-statements")
    lake.athena.create_work_group(
        Name="athena-managed", Configuration={"ManagedQueryResultsConfiguration": {"Enabled": True}}
    )
    yield lake


def objects(lake: Lake, prefix: str) -> dict[str, bytes]:
    """The objects below a prefix, by what their keys have after it."""
    listing = lake.s3.list_objects_v2(Bucket=lake.bucket, Prefix=prefix).get("Contents", [])
    return {
        entry["Key"].removeprefix(prefix): lake.s3.get_object(Bucket=lake.bucket, Key=entry["Key"])[
            "Body"
        ].read()
        for entry in listing
    }


def partitions(lake: Lake, table: str) -> list[list[str]]:
    found = lake.glue.get_partitions(DatabaseName=lake.database, TableName=table)["Partitions"]
    return sorted(partition["Values"] for partition in found)


def refusal(lake: Lake, sql: str, **request: Any) -> str:
    """The code and the message of a StartQueryExecution that is refused."""
    with pytest.raises(ClientError) as refused:
        lake.start(sql, **request)
    error = refused.value.response["Error"]
    return f"{error['Code']}: {error['Message']}"


# --- UNLOAD ---


def test_unload_writes_parquet_and_a_manifest_of_it(lake: Lake) -> None:
    sql = f"UNLOAD (SELECT id, region FROM {SHOPS} ORDER BY id) TO 's3://{lake.bucket}/unloaded/' "
    outcome = lake.query(sql + "WITH (format = 'PARQUET', compression = 'SNAPPY')")

    assert outcome.state == "SUCCEEDED", outcome.reason
    assert (outcome.execution["StatementType"], outcome.execution["SubstatementType"]) == ("DML", "UNLOAD")
    [(name, content)] = objects(lake, "unloaded/").items()
    assert pq.read_table(io.BytesIO(content)).to_pydict() == {
        "id": [1, 2, 3],
        "region": ["north", "south", "north"],
    }
    assert pq.read_metadata(io.BytesIO(content)).row_group(0).column(0).compression == "SNAPPY"
    manifest = outcome.execution["Statistics"]["DataManifestLocation"]
    assert manifest == f"s3://{lake.bucket}/results/{outcome.execution['QueryExecutionId']}-manifest.csv"
    assert objects(lake, manifest.removeprefix(f"s3://{lake.bucket}/")) == {
        "": f"s3://{lake.bucket}/unloaded/{name}\n".encode()
    }
    assert outcome.rows == []


def test_unload_in_partitions_leaves_their_columns_out_of_the_files(lake: Lake) -> None:
    outcome = lake.query(
        f"UNLOAD (SELECT id, region FROM {SHOPS}) TO 's3://{lake.bucket}/by-region/' "
        "WITH (format = 'PARQUET', partitioned_by = ARRAY['region'])"
    )

    assert outcome.state == "SUCCEEDED", outcome.reason
    found = objects(lake, "by-region/")
    assert sorted({key.split("/")[0] for key in found}) == ["region=north", "region=south"]
    assert {name for content in found.values() for name in pq.read_schema(io.BytesIO(content)).names} == {
        "id"
    }


def test_unload_takes_parameters_and_writes_orc_json_and_text(lake: Lake) -> None:
    query = f"UNLOAD (SELECT id, region FROM {SHOPS} WHERE id = ?) TO 's3://{lake.bucket}/"
    for kind in ("ORC", "JSON", "TEXTFILE"):
        outcome = lake.query(f"{query}as-{kind}/' WITH (format = '{kind}')", ExecutionParameters=["2"])
        assert outcome.state == "SUCCEEDED", outcome.reason

    [stored] = objects(lake, "as-ORC/").values()
    assert orc.ORCFile(io.BytesIO(stored)).read().to_pydict() == {"id": [2], "region": ["south"]}
    [stored] = objects(lake, "as-JSON/").values()
    assert json.loads(gzip.decompress(stored)) == {"id": 2, "region": "south"}
    [stored] = objects(lake, "as-TEXTFILE/").values()
    assert gzip.decompress(stored) == b"2\x01south\n"


@pytest.mark.parametrize(
    ("query", "options", "reason"),
    [
        ("SELECT 1 a", "format = 'AVRO'", "NOT_SUPPORTED: AVRO is not written; use one of PARQUET"),
        (
            "SELECT 1 a",
            "format = 'PARQUET', compression = 'LZO'",
            "NOT_SUPPORTED: PARQUET is not written with LZO",
        ),
        ("SELECT 1 a", "format = 'PARQUET', compression_level = 3", "NOT_SUPPORTED: WITH (compression_level"),
        ("SELECT ARRAY[1] a", "format = 'TEXTFILE'", "NOT_SUPPORTED: array<int> of column 'a'"),
        ("SELECT 1", "format = 'PARQUET'", "MISSING_COLUMN_NAME: Column name not specified at position 1"),
        (
            "SELECT 1 a, 2 b",
            "format = 'PARQUET', partitioned_by = ARRAY['a']",
            "HIVE_COLUMN_ORDER_MISMATCH: Partition keys must be the last columns",
        ),
        (
            "SELECT 1 a, x FROM UNNEST(sequence(1, 101)) AS t (x)",
            "format = 'PARQUET', partitioned_by = ARRAY['x']",
            "HIVE_TOO_MANY_OPEN_PARTITIONS: Exceeded limit of 100",
        ),
    ],
)
def test_what_unload_cannot_write_is_refused_by_name(
    lake: Lake, query: str, options: str, reason: str
) -> None:
    sql = f"UNLOAD ({query}) TO 's3://{lake.bucket}/refused/' WITH ({options})"

    assert lake.error(sql).startswith(reason)
    assert objects(lake, "refused/") == {}


def test_unload_writes_to_no_location_that_holds_objects(lake: Lake) -> None:
    lake.put("taken/x", b"1")

    sql = f"UNLOAD (SELECT 1 a) TO 's3://{lake.bucket}/taken/' WITH (format = 'PARQUET')"
    assert lake.error(sql).startswith("HIVE_PATH_ALREADY_EXISTS")


# --- CREATE TABLE AS, INSERT INTO ---


@pytest.mark.parametrize("kind", ["PARQUET", "ORC", "JSON", "TEXTFILE"])
def test_a_table_made_of_a_query_is_read_and_inserted_into(lake: Lake, kind: str) -> None:
    name = f"made_{kind.lower()}"
    options = f"format = '{kind}', table_type = 'HIVE', is_external = true, partitioned_by = ARRAY['region']"
    created = lake.query(f"CREATE TABLE {name} WITH ({options}) AS SELECT id, revenue, region FROM {SHOPS}")
    assert created.state == "SUCCEEDED", created.reason
    inserted = lake.query(f"INSERT INTO {name} (region, id) VALUES ('south', 4), ('west', 5)")
    assert inserted.state == "SUCCEEDED", inserted.reason

    assert lake.rows(f"SELECT id, revenue, region FROM {name} ORDER BY id") == [
        ("1", "2.5", "north"),
        ("2", None, "south"),
        ("3", "7.0", "north"),
        ("4", None, "south"),
        ("5", None, "west"),
    ]
    assert partitions(lake, name) == [["north"], ["south"], ["west"]]
    assert inserted.execution["SubstatementType"] == "INSERT"
    assert (
        lake.athena.get_query_results(QueryExecutionId=inserted.execution["QueryExecutionId"])["UpdateCount"]
        == 2
    )


def test_insert_casts_to_the_types_of_the_table(lake: Lake) -> None:
    columns = {"n": "int", "d": "date", "m": "decimal(4,1)", "f": "double"}
    lake.create_table("cast_to", columns)
    row = "DECIMAL '2.5', timestamp '2025-01-05 10:11:12', 1, 7"
    outcome = lake.query(
        f"INSERT INTO cast_to VALUES ({row}), (0.5, NULL, 1.25, DECIMAL '0.5'), (BIGINT '4', NULL, 2, 1)"
    )
    assert outcome.state == "SUCCEEDED", outcome.reason
    assert lake.rows("SELECT * FROM cast_to ORDER BY n") == [
        ("1", None, "1.3", "0.5"),
        ("3", "2025-01-05", "1.0", "7.0"),
        ("4", None, "2.0", "1.0"),
    ]


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        ("INSERT INTO inserted VALUES ('x', 'y')", "TYPE_MISMATCH: Insert query has mismatched column types"),
        ("INSERT INTO inserted VALUES (1)", "TYPE_MISMATCH: Insert query has mismatched column types"),
        ("INSERT INTO inserted VALUES (3000000000, 'x')", "NUMERIC_VALUE_OUT_OF_RANGE"),
        ("INSERT INTO inserted (nope) VALUES (1)", "COLUMN_NOT_FOUND: Insert column name does not exist"),
        ("INSERT INTO inserted_view VALUES (1, 'x')", "NOT_SUPPORTED: Inserting into views"),
        ("INSERT INTO quoted VALUES (1)", "NOT_SUPPORTED: INSERT INTO table"),
        ("INSERT INTO projected VALUES (1, 2)", "NOT_SUPPORTED: INSERT INTO table"),
        ("INSERT INTO missing VALUES (1)", "TABLE_NOT_FOUND: line 1:13: Table"),
        ("CREATE TABLE n AS SELECT NULL AS a", "COLUMN_TYPE_UNKNOWN: Column type is unknown: a"),
        ("CREATE TABLE n WITH (bucketed_by = ARRAY['a']) AS SELECT 1 a", "NOT_SUPPORTED: WITH (bucketed_by"),
        ("CREATE TABLE n WITH (is_external = false) AS SELECT 1 a", "NOT_SUPPORTED: WITH (is_external"),
        ("CREATE TABLE n WITH (table_type = 'ICEBERG') AS SELECT 1 a", "NOT_SUPPORTED: WITH (table_type"),
        ("CREATE TABLE n (a int) TBLPROPERTIES ('table_type'='ICEBERG')", "NOT_SUPPORTED: CREATE"),
    ],
)  # fmt: skip
def test_what_is_not_inserted_or_created_is_refused_by_name(lake: Lake, statement: str, reason: str) -> None:
    projection = {
        "projection.enabled": "true",
        "projection.p.type": "integer",
        "projection.p.range": "1,9",
    }
    if not lake.rows("SHOW TABLES LIKE 'inserted'"):
        lake.create_table("inserted", {"a": "int", "b": "string"})
        lake.create_table("quoted", {"a": "int"}, file_format="csv")
        lake.create_table("projected", {"a": "int"}, partitions={"p": "int"}, parameters=projection)
        lake.rows("CREATE VIEW inserted_view AS SELECT * FROM inserted")

    assert lake.error(statement).startswith(reason)


def test_a_partition_of_null_is_written_and_read(lake: Lake) -> None:
    options = "partitioned_by = ARRAY['day'], external_location = 's3://athena-statements/nulls-here/'"
    values = "(VALUES (1, DATE '2025-01-02'), (2, NULL)) AS t (a, day)"
    created = lake.query(f"CREATE TABLE nulls_here WITH ({options}) AS SELECT * FROM {values}")

    assert created.state == "SUCCEEDED", created.reason
    assert sorted(key.split("/")[0] for key in objects(lake, "nulls-here/")) == [
        "day=2025-01-02",
        "day=__HIVE_DEFAULT_PARTITION__",
    ]
    assert lake.rows("SELECT a FROM nulls_here WHERE day IS NULL") == [("2",)]


def test_a_view_keeps_its_query_as_it_was_written(lake: Lake) -> None:
    query = "SELECT  1 AS a -- one\n, 'x' AS b"
    lake.rows(f"CREATE OR REPLACE VIEW spaced AS {query}")

    stored = lake.glue.get_table(DatabaseName=lake.database, Name="spaced")["Table"]["ViewOriginalText"]
    encoded = stored.removeprefix("/* Presto View: ").removesuffix(" */")
    assert json.loads(base64.b64decode(encoded))["originalSql"] == query
    assert lake.rows("SELECT * FROM spaced") == [("1", "x")]
    assert lake.rows("SHOW CREATE VIEW spaced")[0] == (f"CREATE VIEW {lake.database}.spaced AS",)


# --- ALTER TABLE, SHOW CREATE TABLE, EXPLAIN ---


def test_partitions_are_added_and_dropped_by_statement(lake: Lake) -> None:
    lake.create_table("parted", {"a": "string"}, partitions={"y": "int", "m": "string"}, file_format="text")
    lake.put("elsewhere/data", b"here\n")
    lake.put("parted/y=2025/m=02/data", b"there\n")

    lake.rows(
        f"ALTER TABLE parted ADD PARTITION (y = 2025, m = '01') LOCATION 's3://{lake.bucket}/elsewhere/' "
        "PARTITION (m = '02', y = 2025)"
    )
    assert lake.rows("SHOW PARTITIONS parted") == [("y=2025/m=01",), ("y=2025/m=02",)]
    assert lake.rows("SELECT a, m FROM parted ORDER BY a") == [("here", "01"), ("there", "02")]
    assert lake.error("ALTER TABLE parted ADD PARTITION (y=2025, m='01')").startswith("ALREADY_EXISTS")
    lake.rows("ALTER TABLE parted ADD IF NOT EXISTS PARTITION (y=2025, m='01')")
    lake.rows("ALTER TABLE parted DROP PARTITION (y = 2025, m = '01')")
    assert partitions(lake, "parted") == [["2025", "02"]]
    assert lake.error("ALTER TABLE parted DROP PARTITION (y > 2000)").startswith("NOT_SUPPORTED")
    assert lake.error("ALTER TABLE parted DROP PARTITION (y=2025, m='01')").startswith("NOT_FOUND")


def test_a_table_is_altered_and_shows_how_it_is_created(lake: Lake) -> None:
    lake.rows(
        f"CREATE EXTERNAL TABLE altered (a int COMMENT 'it''s', b string) PARTITIONED BY (p date) "
        "ROW FORMAT DELIMITED FIELDS TERMINATED BY '\\t' "
        f"LOCATION 's3://{lake.bucket}/altered/' TBLPROPERTIES ('skip.header.line.count'='1')"
    )
    lake.rows(f"ALTER TABLE altered SET LOCATION 's3://{lake.bucket}/moved/'")
    lake.rows("ALTER TABLE altered ADD COLUMNS (c double)")
    lake.rows("ALTER TABLE altered SET TBLPROPERTIES ('note' = 'x')")

    assert ("note\tx",) in lake.rows("SHOW TBLPROPERTIES altered")
    lines = [str(line) for (line,) in lake.rows("SHOW CREATE TABLE altered")]
    assert lines[:7] == [
        "CREATE EXTERNAL TABLE `altered`(",
        "  `a` int COMMENT 'it\\'s', ",
        "  `b` string, ",
        "  `c` double)",
        "PARTITIONED BY ( ",
        "  `p` date)",
        "ROW FORMAT SERDE ",
    ]
    assert f"  's3://{lake.bucket}/moved/'" in lines
    assert "  'field.delim'='\\t') " in lines
    lake.rows("\n".join(lines).replace("`altered`", "`altered_again`"))
    again = [
        str(line).replace("/moved'", "/moved/'") for (line,) in lake.rows("SHOW CREATE TABLE altered_again")
    ]
    assert again[1:] == lines[1:]
    assert lake.error("ALTER TABLE altered RENAME TO other").startswith(
        "NOT_SUPPORTED: ALTER TABLE altered RENAME TO"
    )


def test_explain_answers_in_text_and_refuses_the_rest(lake: Lake) -> None:
    outcome = lake.query("EXPLAIN SELECT count(*) FROM (VALUES 1, 2) AS t (x) WHERE x > 1")

    assert outcome.state == "SUCCEEDED", outcome.reason
    assert outcome.execution["StatementType"] == "UTILITY"
    assert outcome.names == ["Query Plan"]
    assert outcome.rows[0] == ("Query Plan",)
    assert any("FILTER" in line.upper() for (line,) in outcome.rows)  # type: ignore[union-attr]
    assert lake.error("EXPLAIN (FORMAT JSON) SELECT 1").startswith("NOT_SUPPORTED: EXPLAIN FORMAT JSON")
    assert lake.error("EXPLAIN ANALYZE SELECT 1").startswith("NOT_SUPPORTED: EXPLAIN ANALYZE")
    assert lake.error("EXPLAIN SELECT nope").startswith("COLUMN_NOT_FOUND")


@pytest.mark.parametrize(
    ("sql", "kind"),
    [
        ("CREATE OR REPLACE VIEW kinds AS SELECT 1 a", ("DDL", "CREATE_VIEW")),
        (
            "CREATE EXTERNAL TABLE kinds_t (a int) LOCATION 's3://athena-statements/kinds/'",
            ("DDL", "CREATE_TABLE"),
        ),
        (
            f"CREATE TABLE kinds_long WITH (external_location = 's3://athena-statements/{'long/' * 100}') AS "
            "SELECT 1 a",
            ("DDL", "CREATE_TABLE_AS_SELECT"),
        ),
        ("PREPARE kinds FROM SELECT 1", ("UTILITY", "PREPARE")),
        ("EXPLAIN SELECT 1", ("UTILITY", "EXPLAIN")),
        ("SHOW TABLES", ("UTILITY", "SHOW_TABLES")),
    ],
)
def test_an_execution_tells_the_kind_of_its_statement(lake: Lake, sql: str, kind: tuple[str, str]) -> None:
    execution = lake.query(sql).execution

    assert (execution["StatementType"], execution["SubstatementType"]) == kind


# --- Parameters and prepared statements ---


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("Washington", "Washington"),
        ("New York", "New York"),
        ("it's", "it's"),
        ("'quoted'", "quoted"),
        ("7", "7"),
        ("DATE '2025-01-02'", "2025-01-02"),
    ],
)
def test_a_parameter_that_is_no_literal_is_text(lake: Lake, parameter: str, value: str) -> None:
    outcome = lake.query("SELECT ? AS given", ExecutionParameters=[parameter])

    assert outcome.rows == [(value,)]
    assert outcome.execution["ExecutionParameters"] == [parameter]


def test_prepared_statements_are_executed_updated_and_deallocated(lake: Lake) -> None:
    lake.athena.create_prepared_statement(
        StatementName="two", WorkGroup=lake.workgroup, QueryStatement="SELECT ? AS a, ? AS b"
    )
    outcome = lake.query("EXECUTE two USING 1, 'x, y'")
    assert (outcome.rows, outcome.names) == ([("1", "x, y")], ["a", "b"])
    assert outcome.execution["Query"] == "EXECUTE two USING 1, 'x, y'"
    assert outcome.execution["ResultConfiguration"]["OutputLocation"].endswith(".csv")
    assert lake.rows('EXECUTE "two"', ExecutionParameters=["1", "plain"]) == [("1", "plain")]
    assert lake.error("EXECUTE two USING 1").startswith("INVALID_PARAMETER_USAGE")

    lake.athena.update_prepared_statement(
        StatementName="two", WorkGroup=lake.workgroup, QueryStatement="SELECT 3 AS c", Description="three"
    )
    assert lake.rows("EXECUTE two") == [("3",)]
    lake.rows("PREPARE four FROM SELECT 4")
    assert lake.rows("EXECUTE four") == [("4",)]
    lake.rows("DEALLOCATE PREPARE four")
    assert refusal(lake, "EXECUTE four").startswith(
        "ResourceNotFoundException: PreparedStatement four was not found"
    )
    with pytest.raises(lake.athena.exceptions.ResourceNotFoundException):
        lake.athena.update_prepared_statement(
            StatementName="four", WorkGroup=lake.workgroup, QueryStatement="SELECT 1"
        )


# --- Results ---


def test_a_result_is_reused_only_where_it_was_asked_for_the_same(lake: Lake) -> None:
    lake.create_table("counted", {"a": "int"}, file_format="text")
    lake.put("counted/x", b"1\n")
    sql = "SELECT count(*) FROM counted"
    first = lake.query(sql, ResultReuseConfiguration=REUSE)
    lake.put("counted/y", b"1\n")
    again = lake.query(sql, ResultReuseConfiguration=REUSE)

    assert first.execution["ResultReuseConfiguration"] == REUSE
    assert not first.execution["Statistics"]["ResultReuseInformation"]["ReusedPreviousResult"]
    assert again.execution["Statistics"]["ResultReuseInformation"]["ReusedPreviousResult"]
    assert again.rows == first.rows == [("1",)]
    assert again.execution["Statistics"]["DataScannedInBytes"] == 0
    assert again.execution["ResultConfiguration"] == first.execution["ResultConfiguration"]
    assert lake.rows(sql) == [("2",)], "reused without being asked for"
    assert lake.rows(f"{sql} ", ResultReuseConfiguration=REUSE) == [("2",)], "another text"


def test_no_result_is_reused_whose_object_is_gone(lake: Lake) -> None:
    first = lake.query("SELECT 'gone'", ResultReuseConfiguration=REUSE)
    key = first.execution["ResultConfiguration"]["OutputLocation"].removeprefix(f"s3://{lake.bucket}/")
    lake.aws.client("s3").delete_object(Bucket=lake.bucket, Key=key)

    again = lake.query("SELECT 'gone'", ResultReuseConfiguration=REUSE)

    assert not again.execution["Statistics"]["ResultReuseInformation"]["ReusedPreviousResult"]


def test_athena_keeps_the_results_of_a_workgroup_that_says_so(lake: Lake) -> None:
    outcome = lake.query("SELECT 1 AS a UNION ALL SELECT 2 ORDER BY a", WorkGroup="athena-managed")

    assert outcome.rows == [("1",), ("2",)]
    assert outcome.execution["ManagedQueryResultsConfiguration"] == {"Enabled": True}
    assert "ResultConfiguration" not in outcome.execution
    assert objects(lake, f"results/{outcome.execution['QueryExecutionId']}") == {}
    reason = lake.error("CREATE TABLE kept AS SELECT 1 a", WorkGroup="athena-managed")
    assert "needs external_location" in reason
    settings = {"ManagedQueryResultsConfigurationUpdates": {"Enabled": False}}
    lake.athena.update_work_group(WorkGroup="athena-managed", ConfigurationUpdates=settings)
    assert "No output location provided" in refusal(lake, "SELECT 1", WorkGroup="athena-managed")
    settings["ManagedQueryResultsConfigurationUpdates"]["Enabled"] = True
    lake.athena.update_work_group(WorkGroup="athena-managed", ConfigurationUpdates=settings)
    assert lake.rows("SELECT 3", WorkGroup="athena-managed") == [("3",)]


def test_statistics_tell_times_bytes_and_rows(lake: Lake) -> None:
    outcome = lake.query(f"SELECT id FROM {SHOPS}")
    query_id = outcome.execution["QueryExecutionId"]
    found = lake.athena.get_query_runtime_statistics(QueryExecutionId=query_id)["QueryRuntimeStatistics"]

    statistics = outcome.execution["Statistics"]
    assert statistics["QueryQueueTimeInMillis"] >= 1
    assert found["Timeline"]["TotalExecutionTimeInMillis"] == statistics["TotalExecutionTimeInMillis"]
    assert found["Rows"] == {"InputBytes": 0, "OutputRows": 3, "OutputBytes": len('"id"\n"1"\n"2"\n"3"\n')}


def test_an_execution_tells_how_its_result_is_encrypted(lake: Lake) -> None:
    encrypted = {"EncryptionOption": "SSE_S3"}
    configuration = {"OutputLocation": f"s3://{lake.bucket}/own/", "EncryptionConfiguration": encrypted}
    lake.athena.create_work_group(
        Name="athena-unenforced", Configuration={"EnforceWorkGroupConfiguration": False}
    )
    outcome = lake.query("SELECT 1", WorkGroup="athena-unenforced", ResultConfiguration=configuration)

    assert outcome.execution["ResultConfiguration"]["EncryptionConfiguration"] == encrypted


# --- Tables of text and ORC ---


def test_text_holds_lists_maps_structs_and_binary(lake: Lake) -> None:
    columns = {
        "name": "string",
        "numbers": "array<int>",
        "sizes": "map<string,array<int>>",
        "place": "struct<x:int,tags:array<string>>",
        "raw": "binary",
    }
    lake.create_table("nested", columns, file_format="text", serde_parameters={"field.delim": ","})
    first = b"a,1\x022\x02\\N,k\x031\x042\x02l\x033,7\x02p\x03q,aGk=\n"
    lake.put("nested/x", first + b",,\\N,\\N,\n" + b"\\N,\\N,,8\x02\\N,aGk\n")

    assert lake.rows("SELECT name, numbers, sizes, place, to_utf8('') = raw, raw FROM nested") == [
        ("a", "[1, 2, null]", "{k=[1, 2], l=[3]}", "{x=7, tags=[p, q]}", "false", "68 69"),
        ("", "[]", None, None, "true", ""),
        (None, None, "{}", "{x=8, tags=null}", None, None),
    ]


def test_bzip2_is_read_as_gzip_is(lake: Lake) -> None:
    lake.create_table("packed", {"a": "int"}, file_format="text")
    lake.put("packed/one.csv.bz2", bz2.compress(b"1\n"))
    lake.put("packed/two.csv.gz", gzip.compress(b"2\n"))

    assert lake.rows("SELECT a FROM packed ORDER BY a") == [("1",), ("2",)]


def test_orc_is_read_by_position(lake: Lake) -> None:
    stored = io.BytesIO()
    numbers = pa.array([1, 2], pa.int32())
    orc.write_table(pa.table({"old_name": numbers, "b": ["x", None]}), stored)
    lake.put("orcs/x.orc", stored.getvalue())
    lake.put("broken_orcs/x.orc", b"ORC")
    for name in ("orcs", "broken_orcs"):
        lake.create_table(name, {"new_name": "int", "b": "string", "later": "double"}, file_format="orc")

    assert lake.rows("SELECT * FROM orcs ORDER BY 1") == [("1", "x", None), ("2", None, None)]
    assert lake.error("SELECT * FROM broken_orcs").startswith("HIVE_BAD_DATA: Not a valid ORC file")


def test_queries_without_a_database_run_in_default(lake: Lake) -> None:
    outcome = lake.query("SELECT 1", QueryExecutionContext={})

    assert outcome.rows == [("1",)]
    assert outcome.execution["QueryExecutionContext"]["Database"] == "default"
    assert ("default",) in lake.rows("SHOW DATABASES")
    assert lake.error("SELECT * FROM nowhere", QueryExecutionContext={}).startswith("TABLE_NOT_FOUND")
