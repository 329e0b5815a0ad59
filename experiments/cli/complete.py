"""What a shell may complete: names of the catalogue, parameters, metrics."""

from __future__ import annotations

from collections.abc import Callable
from typing import get_args


def names_of(kind: str) -> Callable[[str], list[str]]:
    """Names of the catalogue that begin as typed."""

    def complete(incomplete: str) -> list[str]:
        from hardwire.models import catalogue  # noqa: PLC0415

        return _begin(catalogue.names(kind), incomplete)

    return complete


def shown_names(incomplete: str) -> list[str]:
    """Everything that ``hardwire show`` knows by name."""
    from hardwire.experiments.shared.kinds import KINDS  # noqa: PLC0415
    from hardwire.models import catalogue  # noqa: PLC0415

    found = [n for kind in KINDS for n in catalogue.names(kind)]
    return _begin([*found, *study_names("")], incomplete)


def schema_names(incomplete: str) -> list[str]:
    """Kinds of files that have a schema."""
    from hardwire.models import schema  # noqa: PLC0415

    return _begin(schema.names(), incomplete)


def study_names(incomplete: str) -> list[str]:
    """Ready studies."""
    from hardwire.experiments.sweep.study import ready_studies  # noqa: PLC0415

    return _begin(list(ready_studies()), incomplete)


def preset_names(incomplete: str) -> list[str]:
    """Presets of a workload."""
    from hardwire.simulator.serving.load.synthetic import preset_names as names  # noqa: PLC0415

    return _begin(names(), incomplete)


def server_lists(incomplete: str) -> list[str]:
    """Servers joined by commas; the last one is completed."""
    given, comma, last = incomplete.rpartition(",")
    return [f"{given}{comma}{name}" for name in names_of("server")(last)]


def settings(incomplete: str) -> list[str]:
    """Parameters with the sign that a value follows, and the words that one of them may be."""
    from hardwire.models.chip import DECLARED  # noqa: PLC0415

    name, equals, word = incomplete.partition("=")
    if equals:
        words = DECLARED[name].choices if name in DECLARED else ()
        return [f"{name}={choice}" for choice in _begin(list(words), word)]
    return [f"{name}=" for name in _begin(list(DECLARED), incomplete)]


def words_of(field: str) -> Callable[[str], list[str]]:
    """The words that an option of replays may be, by its name in ``Setup``."""

    def complete(incomplete: str) -> list[str]:
        from hardwire.experiments.replay.setup import field_choices  # noqa: PLC0415

        return _begin(list(field_choices()[field]), incomplete)

    return complete


def engines(incomplete: str) -> list[str]:
    """What can compute the times of ``hardwire run``."""
    from hardwire.simulator.single import Engine  # noqa: PLC0415

    return _begin(list(get_args(Engine)), incomplete)


def issues(incomplete: str) -> list[str]:
    """The ways in which a chip issues tokens."""
    from hardwire.models.chip import ISSUES  # noqa: PLC0415

    return _begin(list(ISSUES), incomplete)


def objectives(incomplete: str) -> list[str]:
    """What a plan can be best at."""
    from hardwire.experiments.system.plan import OBJECTIVES  # noqa: PLC0415

    return _begin(list(OBJECTIVES), incomplete)


def metric_names(incomplete: str) -> list[str]:
    """Metrics of the closed form, which sensitivities take."""
    from hardwire.experiments.sweep.metrics import CLOSED_FORM  # noqa: PLC0415

    return _begin(list(CLOSED_FORM), incomplete)


def varied_names(incomplete: str) -> list[str]:
    """Numbers that a solve can vary."""
    from hardwire.experiments.sweep.design import NUMERIC, varies_freely  # noqa: PLC0415

    return _begin([name for name in NUMERIC if varies_freely(name)], incomplete)


def _begin(names: list[str], incomplete: str) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]
