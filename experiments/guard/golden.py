"""The model's predictions, committed: what a change to the code or the files does to them.

``python -m hardwire.experiments.guard.golden`` computes them again and shows what changed as a
table of before, after and ratio; with ``--accept`` it writes them to ``tests/golden_metrics.json``.
``--against`` compares with another such file instead, as a pull request does with that of the
branch it is for.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hardwire.experiments.shared.folder import write_all
from hardwire.models import Adapter, Chip, LanguageModel, catalogue
from hardwire.models.errors import InputError
from hardwire.models.files import reason

RECORD = Path(__file__).resolve().parents[2] / "tests" / "golden_metrics.json"
ACCEPT = "python -m hardwire.experiments.guard.golden --accept"

RELATIVE_TOLERANCE = 1e-9
"""What another machine's libm may do to a float. Whole numbers and words must be equal."""

LOADS = {"serial": (1024, 1024, 1), "pipelined": (376, 376, 4)}
"""Prompt and output tokens, and users, by issue; four users fit every chip beside a rank of 64."""

ADAPTERS = ("r16:all-linear", "r64:all-linear")

SERVERS = {"hc1x10": None, "hc1x10-pipelined": None, "vllm-h100": 16}
"""Servers that are replayed, and the adapter slots of those that have fixed ones."""

MOST_ROWS = 200
"""Rows that a table shows, the largest changes first: a comment on GitHub has a limit."""

Value = float | int | str | None
Metrics = dict[str, dict[str, Value]]


@dataclass(frozen=True)
class Change:
    """One prediction that changed; ``before`` or ``after`` is None where there is no such one."""

    case: str
    metric: str
    before: Value
    after: Value

    @property
    def ratio(self) -> float | None:
        """After over before, where both are numbers and that is defined."""
        both = (self.before, self.after)
        if not all(isinstance(value, int | float) for value in both) or not self.before:
            return None
        return float(self.after) / float(self.before)  # type: ignore[arg-type]

    @property
    def size(self) -> float:
        """What tables are sorted by: the logarithm of the ratio, infinite without one."""
        return abs(math.log(self.ratio)) if self.ratio and self.ratio > 0 else math.inf


def predictions() -> Metrics:
    """Every chip of the catalogue and three servers under a small load, by case and metric.

    SI units. The 90% intervals are not among them: they are drawn, and NumPy may change the
    stream of its generator between releases.
    """
    found: Metrics = {}
    for name in catalogue.names("chip"):
        found[name] = _silicon(name)
        for issue in LOADS:
            found |= _chip(name, issue)
    for server, slots in SERVERS.items():
        found[f"replay {server}"] = _replay(server, slots)
    return found


def _silicon(name: str) -> dict[str, Value]:
    """What does not depend on the load: area, transistors, cost of the die."""
    from hardwire.simulator import predict  # noqa: PLC0415 - only where predictions are computed

    chip = Chip.open(name)
    one = predict(chip, LanguageModel.open(chip.model), prompt=1, output=2)
    return _flat(
        {
            "area_mm2": one.area_mm2,
            "transistors": one.transistors,
            "die_cost_usd": one.die_cost_usd,
        }
    )


def _chip(name: str, issue: str) -> Metrics:
    """One chip with and without adapters, by the closed forms and by the compiled engine."""
    from hardwire.simulator import run  # noqa: PLC0415

    chip = Chip.open(name).with_values({"datapath.issue": issue})
    model = LanguageModel.open(chip.model)
    prompt, output, users = LOADS[issue]
    found: Metrics = {}
    for shape in ADAPTERS:
        adapter = Adapter.from_shape(shape, model)
        result = run(chip, model, adapter, prompt=prompt, output=output, users=users)
        report = result.adapter
        assert report is not None
        base, loaded = f"{name} {issue}", f"{name} {issue} {shape.partition(':')[0]}"
        for case, rates, closed in (
            (base, result.base, result.prediction),
            (loaded, report.rates, report.prediction),
        ):
            found[case] = _flat(
                {
                    "engine": asdict(rates),
                    "closed": {
                        "token_s": closed.token_s,
                        "decode_tokens_per_s_user": closed.decode_tokens_per_s_user,
                        "decode_tokens_per_s_chip": closed.decode_tokens_per_s_chip,
                        "ttft_s": closed.ttft_s,
                        "prefill_tokens_per_s": closed.prefill_tokens_per_s,
                    },
                    "power_w": closed.power_w,
                    "power_throttle": closed.power.throttle,
                    "prefill_power_throttle": closed.prefill_power.throttle,
                    "energy_j_per_decode_token": closed.energy_j_per_decode_token,
                    "energy_j_per_request": closed.energy_j_per_request,
                    "usd_per_million_tokens": closed.usd_per_million_tokens,
                }
            )
        found[loaded] |= _flat(
            {
                "adapter_format": report.adapter_format,
                "adapter_bytes": report.bytes,
                "free_rank": report.free_rank,
                "swap_s": asdict(report.swap),
                "sram": asdict(result.sram),
                "critical_unit": result.critical_unit,
                "critical_cycles": result.critical_cycles,
            }
        )
    return found


