"""Draws the architecture: docs/images/architecture.svg and architecture.png (`make diagram`).

Boxes and arrows are data below; a test compares the committed files with what this draws. Colours can be told
apart by colour-blind readers; the background is white, so that the picture reads on dark pages too.
"""

from __future__ import annotations

import html
import io
from dataclasses import dataclass
from pathlib import Path

import vl_convert
from PIL import Image

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "images"
WIDTH, HEIGHT = 1120, 440
TITLE = "From raw events to five answers"
DESCRIPTION = (
    "EventBridge starts a Lambda generator every five minutes, which writes raw events to the source bucket. "
    "The Glue job reads only the files that its bookmark has not seen and writes the bronze, silver and gold "
    "layers of the analytics bucket. Athena runs queries.sql on gold, through the Glue Data Catalog. "
    "Notebooks build the pipeline, show the five answers as a report and a dashboard, validate them against "
    "the raw events and watch the quality of the data. CloudFormation creates everything that lives long."
)
INK, QUIET, LINE = "#1f2328", "#57606a", "#57606a"


@dataclass(frozen=True)
class Box:
    """A rectangle with a heading and lines of text; x and y are its upper left corner."""

    x: int
    y: int
    width: int
    height: int
    heading: str
    lines: tuple[str, ...]
    fill: str
    stroke: str


COMPUTE, STORE, ASK, READ = (
    ("#fff4e0", "#b97a00"),
    ("#eef1f4", "#6e7781"),
    ("#e3f0f9", "#0072b2"),
    ("#e3f4ee", "#00714f"),
)

FRAMES = (
    Box(16, 16, 832, 372, "", (), "#ffffff", "#8c959f"),
    Box(468, 62, 226, 262, "", (), "#f6f8fa", "#6e7781"),
)
BOXES = (
    Box(36, 62, 176, 66, "Event generator", ("Lambda, by EventBridge", "every 5 minutes"), *COMPUTE),
    Box(
        36,
        180,
        176,
        84,
        "Source bucket",
        ("S3: JSON lines, gzip", "one folder a minute", "kept 30 days"),
        *STORE,
    ),
    Box(
        262,
        180,
        156,
        84,
        "Glue job",
        ("PySpark; a bookmark", "gives it only", "the new files"),
        *COMPUTE,
    ),
    Box(
        482,
        98,
        198,
        62,
        "Bronze",
        ("as delivered, by arrival;", "rejected lines with reasons"),
        "#f3e3d3",
        "#8f5722",
    ),
    Box(
        482, 174, 198, 62, "Silver", ("typed, cleaned,", "each event once, by its day"), "#eceff2", "#6e7781"
    ),
    Box(
        482,
        250,
        198,
        62,
        "Gold",
        ("hourly cube, five tables,", "only touched days anew"),
        "#fbf0c4",
        "#8a6900",
    ),
    Box(262, 306, 156, 66, "CloudWatch", ("log of every run,", "a summary per layer"), *STORE),
    Box(728, 180, 104, 84, "Athena", ("queries.sql", "through the", "Data Catalog"), *ASK),
    Box(884, 62, 216, 66, "build_pipeline", ("deploys and runs the job,", "five answers as a report"), *READ),
    Box(884, 146, 216, 66, "dashboard", ("the answers for the business,", "one page with filters"), *READ),
    Box(884, 230, 216, 66, "validate_results", ("every answer computed again", "from the raw lines"), *READ),
    Box(
        884, 314, 216, 66, "data_quality", ("rejects, copies, late events,", "freshness, with limits"), *READ
    ),
)
ARROWS = (
    ((124, 128), (124, 178)),
    ((212, 222), (260, 222)),
    ((418, 192), (450, 192), (450, 129), (480, 129)),
    ((418, 205), (480, 205)),
    ((418, 239), (450, 239), (450, 281), (480, 281)),
    ((340, 264), (340, 304)),
    ((680, 281), (712, 281), (712, 222), (726, 222)),
    ((832, 222), (858, 222), (858, 95), (882, 95)),
    ((832, 222), (858, 222), (858, 179), (882, 179)),
    ((832, 222), (858, 222), (858, 263), (882, 263)),
    ((832, 222), (858, 222), (858, 347), (882, 347)),
)
LABELS = (
    (36, 44, "start", "bold", INK, "CloudFormation stack"),
    (482, 84, "start", "bold", INK, "Analytics bucket (Parquet)"),
    (884, 44, "start", "bold", INK, "Notebooks"),
    (
        36,
        420,
        "start",
        "normal",
        QUIET,
        "AWS, or the same calls to the embedded AWS on a laptop: AWS_ENDPOINT_URL decides.",
    ),
)


def draw() -> str:
    """The picture as SVG text."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        'font-family="\'Liberation Sans\', Arial, Helvetica, sans-serif" font-size="13">',
        f"<title>{TITLE}</title>",
        f"<desc>{DESCRIPTION}</desc>",
        '<defs><marker id="tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" '
        f'orient="auto"><path d="M0 0 10 5 0 10z" fill="{LINE}"/></marker></defs>',
        f'<rect width="{WIDTH}" height="{HEIGHT}" rx="10" fill="#ffffff"/>',
        *(_box(box) for box in (*FRAMES, *BOXES)),
        *(_arrow(points) for points in ARROWS),
        *(_text(*label) for label in LABELS),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def picture(svg: str) -> bytes:
    """The SVG as PNG, larger by half, for places that show no SVG."""
    drawn = Image.open(io.BytesIO(vl_convert.svg_to_png(svg, scale=1.5)))
    on_white = Image.alpha_composite(Image.new("RGBA", drawn.size, "white"), drawn.convert("RGBA"))
    few_colours = io.BytesIO()
    on_white.convert("RGB").quantize(colors=64, method=Image.Quantize.MEDIANCUT).save(
        few_colours, "PNG", optimize=True
    )
    return few_colours.getvalue()


def write() -> list[Path]:
    """Write both files; returns their paths."""
    files = [FOLDER / "architecture.svg", FOLDER / "architecture.png"]
    files[0].write_text(draw(), encoding="utf-8")
    files[1].write_bytes(picture(draw()))
    return files


def _box(box: Box) -> str:
    shape = (
        f'<rect x="{box.x}" y="{box.y}" width="{box.width}" height="{box.height}" rx="7" fill="{box.fill}" '
        f'stroke="{box.stroke}" stroke-width="1.5"/>'
    )
    rows = 17 * (len(box.lines) + bool(box.heading))
    top, middle = box.y + (box.height - rows) // 2 + 13, box.x + box.width // 2
    texts = [_text(middle, top, "middle", "bold", INK, box.heading)] if box.heading else []
    texts += [
        _text(middle, top + 17 * number, "middle", "normal", QUIET, line)
        for number, line in enumerate(box.lines, start=1)
    ]
    return "\n".join([shape, *texts])


def _text(x: int, y: int, anchor: str, weight: str, colour: str, content: str) -> str:
    return (
        f'<text x="{x}" y="{y}" text-anchor="{anchor}" font-weight="{weight}" fill="{colour}">'
        f"{html.escape(content)}</text>"
    )


def _arrow(points: tuple[tuple[int, int], ...]) -> str:
    path = " ".join(f"{x},{y}" for x, y in points)
    return (
        f'<polyline points="{path}" fill="none" stroke="{LINE}" stroke-width="1.6" marker-end="url(#tip)"/>'
    )
