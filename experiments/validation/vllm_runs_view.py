"""``vllm-h100`` against measured serving runs, as a table.

``python -m hardwire.experiments.validation.vllm_runs_view PATH`` serves the load of every row
of the CSV and prints it with its errors; ``--markdown`` prints the table of docs/gpu-servers.md.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from hardwire.experiments.shared.tables import plain_table
from hardwire.experiments.validation.vllm_runs import (
    OUTPUT_CV,
    PROMPT_CV,
    SERVER,
    Predicted,
    Row,
    predict,
    read_rows,
    summarize,
)
from hardwire.models.errors import InputError
from hardwire.models.gpu_server import BatchServer

HEADINGS = (
    "slots", "adapters", "offered req/s", "load",
    "tok/s", "model", "error", "TPOT ms", "model", "error", "TTFT s", "model",
)  # fmt: skip


def table_row(row: Row, predicted: Predicted) -> list[str]:
    """One row of the table, as text."""
    head = [str(row.slots), str(row.adapters), f"{row.offered:.2f}"]
    if row.out_of_memory:
        starts = not math.isnan(predicted.output_tokens_per_s)
        verdict = "starts" if starts else "out of memory"
        return [*head, "out of memory", "", verdict, "", "", "", "", "", ""]
    error = predicted.output_tokens_per_s / row.output_tokens_per_s - 1
    slower = predicted.tpot_s / row.tpot_s - 1
    return [
        *head,
        "keeps up" if row.keeps_up else "saturated",
        f"{row.output_tokens_per_s:.0f}",
        f"{predicted.output_tokens_per_s:.0f}",
        f"{error:+.1%}",
        f"{row.tpot_s * 1e3:.1f}",
        f"{predicted.tpot_s * 1e3:.1f}",
        f"{slower:+.1%}",
        f"{row.ttft_s:.3g}",
        f"{predicted.ttft_s:.3g}",
    ]


def report(pairs: Sequence[tuple[Row, Predicted]]) -> list[str]:
    """Sentences that sum up the errors."""
    lines = []
    measured = [pair for pair in pairs if not pair[0].out_of_memory]
    for title, chosen in (
        ("keeps up", [pair for pair in measured if pair[0].keeps_up]),
        ("saturated", [pair for pair in measured if not pair[0].keeps_up]),
    ):
        if chosen:
            s = summarize(chosen)
            lines.append(
                f"{title}, {s.rows} rows: output tokens/s off by {s.throughput[0]:.1%} on average "
                f"(most {s.throughput[1]:.1%}), TPOT by {s.tpot[0]:.1%} (most {s.tpot[1]:.1%})"
            )
    failed = [pair for pair in pairs if pair[0].out_of_memory]
    caught = sum(math.isnan(p.output_tokens_per_s) for _, p in failed)
    wrong = sum(math.isnan(p.output_tokens_per_s) for _, p in measured)
    lines.append(
        f"out of memory: {caught} of {len(failed)} rows predicted, "
        f"{wrong} of {len(measured)} that ran said to fail"
    )
    return lines


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table and the summary."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("path", type=Path, help="CSV of the measured runs")
    parser.add_argument("--markdown", action="store_true", help="the table of the manual")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--prompt-cv", type=float, default=PROMPT_CV)
    parser.add_argument("--output-cv", type=float, default=OUTPUT_CV)
    options = parser.parse_args(arguments)
    try:
        server = BatchServer.open(SERVER)
        rows = read_rows(options.path)
    except InputError as error:
        raise SystemExit(f"error: {error}") from None
    pairs = [
        (
            row,
            predict(
                server,
                row,
                seed=options.seed,
                prompt_cv=options.prompt_cv,
                output_cv=options.output_cv,
            ),
        )
        for row in rows
    ]
    if options.markdown:
        print("| " + " | ".join(HEADINGS) + " |")
        print("|" + "---|" * len(HEADINGS))
        for pair in pairs:
            print("| " + " | ".join(table_row(*pair)) + " |")
    else:
        table = plain_table("Measured runs", *HEADINGS)
        for pair in pairs:
            table.add_row(*table_row(*pair))
        Console(width=140, markup=False, highlight=False).print(table)
    print()
    for line in report(pairs):
        print(line)


if __name__ == "__main__":
    main()