def _replay(server: str, slots: int | None) -> dict[str, Value]:
    """500 requests of the Azure conversations' statistics with 16 adapters of unequal demand."""
    from hardwire.experiments.replay.replay import prepare, run  # noqa: PLC0415
    from hardwire.experiments.replay.setup import Setup  # noqa: PLC0415
    from hardwire.experiments.replay.sound import SOUND  # noqa: PLC0415

    setup = Setup(
        source="azure-conv",
        server=server,
        adapters="16",
        popularity="zipf:1",
        requests=500,
        slots=slots,
        slo={"ttft": 0.5, "tpot": 0.05},
    )
    summary = run(prepare(setup)).summary
    stated = ("definitions", "server", "workload", "interrupted", "price_usd", "warnings", *SOUND)
    return _flat({key: value for key, value in summary.items() if key not in stated})


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Value]:
    """Nested values by their joined names; what is not finite, which JSON has not, as a word."""
    found: dict[str, Value] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            found |= _flat(value, f"{name}.")
        elif value is None or isinstance(value, str | int):
            found[name] = value
        elif isinstance(value, np.integer):
            found[name] = int(value)
        else:
            number = float(value)
            found[name] = number if math.isfinite(number) else str(number)
    return found


def read(path: Path = RECORD) -> Metrics:
    """The predictions of a file.

    Raises
    ------
    InputError
        If it cannot be read or is no such file.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({reason(error)})") from None
    if not isinstance(data, dict) or not all(isinstance(case, dict) for case in data.values()):
        raise InputError(f"{path}: must be an object of cases, each an object of predictions")
    return data


def changes(before: Metrics, after: Metrics) -> list[Change]:
    """What is in one and not in the other, or differs, the largest changes first."""
    found = []
    for case in before | after:
        old, new = before.get(case, {}), after.get(case, {})
        for metric in old | new:
            pair = old.get(metric), new.get(metric)
            if (metric in old) != (metric in new) or not _equal(*pair):
                found.append(Change(case, metric, *pair))
    return sorted(found, key=lambda change: -change.size)


def _equal(before: Value, after: Value) -> bool:
    if isinstance(before, float) and isinstance(after, int | float):
        return math.isclose(before, after, rel_tol=RELATIVE_TOLERANCE)
    return before == after


def render(found: Sequence[Change]) -> str:
    """The table of changes: Markdown that also reads well in a terminal."""
    rows = [
        (one.case, one.metric, _show(one.before), _show(one.after), ratio_text(one.ratio))
        for one in found[:MOST_ROWS]
    ]
    text = table(("case", "prediction", "before", "after", "ratio"), rows)
    more = len(found) - len(rows)
    return f"{text}\n\nand {more} smaller changes" if more else text


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], left: int = 2) -> str:
    """A Markdown table with its columns padded; the first ``left`` to the left, the others not."""
    rows = [tuple(columns), *rows]
    widths = [max(3, *(len(row[k]) for row in rows)) for k in range(len(columns))]

    def line(cells: Sequence[str]) -> str:
        padded = [
            cell.ljust(width) if k < left else cell.rjust(width)
            for k, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return f"| {' | '.join(padded)} |"

    rule = ["-" * w if k < left else "-" * (w - 1) + ":" for k, w in enumerate(widths)]
    return "\n".join([line(rows[0]), line(rule), *map(line, rows[1:])])


def ratio_text(ratio: float | None) -> str:
    """A ratio in digits enough to differ from 1."""
    if ratio is None:
        return "–"
    return f"{ratio:.4f}" if abs(ratio - 1) >= 1e-4 else f"1 {ratio - 1:+.1e}"


def _show(value: Value) -> str:
    if value is None:
        return "–"
    return f"{value:.7g}" if isinstance(value, float) else str(value)


def write(metrics: Metrics, path: Path = RECORD) -> None:
    """Write predictions, one a line, so that a change of one is a change of one line."""
    text = json.dumps(metrics, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    write_all(path.parent, {path.name: lambda file: file.write_text(text, encoding="utf-8")})


def main(arguments: Sequence[str] | None = None, record: Path = RECORD) -> int:
    """Compare or accept. Returns the exit status: 1 where predictions are not those recorded."""
    parser = argparse.ArgumentParser(
        prog="python -m hardwire.experiments.guard.golden", description=__doc__
    )
    parser.add_argument("--accept", action="store_true", help=f"write {record.name}")
    parser.add_argument(
        "--against", type=Path, metavar="FILE", help="compare with this one; exit with 0"
    )
    parser.add_argument(
        "--markdown", type=Path, metavar="FILE", help="write the table there as well"
    )
    options = parser.parse_args(arguments)
    if options.accept and options.against:
        parser.error("--accept and --against exclude each other")
    try:
        before = {} if options.accept and not record.exists() else read(options.against or record)
        after = predictions()
        found = changes(before, after)
        count = sum(map(len, after.values()))
        head = f"{len(found)} of {count} predictions changed" if found else (
            f"None of {count} predictions changed"
        )  # fmt: skip
        text = f"{head}\n\n{render(found)}" if found else head
        print(text)
        if options.markdown:
            options.markdown.write_text(f"### Predictions\n\n{text}\n", encoding="utf-8")
        if options.accept:
            write(after, record)
            print(f"\n{record.name} is written")
    except (InputError, OSError) as error:
        print(f"golden: {error}", file=sys.stderr)
        return 2
    if found and not options.accept and not options.against:
        print(f"\nTo accept them: {ACCEPT}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
