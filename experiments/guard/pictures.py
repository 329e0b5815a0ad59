"""The pictures of the manual, ``docs/images/``, and the sentences below them on its pages.

``python -m hardwire.experiments.guard.pictures`` draws all, which takes two minutes, and writes
below each on the pages what it shows; names choose some of them. They are what the commands of the
pages save.
The notebooks' pictures are made with their pages by ``make notebooks``. ``what-if.png`` is of a
browser: the ``moved.png`` that ``tests/experiments/run/test_whatif.py`` leaves.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

import hardwire
from hardwire.experiments.shared.style import save_figure
from hardwire.experiments.shared.words import caption
from hardwire.experiments.studies import serving_page
from hardwire.experiments.validation.committed import read_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DOCS = Path(__file__).resolve().parents[2] / "docs"
LARGE = "r64:all-linear"


@cache
def _run() -> hardwire.Run:
    return hardwire.run("hc1", adapter="r16:all-linear")


def _with(**chosen: Any) -> hardwire.Run:
    return hardwire.run("hc1", adapter="none", **chosen)


def _compare() -> Figure:
    servers = ("hc1x10", "hc1x10-pipelined", "vllm-h100")
    return hardwire.compare("azure-conv", servers, adapters=64, slo="ttft=0.2,tpot=0.02").plot()


def _sweep(study: str) -> Figure:
    with tempfile.TemporaryDirectory() as folder:
        return hardwire.sweep(study, Path(folder) / "store").plot()


def _search() -> Figure:
    """The study that the page of searches shows."""
    text = (DOCS / "search.md").read_text(encoding="utf-8")
    found = re.search(r"```yaml\n(.*?)```", text, re.DOTALL)
    assert found is not None
    with tempfile.TemporaryDirectory() as folder:
        study = yaml.safe_load(found[1])
        storage = Path(folder) / "search.journal"
        return hardwire.search(study, trials=10_000, storage=storage).plot()


@cache
def _sensitivity() -> hardwire.Sensitivity:
    return hardwire.sensitivity("hc1", ("decode_tokens_per_s_user", "power_w", "area_mm2.total"))


@cache
def _calibration() -> hardwire.Calibration:
    return hardwire.calibrate("hc1")


def _calibrated(name: str) -> Figure:
    return _calibration().plot(name.replace("-", "_"))


@cache
def _serving() -> dict[str, Figure]:
    from hardwire.experiments.studies.serving_plot import figures  # noqa: PLC0415 - draws

    return figures({name: _numbers(name) for name in ("capacity", "ratios", "sram", "bands")})


def _served(name: str) -> Figure:
    return _serving()[name]


def _numbers(table: str) -> list[dict[str, Any]]:
    """A table of the study with its numbers as numbers."""

    def value(cell: str) -> Any:
        try:
            number = float(cell)
        except ValueError:
            return cell
        return int(number) if number.is_integer() else number

    return [{key: value(cell) for key, cell in row.items()} for row in serving_page.read(table)]


def _formats() -> Figure:
    from hardwire.experiments.formats.measure import measure  # noqa: PLC0415 - slow
    from hardwire.experiments.formats.plot import formats_figure  # noqa: PLC0415 - draws
    from hardwire.experiments.formats.stand_in import small_llama  # noqa: PLC0415 - slow

    return formats_figure(measure(small_llama(), None, None))


def _validation() -> Figure:
    from hardwire.experiments.validation.plot import validation_figure  # noqa: PLC0415 - draws

    return validation_figure(read_table().rows)


PICTURES: dict[str, Callable[[], Figure]] = {
    "breakdown": lambda: _run().plot("breakdown"),
    "rank": lambda: _run().plot("rank"),
    "timeline": lambda: _run().plot("timeline"),
    "pipeline": lambda: _with(users=3).plot("pipeline"),
    "floorplan": lambda: _with().plot("floorplan"),
    "floorplan-24-lanes": lambda: _with(settings={"datapath.lanes": 24}).plot("floorplan"),
    "compare": _compare,
    **{
        f"sweep-{study}": partial(_sweep, study)
        for study in (
            "lanes-area-rate", "node-die", "rank-precision-bandwidth", "serial-pipelined-power",
        )
    },
    "search-hc1-like": _search,
    "sensitivity-rate": lambda: _sensitivity().plot("decode_tokens_per_s_user"),
    "sensitivity-power": lambda: _sensitivity().plot("power_w"),
    "sensitivity-area": lambda: _sensitivity().plot("area_mm2.total"),
    "sensitivity-adapter": lambda: hardwire.sensitivity(
        "hc1", adapter=LARGE, calibrated=True
    ).plot(),
    **{
        f"calibration-{name}": partial(_calibrated, name)
        for name in ("parameters", "corner", "predictions", "left-out")
    },
    "formats": _formats,
    **{
        f"serving-{name}": partial(_served, name)
        for name in ("adapters", "break-even", "sram", "uncertainty")
    },
    "validation": _validation,
    "dies": lambda: hardwire.run_system("llama-70b-hc1", users=8).plot(),
    "dies-hnlpu": lambda: hardwire.run_system("hnlpu", users=216).plot(),
}  # fmt: skip
"""By name: what draws it."""


def draw(names: Iterable[str], folder: Path = DOCS) -> dict[str, str]:
    """Draw pictures into ``folder / "images"``; what each shows, by name."""
    from hardwire.experiments.shared.words_plot import finding_of  # noqa: PLC0415 - matplotlib is slow

    images = folder / "images"
    images.mkdir(exist_ok=True)
    found = {}
    for name in names:
        figure = PICTURES[name]()
        save_figure(figure, images / f"{name}.png")
        found[name] = finding_of(figure)
    return found


def captioned(page: str, findings: dict[str, str]) -> str:
    """A page with the sentence of each picture below it, in place of the one that was there."""

    def below(place: re.Match[str]) -> str:
        name = place["name"]
        return f"{place['picture']}\n{caption(findings[name])}\n" if name in findings else place[0]

    pattern = (
        r"(?P<picture>!\[[^]]*\]\((?:docs/)?images/(?P<name>[\w-]+)\.png\)\n)(?:\n\*[^*]+\*\n)?"
    )
    return re.sub(pattern, below, page)


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw the pictures that are named, or all, and write their sentences; the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m hardwire.experiments.guard.pictures", description=__doc__
    )
    parser.add_argument("names", nargs="*", choices=[[], *PICTURES], metavar="NAME")
    findings = draw(parser.parse_args(arguments).names or PICTURES)
    for path in (DOCS.parent / "README.md", *sorted(DOCS.glob("*.md"))):
        page = path.read_text(encoding="utf-8")
        changed = captioned(page, findings)
        if changed != page:
            path.write_text(changed, encoding="utf-8")
            print(f"{path.name} is written")
    print(f"{len(findings)} pictures in {DOCS / 'images'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
