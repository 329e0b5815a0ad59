"""Charts as pictures, and the script that makes them live: all of it stands in the page itself.

vl-convert carries Vega-Lite and draws without a browser, so that a page has its charts on paper and
where scripts are off.
"""

from __future__ import annotations

import functools
import gzip
import json
import os
import re
import tempfile
import zlib
from base64 import b64encode
from contextlib import suppress
from hashlib import sha256
from html import escape
from pathlib import Path

from hardwire.compiled import cache_folder
from hardwire.experiments.report.charts import Chart
from hardwire.experiments.shared.extras import needs

TEMPLATES = Path(__file__).resolve().parent / "templates"
SCRIPT, LOADER = TEMPLATES / "charts.js", TEMPLATES / "page.js"
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
def library() -> str:
    """Vega-Lite and what draws the charts of a page with it, one script without imports.

    It takes two seconds to put together and is kept beside compiled code until ``charts.js`` or
    vl-convert are others.

    Raises
    ------
    InputError
        If vl-convert is not installed.
    """
    own = SCRIPT.read_text(encoding="utf-8")
    found = needs("vl_convert", "the report")
    key = sha256(f"{found.__version__} {own}".encode()).hexdigest()[:16]
    folder = cache_folder()
    kept = None if folder is None else folder / "__pycache__" / f"charts-{key}.js.gz"
    if kept is not None:
        with suppress(OSError, EOFError, zlib.error, UnicodeDecodeError):
            return gzip.decompress(kept.read_bytes()).decode("utf-8")
    text: str = found.javascript_bundle(own)
    if kept is not None:
        with suppress(OSError):  # a page without it is as good
            kept.parent.mkdir(exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=kept.parent, delete=False) as file:
                file.write(gzip.compress(text.encode(), mtime=0))
            os.replace(file.name, kept)
    return text


def packed(text: str) -> str:
    """A script as the text of a ``script`` element that is no script: gzip, in base64."""
    return b64encode(gzip.compress(text.encode(), mtime=0)).decode()


def fingerprint(text: str) -> str:
    """How a content security policy names a script that it allows."""
    return f"sha256-{b64encode(sha256(text.encode()).digest()).decode()}"


def soft(text: str) -> str:
    """A text as HTML that may break behind the joints of names such as ``workload.prompt``.

    Not within a unit such as W/mm².
    """
    joint = r"(?<=[^\W\d])([._=+]|/(?=[^\W\d]{4}))(?=[^\W\d])"
    return re.sub(joint, r"\1<wbr>", escape(text))
