"""Charts that react to a page's filters: Vega-Lite, drawn in the browser by a script within the page.

Each chart is also a picture, which is what shows where no script may run: on GitHub, in a notebook that is
not trusted. Nothing is loaded from elsewhere. What the charts are about is decided in `dashboard`.
"""

from __future__ import annotations

import base64
import html
import json
from pathlib import Path
from typing import Any

import vl_convert

Spec = dict[str, Any]

VEGA_LITE = "6.1"
PICTURE_WIDTH = 660
"""Pixels; in a browser a chart is as wide as its place."""

FILTERS = [{"name": "category", "value": "all"}, {"name": "day", "value": "all"}]
IN_CATEGORY = "category == 'all' || datum.category == category"
ON_DAY = "day == 'all' || datum.day == day"

_SCRIPT = Path(__file__).with_name("dashboard.js")
# A picture is laid out in Liberation Sans, as wide as Arial. Where it shows in a wider one, there is room.
_PICTURE_FONT = "Liberation Sans, Arial, Helvetica, sans-serif"
_LOOK: Spec = {
    "font": "system-ui, -apple-system, Segoe UI, Roboto, Liberation Sans, Arial, sans-serif",
    "background": "#ffffff",
    "padding": {"left": 14, "right": 18, "top": 5, "bottom": 5},
    "view": {"stroke": None},
    "axis": {
        "labelFontSize": 12,
        "labelFlush": False,
        "labelSeparation": 12,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "titlePadding": 12,
        "gridColor": "#e6e9ec",
    },
    "legend": {"labelFontSize": 12, "titleFontSize": 12, "orient": "top", "title": None},
}


def scripts() -> str:
    """The scripts that draw and filter, as HTML: once in a page, before the first chart."""
    own = _SCRIPT.read_text(encoding="utf-8")
    library = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", vl_version=VEGA_LITE)
    return f"<script>{library}</script><script>{own}</script>"


def chart(identifier: str, spec: Spec, description: str) -> str:
    """A chart as HTML: a picture with a text alternative, which a script replaces by the live chart.

    Parameters
    ----------
    identifier
        Unique in the page.
    spec
        Vega-Lite without the parts that all charts share. It may use the parameters `category` and `day`.
    description
        What the chart shows, for readers who cannot see it.
    """
    shared = {
        "$schema": f"https://vega.github.io/schema/vega-lite/v{VEGA_LITE.partition('.')[0]}.json",
        "description": description,
        "config": _LOOK,
        "autosize": {"type": "fit-x", "contains": "padding"},
        "params": FILTERS,
        **spec,
    }
    still = {**shared, "config": {**_LOOK, "font": _PICTURE_FONT}, "width": PICTURE_WIDTH}
    picture = vl_convert.vegalite_to_svg(still, vl_version=VEGA_LITE)
    encoded = base64.b64encode(picture.encode("utf-8")).decode("ascii")
    live = _as_script({**shared, "width": "container"})
    return (
        f'<div class="chart"><div id="{identifier}">'
        f'<img src="data:image/svg+xml;base64,{encoded}" alt="{html.escape(description)}"></div></div>'
        f'<script>window.capstoneDashboard?.draw("{identifier}", {live})</script>'
    )


def filter_bar(identifier: str, choices: dict[str, list[str]], facts: list[dict[str, Any]]) -> str:
    """Drop-down lists, one for each key of `choices`, that filter the page; `facts` add up to its figures."""
    lists = "".join(
        f'<label>{html.escape(name.capitalize())} <select name="{html.escape(name)}">'
        f'<option value="all">all</option>'
        + "".join(f"<option>{html.escape(choice)}</option>" for choice in values)
        + "</select></label>"
        for name, values in choices.items()
    )
    return (
        f'<div class="filters" id="{identifier}">{lists}'
        '<span class="note" role="status" data-chosen>Shown: everything</span></div>'
        f'<script>window.capstoneDashboard?.filters("{identifier}", {_as_script(facts)})</script>'
    )


def _as_script(value: Any) -> str:
    """A value as JavaScript that cannot end the script element that it stands in, whatever the data hold."""
    return json.dumps(value, ensure_ascii=False).replace("<", "\\u003c")
