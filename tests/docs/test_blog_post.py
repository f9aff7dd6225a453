"""BLOG_POST.md: its length, its numbers, and the page that `make blog` makes of it."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import pytest
from bs4 import BeautifulSoup

from capstone_pipeline.errors import PipelineError
from tests.docs.commands import document
from tools.__main__ import main
from tools.blog import render_blog

TEXT = document("docs/BLOG_POST.md")
# The assignment's batch size, the text and number of the story of "9,99", what a second run says.
ALLOWED_NUMBERS = {"500,000", "750,000", "9,99", "999", "0"}


def prose(text: str) -> str:
    """The text as it is read: without markers, pictures and the targets of links."""
    text = re.sub(r"<!--.*?-->", "", text)
    text = re.sub(r"!\[[^\]]*\]\([^)]*\)", "", text)
    return re.sub(r"\]\([^)]*\)", "]", text)


def test_the_write_up_has_the_length_that_the_assignment_asks_for() -> None:
    assert 1500 <= len(re.findall(r"\b[\w'’-]+\b", prose(TEXT))) <= 2500


def test_every_number_is_a_measured_figure_or_one_of_the_few_that_are_none() -> None:
    without_figures = re.sub(r"<!-- figure: \S+ -->.*?<!-- end -->", "", TEXT)
    numbers = re.findall(r"(?<![\w-])\d[\d.,]*\d|(?<![\w-])\d", prose(without_figures))
    assert set(numbers) <= ALLOWED_NUMBERS


def test_the_command_makes_a_page_that_loads_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["blog", "--output-dir", str(tmp_path)]) == 0
    page = tmp_path / "blog_post.html"
    assert capsys.readouterr().out == f"Write-up: {page}\n"
    html = BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser")
    assert html.title is not None
    assert html.h1 is not None
    assert html.title.get_text() == html.h1.get_text() == TEXT.splitlines()[0].removeprefix("# ")
    assert [h.get_text() for h in html.find_all("h2")] == re.findall(r"^## (.*)$", TEXT, re.MULTILINE)
    (image,) = html.find_all("img")
    assert base64.b64decode(str(image["src"]).split("base64,")[1]).startswith(b"<svg")
    assert html.find_all(["script", "link", "iframe"]) == []
    assert all(str(link["href"]).startswith("http") for link in html.find_all("a"))
    assert "<!--" not in str(html.article)


def test_a_missing_picture_is_named(tmp_path: Path) -> None:
    (tmp_path / "post.md").write_text("# A\n\n![x](no-such.svg)\n")
    with pytest.raises(PipelineError, match=r"no-such\.svg"):
        render_blog(tmp_path / "post.md", tmp_path / "post.html")


def test_markup_in_the_text_is_shown_and_not_run(tmp_path: Path) -> None:
    (tmp_path / "post.md").write_text("# A <b>\n\n<script>alert(1)</script>\n")
    page = render_blog(tmp_path / "post.md", tmp_path / "post.html").read_text()
    assert "<script>" not in page
