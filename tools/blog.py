"""The write-up as one web page: docs/BLOG_POST.md to output/blog_post.html, for `make blog`.

The page loads nothing: pictures are embedded, and links to other documents are left as text.
"""

from __future__ import annotations

import base64
import mimetypes
import re
from pathlib import Path
from string import Template

import mistune

from capstone_pipeline.errors import PipelineError

PAGE = Path(__file__).with_name("blog.html")


def render_blog(source: Path, target: Path) -> Path:
    """Write the Markdown document as a page, and return the page's path.

    Raises PipelineError when the document, or a picture in it, does not exist.
    """
    text = re.sub(r"<!--.*?-->", "", _read(source).decode("utf-8"))
    markdown = mistune.create_markdown(renderer=_Page(source.parent), plugins=["table"])
    title = re.search(r"^# (.*)$", text, re.MULTILINE)
    page = Template(PAGE.read_text(encoding="utf-8")).substitute(
        title=mistune.escape(title[1] if title else source.stem), article=markdown(text)
    )
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(page, encoding="utf-8")
    return target


class _Page(mistune.HTMLRenderer):
    """HTML that stands on its own, from a document in this folder."""

    def __init__(self, folder: Path) -> None:
        super().__init__(escape=True)
        self._folder = folder

    def image(self, text: str, url: str, title: str | None = None) -> str:
        """The picture itself, as a data address."""
        kind = mimetypes.guess_type(url)[0] or "application/octet-stream"
        content = base64.b64encode(_read(self._folder / url)).decode()
        return f'<img src="data:{kind};base64,{content}" alt="{mistune.escape(text)}">'

    def link(self, text: str, url: str, title: str | None = None) -> str:
        """A link to the web; of a link into the repository only its text."""
        return super().link(text, url, title) if re.match("https?:", url) else text


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise PipelineError(
            f"Cannot read {path}: {error.strerror}.",
            "check the name, and the links to pictures in the document.",
        ) from error
