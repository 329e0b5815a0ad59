"""Charts as pictures, and the script that makes them live: all of it stands in the page itself.

vl-convert carries Vega-Lite and draws without a browser, so that a page has its charts on paper and
where scripts are off.
"""

from __future__ import annotations

import functools
import json
from base64 import b64encode
from hashlib import sha256
from html import escape
from pathlib import Path

from hardwire.experiments.report.charts import Chart
from hardwire.experiments.shared.extras import needs

SCRIPT = Path(__file__).resolve().parent / "templates" / "charts.js"
STILL_PX = 400
"""Width of a picture: on a phone it shrinks, and its text stays legible."""


def svg(chart: Chart, width: int = STILL_PX) -> str:
    """A chart as an SVG element, ``width`` pixels wide, with what it shows in words.

    Raises
    ------
    InputError
        If vl-convert is not installed.
    """
    library = needs("vl_convert", "a chart")
    text: str = library.vegalite_to_svg(chart.still(width), allowed_base_urls=[])
    return text.replace("<svg ", f'<svg role="img" aria-label="{escape(chart.alt)}" ', 1)


def specification(chart: Chart) -> str:
    """A chart as JSON that may stand in a ``script`` element."""
    text = json.dumps(chart.live(), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c")


@functools.cache
def script() -> str:
    """Vega-Lite and what draws the charts of a page with it, one script without imports.

    Raises
    ------
    InputError
        If vl-convert is not installed.
    """
    library = needs("vl_convert", "the report")
    text: str = library.javascript_bundle(SCRIPT.read_text(encoding="utf-8"))
    return text


def fingerprint(text: str) -> str:
    """How a content security policy names the one script that it allows."""
    return f"sha256-{b64encode(sha256(text.encode()).digest()).decode()}"
