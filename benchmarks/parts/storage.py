"""How many bytes an event takes in each layer, and what other codecs and sort orders would make of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
from matplotlib.figure import Figure as Plot

from benchmarks import drawing
from benchmarks.harness import OURS, Bench, deploy, progress
from benchmarks.results import Figure, Result, format_value

TITLE = "Storage"

CODECS = {
    "none": "COMPRESSION uncompressed",
    "snappy": "COMPRESSION snappy",
    "gzip": "COMPRESSION gzip",
    "zstd 1": "COMPRESSION zstd, COMPRESSION_LEVEL 1",
    "zstd 3": "COMPRESSION zstd, COMPRESSION_LEVEL 3",
    "zstd 9": "COMPRESSION zstd, COMPRESSION_LEVEL 9",
}
ORDERS = {
    "any order": "hash(user_id, timestamp)",
    "by time": "timestamp",
    "by session, time": "user_id, session_id, timestamp",
    "by type, product, time": "event_type, product_id, timestamp",
}
_CODEC_OF_ORDERS = "zstd 3"
_ORDER_OF_CODECS = "by time"


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
    with progress(TITLE, len(layers) * (len(CODECS) + len(ORDERS))) as bar:
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
    written = {layer: _footer_facts(paths) for layer, paths in layers.items()}
    return figures, {"variants": variants, "written": written}


def _variants(layer: str, paths: Sequence[Path], folder: Path, bar: Any) -> dict[str, dict[str, float]]:
    """Bytes a row of the layer's rows, by codec (in one order) and by order (in one codec)."""
    connection = duckdb.connect()
    names = ", ".join(f"'{path}'" for path in paths)
    time = "event_timestamp AS timestamp, * EXCLUDE (event_timestamp)" if layer == "silver" else "*"
    connection.execute(
        f"CREATE TABLE layer AS SELECT {time} FROM read_parquet([{names}], hive_partitioning = false)"
    )
    (rows,) = connection.execute("SELECT count(*) FROM layer").fetchone() or (0,)
    target = folder / "variant.parquet"

    def size(order: str, codec: str) -> float:
        connection.execute(
            f"COPY (SELECT * FROM layer ORDER BY {ORDERS[order]}) TO '{target}' "
            f"(FORMAT parquet, {CODECS[codec]}, ROW_GROUP_SIZE 1000000)"
        )
        bar.update()
        return target.stat().st_size / rows

    return {
        "codecs": {codec: size(_ORDER_OF_CODECS, codec) for codec in CODECS},
        "orders": {order: size(order, _CODEC_OF_ORDERS) for order in ORDERS},
    }


def _footer_facts(paths: Iterable[Path]) -> dict[str, Any]:
    """What the files that the job wrote are: how many, their codec, the bytes of each column."""
    footers = [pq.read_metadata(path) for path in paths]
    columns: dict[str, int] = {}
    codecs = set()
    for footer in footers:
        for group in range(footer.num_row_groups):
            for index in range(footer.num_columns):
                chunk = footer.row_group(group).column(index)
                codecs.add(chunk.compression.lower())
                name = chunk.path_in_schema
                columns[name] = columns.get(name, 0) + chunk.total_compressed_size
    rows = sum(footer.num_rows for footer in footers)
    by_size = sorted(columns.items(), key=lambda item: -item[1])
    return {
        "files": len(footers),
        "codec": ", ".join(sorted(codecs)),
        "columns": {name: size / rows for name, size in by_size},
    }


def section(result: Result) -> str:
    """Markdown: the layers as they are, then what other choices would give."""
    figures, written = result.figures, result.details["written"]
    variants = result.details["variants"]
    json_bytes = figures["json_bytes_per_event"].value
    names = {
        "raw JSON": "json_bytes_per_event",
        "raw object (gzip)": "gzip_bytes_per_event",
        "**bronze**": "bronze_bytes_per_event",
        "**silver**": "silver_bytes_per_event",
    }
    layers = [
        (label, str(figures[name]), f"{figures[name].value / json_bytes:.3f}")
        for label, name in names.items()
    ]
    columns = [
        (layer, ", ".join(f"{name} {size:.1f}" for name, size in list(facts["columns"].items())[:6]))
        for layer, facts in written.items()
    ]
    return drawing.paragraphs(
        f"Bytes a delivered line, in the tables as one batch of {figures['events']} lines leaves them: "
        f"{written['bronze']['files']} files of events in bronze ({written['bronze']['codec']}), "
        f"{written['silver']['files']} in silver ({written['silver']['codec']}).",
        drawing.table(("", "Bytes an event", "Per byte of JSON"), layers),
        f"All gold tables together take {figures['gold_bytes_per_day']}.",
        drawing.image("storage", "Bytes an event in raw JSON, gzip, bronze and silver."),
        "The largest columns. Session ids are random, so no codec makes them small, and times nearly so: "
        "what an order of rows can do is to let a visit's session and user stand once.",
        drawing.table(("Layer", "Bytes a row"), columns),
        "The same rows in one file, rewritten by DuckDB, in bytes a row: other codecs (rows "
        f"{_ORDER_OF_CODECS}), and other orders (codec {_CODEC_OF_ORDERS}). The pipeline stores with "
        "Zstandard, which every reader of the lake knows.",
        _variant_table("Codec", {layer: sizes["codecs"] for layer, sizes in variants.items()}),
        _variant_table("Order", {layer: sizes["orders"] for layer, sizes in variants.items()}),
    )


def _variant_table(what: str, layers: dict[str, dict[str, float]]) -> str:
    names = list(next(iter(layers.values())))
    rows = [(name, *(format_value(sizes[name], "B/event") for sizes in layers.values())) for name in names]
    return drawing.table((what, *layers), rows)


def plots(result: Result) -> dict[str, Plot]:
    """Bytes an event of each layer."""
    plot, axes = drawing.canvas(height=2.2)
    names = ("json", "gzip", "bronze", "silver")
    values = [result.figures[f"{name}_bytes_per_event"].value for name in names]
    colours = [drawing.GREY, drawing.GREY, drawing.BLUE, drawing.BLUE]
    bars = axes.barh(["raw JSON", "raw gzip", "bronze", "silver"], values, color=colours, height=0.65)
    axes.bar_label(bars, fmt="{:.1f}", padding=4, fontsize=9)
    axes.invert_yaxis()
    axes.margins(x=0.1)
    axes.set_xlabel("Bytes an event")
    return {"storage": plot}
