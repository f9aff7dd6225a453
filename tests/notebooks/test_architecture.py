"""The picture of the architecture is what its code draws, and the notebook shows the same."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from matplotlib import image

from tools import architecture

IMAGES = Path(__file__).parent.parent.parent / "docs" / "images"


def test_the_committed_svg_is_what_the_code_draws() -> None:
    assert (IMAGES / "architecture.svg").read_text() == architecture.draw(), "run `make diagram`"


def test_the_committed_png_shows_the_same() -> None:
    # Fonts of another machine may move single pixels.
    committed = image.imread(IMAGES / "architecture.png")
    drawn = image.imread(io.BytesIO(architecture.picture(architecture.draw())))
    assert committed.shape == drawn.shape
    assert abs(committed - drawn).mean() < 0.01, "run `make diagram`"


def test_every_box_lies_within_the_picture_and_none_overlaps_another() -> None:
    boxes = architecture.BOXES
    assert all(
        box.x >= 0 and box.x + box.width <= architecture.WIDTH and box.y + box.height <= architecture.HEIGHT
        for box in boxes
    )
    overlapping = [
        (one.heading, other.heading)
        for number, one in enumerate(boxes)
        for other in boxes[:number]
        if one.x < other.x + other.width
        and other.x < one.x + one.width
        and one.y < other.y + other.height
        and other.y < one.y + one.height
    ]
    assert overlapping == []


@pytest.mark.parametrize("name", ["architecture.png", "report.png", "dashboard.png"])
def test_a_committed_picture_is_small_enough_to_load_quickly(name: str) -> None:
    assert (IMAGES / name).stat().st_size < 400_000
