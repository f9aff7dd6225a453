"""How many bytes an event takes in each layer, and what other codecs would make of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb

from benchmarks import drawing
from benchmarks.harness import OURS, Bench, deploy, progress
from benchmarks.results import Figure, Result, format_value

TITLE = "Storage"

CODECS = {
    "none": "COMPRESSION uncompressed",
    "snappy": "COMPRESSION snappy",
    "gzip": "COMPRESSION gzip",
    "zstd 3": "COMPRESSION zstd, COMPRESSION_LEVEL 3",
}


def measure(bench: Bench) -> tuple[dict[str, Figure], dict[str, Any]]:
    """The headline figures are sizes of the real tables after one batch; variants are DuckDB's."""
    file = bench.batches(bench.scale.events)[1]
    pipeline = deploy(bench, "storage", OURS)
    pipeline.deliver(file)
    pipeline.run()
    sizes = {layer: sum(pipeline.objects(f"{layer}/").values()) for layer in ("bronze", "silver", "gold")}
    folder = bench.folder / "storage"
    layers = {
        "bronze": pipeline.fetch("bronze/events/", folder),
        "silver": pipeline.fetch("silver/", folder),
    }
    variants = {}
    with progress(TITLE, len(layers) * len(CODECS)) as bar:
        for layer, paths in layers.items():
            variants[layer] = _variants(layer, paths, folder, bar)
    per_event = {layer: size / file.lines for layer, size in sizes.items()}
    json_bytes, gzip_bytes = file.json_bytes, file.path.stat().st_size
    figures = {
        "events": Figure(file.lines, "count", "lines of the batch"),
        "json_bytes_per_event": Figure(json_bytes / file.lines, "B/event", "raw JSON, a line"),
        "gzip_bytes_per_event": Figure(gzip_bytes / file.lines, "B/event", "raw object as delivered, a line"),
        "bronze_bytes_per_event": Figure(per_event["bronze"], "B/event", "bronze, a delivered line"),
        "silver_bytes_per_event": Figure(per_event["silver"], "B/event", "silver, a delivered line"),
        "bronze_per_json_byte": Figure(sizes["bronze"] / json_bytes, "B/B", "bronze, a byte of raw JSON"),
        "silver_per_json_byte": Figure(sizes["silver"] / json_bytes, "B/B", "silver, a byte of raw JSON"),
        "gold_bytes_per_day": Figure(sizes["gold"], "B", "all gold tables, the cube too, after one batch"),
    }
    return figures, {"variants": variants}


def _variants(layer: str, paths: Sequence[Path], folder: Path, bar: Any) -> dict[str, dict[str, float]]:
    """Bytes a row of the layer's rows, in the order of their times, by codec."""
    connection = duckdb.connect()
    names = ", ".join(f"'{path}'" for path in paths)
    time = "event_timestamp AS timestamp, * EXCLUDE (event_timestamp)" if layer == "silver" else "*"
    connection.execute(
        f"CREATE TABLE layer AS SELECT {time} FROM read_parquet([{names}], hive_partitioning = false)"
    )
    (rows,) = connection.execute("SELECT count(*) FROM layer").fetchone() or (0,)
    target = folder / "variant.parquet"

    def size(codec: str) -> float:
        connection.execute(
            f"COPY (SELECT * FROM layer ORDER BY timestamp) TO '{target}' "
            f"(FORMAT parquet, {CODECS[codec]}, ROW_GROUP_SIZE 1000000)"
        )
        bar.update()
        return target.stat().st_size / rows

    return {"codecs": {codec: size(codec) for codec in CODECS}}


def table(result: Result) -> str:
    """The layers as they are, and their rows in other codecs."""
    figures, variants = result.figures, result.details["variants"]
    json_bytes = figures["json_bytes_per_event"].value
    rows = []
    for layer in ("json", "gzip", "bronze", "silver"):
        figure = figures[f"{layer}_bytes_per_event"]
        codecs = variants[layer]["codecs"] if layer in variants else {}
        sizes = [format_value(codecs[codec], "B/event") if codecs else "" for codec in CODECS]
        rows.append((figure.what, str(figure), f"{figure.value / json_bytes:.3f}", *sizes))
    return drawing.table(("Bytes an event", "as stored", "of raw JSON", *CODECS), rows)
