"""A study: a base design, axes over its settings, metrics and constraints, from a YAML file."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from hardwire.experiments.sweep.axis import Axis
from hardwire.experiments.sweep.constraint import Constraint
from hardwire.experiments.sweep.design import (
    NUMERIC,
    Design,
    check_setting,
    evaluate,
    groups,
)
from hardwire.experiments.sweep.fidelity_options import OPTIONS, read_options
from hardwire.experiments.sweep.fidelity_setup import card_chip, check_replays, replay_keys
from hardwire.experiments.sweep.keys import KEY, point_keys, program_version
from hardwire.experiments.sweep.metrics import (
    HEADLINE,
    METRICS,
    Better,
    Metric,
    check_metrics,
)
from hardwire.experiments.sweep.paths import beside
from hardwire.experiments.sweep.system_settings import PREFIX
from hardwire.models.brief import one_line
from hardwire.models.catalogue import did_you_mean
from hardwire.models.description import kind_of
from hardwire.models.errors import InputError
from hardwire.models.parameters import is_whole, read_yaml
from hardwire.simulator.obstacles import OBSTACLES
from hardwire.simulator.serving.load.synthetic import stream

Fidelity = Literal["closed-form", "engine", "replay", "system"]
FIDELITIES: tuple[Fidelity, ...] = ("closed-form", "engine", "replay", "system")
SAMPLINGS = ("grid", "random", "latin-hypercube")
MOST_SAMPLES = 1_000_000_000
"""Points that may be drawn, and the largest seed."""
SECTIONS = (
    "title", "base", "fidelity", "sample", "axes", "metrics", "constraints", "objectives", "replay",
)  # fmt: skip
DRAW_BLOCK = 1 << 16
"""Random points are drawn in blocks of so many, each from a stream of its own."""
STUDIES = Path(__file__).resolve().parents[1] / "studies"


def ready_studies() -> dict[str, Path]:
    """The studies that come with the package, by name."""
    return {path.stem: path for path in sorted(STUDIES.glob("*.yaml"))}


@dataclass(frozen=True)
class Study:
    """What a study file says, checked.

    Attributes
    ----------
    name : of the file, without ending.
    base : the design and load that all points share.
    axes : in the order of the file; the last varies fastest in a grid.
    sampling, count, seed : ``grid``, or ``random`` or ``latin-hypercube`` with so many points.
    metrics : what is shown; ``columns`` is what is stored.
    objectives : metric to the side that a search prefers.
    replay : options of ``hardwire replay`` for that fidelity.
    """

    name: str
    title: str
    base: Design
    axes: tuple[Axis, ...]
    fidelity: Fidelity = "closed-form"
    sampling: str = "grid"
    count: int = 0
    seed: int = 0
    metrics: tuple[str, ...] = ()
    constraints: tuple[Constraint, ...] = ()
    objectives: Mapping[str, Better] = field(default_factory=dict)
    replay: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        axes = ", ".join(axis.name for axis in self.axes)
        return one_line(self, self.name, f"{self.points:,} points", self.fidelity, f"over {axes}")

    @classmethod
    def open(cls, text: str) -> Study:
        """A ready study by name, or a file that ends in ``.yaml`` or ``.yml``.

        Raises
        ------
        InputError
            On an unknown name, an unreadable file, or whatever is wrong in it.
        """
        if text.lower().endswith((".yaml", ".yml")):
            return cls.from_file(Path(text))
        ready = ready_studies()
        if text not in ready:
            raise InputError(
                f"'{text}' is no ready study{did_you_mean(text, ready)} "
                f"(there are {', '.join(ready)}; a file ends in .yaml)"
            )
        return cls.from_file(ready[text])

    @classmethod
    def from_file(cls, path: Path) -> Study:
        """Read a study file. Relative paths in it start from its folder."""
        return cls.from_dict(path.stem, beside(read_yaml(path), path.parent), path.name)

    @classmethod
    def from_dict(cls, name: str, data: Mapping[str, Any], where: str = "study") -> Study:
        """A study from the mapping that a file holds; ``where`` begins messages.

        Raises
        ------
        InputError
            On unknown sections, axes, metrics, or constraints that cannot be read or met.
        """
        looks = kind_of(data)
        if looks and looks != "study":
            use = f" (hardwire run --chip {where})" if looks == "chip" else ""
            raise InputError(f"{where}: is a {looks}, not a study{use}")
        for key in data:
            if key not in SECTIONS:
                raise InputError(f"{where}: {key} is unknown{did_you_mean(str(key), SECTIONS)}")
        title = data.get("title", name)
        if not isinstance(title, str):
            raise InputError(f"{where}: title: a text is expected, not '{title}'")
        fidelity = data.get("fidelity", "closed-form")
        if fidelity not in FIDELITIES:
            raise InputError(f"{where}: fidelity: '{fidelity}' is none of {', '.join(FIDELITIES)}")
        replay = _read_replay(data.get("replay"), fidelity, where)
        base_data = data.get("base", {})
        if fidelity == "replay" and isinstance(base_data, Mapping) and "chip" in base_data:
            if "chip" in replay:
                raise InputError(f"{where}: replay.chip: base.chip is the chip already")
            replay["chip"] = base_data["chip"]
        chip = _card_chip(replay, where) if fidelity == "replay" else "hc1"
        base = _read_base(base_data, where, chip)
        axes_data = data.get("axes", {})
        if not isinstance(axes_data, Mapping) or not axes_data:
            raise InputError(f"{where}: axes: a mapping of parameters to values is expected")
        known = METRICS[fidelity]
        axes = tuple(
            Axis.read(str(key), value, base.chip, where) for key, value in axes_data.items()
        )
        sampling, count, seed = _read_sample(data.get("sample", "grid"), axes, where)
        settings: set[str] = set()
        for axis in axes:
            for name_set in axis.names:
                if name_set in settings:
                    raise InputError(f"{where}: axes.{axis.name}: {name_set} is set by two axes")
                settings.add(name_set)
        shown = data.get("metrics", [])
        if not isinstance(shown, list):
            raise InputError(f"{where}: metrics: a list of names is expected")
        metrics = check_metrics(shown, known, f"{where}: metrics")
        texts = data.get("constraints", [])
        if not isinstance(texts, list):
            raise InputError(f"{where}: constraints: a list of comparisons is expected")
        values = base.resolved()
        names = {*known, *(n for n, value in values.items() if not isinstance(value, str))}
        names |= settings & NUMERIC.keys()
        constraints = tuple(
            Constraint.parse(text, names, f"{where}: constraints") for text in texts
        )
        study = cls(
            name=name,
            title=title,
            base=base,
            axes=axes,
            fidelity=fidelity,
            sampling=sampling,
            count=count,
            seed=seed,
            metrics=metrics or tuple(known)[:4],
            constraints=constraints,
            objectives=_read_objectives(data.get("objectives", {}), known, where),
            replay=replay,
        )
        if fidelity == "replay":
            check_replays(replay, axes, base_data, where)
        elif any(name in OPTIONS for name in (*settings, *base_data)):
            raise InputError(f"{where}: options replay.… are for fidelity replay only")
        if fidelity != "system":
            for key in (*settings, *base_data):
                if key.startswith(PREFIX):
                    raise InputError(f"{where}: {key}: is for fidelity system only")
        study._refuse_impossible(where)
        return study

    @property
    def points(self) -> int:
        """How many points the study has."""
        return (
            math.prod(len(a.values) for a in self.axes) if self.sampling == "grid" else self.count
        )

    @property
    def known_metrics(self) -> dict[str, Metric]:
        """Metrics of the study's fidelity, by name."""
        return METRICS[self.fidelity]

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """Metrics that are stored: the headline ones, and those that the study names."""
        known = self.known_metrics
        named = {*self.metrics, *self.objectives}
        for constraint in self.constraints:
            named |= constraint.names
        headline = tuple(known) if self.fidelity != "closed-form" else tuple(HEADLINE)
        return (*headline, *sorted(n for n in named if n in known and n not in headline))

    def chunk(self, start: int, stop: int) -> dict[str, np.ndarray]:
        """Values on each axis of the points from ``start`` to before ``stop``, by axis name."""
        index = np.arange(start, min(stop, self.points))
        if self.sampling == "grid":
            places = np.unravel_index(index, [len(axis.values) for axis in self.axes])
            return {
                axis.name: np.array(axis.values)[place]
                for axis, place in zip(self.axes, places, strict=True)
            }
        return {axis.name: axis.at(self._quantiles(axis, index)) for axis in self.axes}

    def settings(self, columns: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Settings of points by their values on the axes."""
        found: dict[str, np.ndarray] = {}
        for axis in self.axes:
            found |= axis.settings(columns[axis.name])
        return found

    def keys(self, settings: Mapping[str, np.ndarray]) -> np.ndarray:
        """Key of each point; see ``hardwire.experiments.sweep.keys``."""
        if self.fidelity == "replay":
            return replay_keys(self.replay, self.base.chip, self.columns, settings)
        points = len(next(iter(settings.values())))
        extra = ",".join(name for name in self.columns if name not in HEADLINE)
        context = {"version": program_version(), "fidelity": self.fidelity, "columns": extra}
        keys = np.empty(points, KEY)
        for group, members in groups(settings, points):
            free = {k: v[members] for k, v in settings.items() if k not in group}
            design = self.base.with_settings({**group, **free})
            keys[members] = point_keys({**context, **design.resolved()}, len(members))
        return keys

    def judge(
        self, settings: Mapping[str, Any], metrics: Mapping[str, np.ndarray]
    ) -> tuple[np.ndarray, tuple[str, ...]]:
        """Which points are feasible.

        Returns
        -------
        code, reasons : int16 of shape ``(points,)``, 0 for a feasible point, otherwise the index
            into ``reasons`` of the first thing that fails: an obstacle of the design, then the
            constraints in order.
        """
        reasons = (*OBSTACLES, *(constraint.text for constraint in self.constraints))
        code = metrics["obstacle"].astype(np.int16)
        value = self.values(settings, metrics)
        for number, constraint in enumerate(self.constraints, len(OBSTACLES)):
            failed = (code == 0) & ~np.asarray(constraint.holds(value))
            code[failed] = number
        return code, reasons

    def values(
        self, settings: Mapping[str, Any], metrics: Mapping[str, np.ndarray]
    ) -> Callable[[str], Any]:
        """What a constraint's names stand for: a metric, a setting of the points, or the base's."""
        base = self.base.resolved()

        def value(name: str) -> Any:
            if name in metrics:
                return metrics[name]
            return settings[name] if name in settings else base[name]

        return value

    def evaluate(self, settings: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Metrics of points in closed form: what ``experiments.sweep.design.evaluate`` returns."""
        return evaluate(self.base, settings, self.columns)

    def _quantiles(self, axis: Axis, index: np.ndarray) -> np.ndarray:
        if self.sampling == "latin-hypercube":
            return self._hypercube[axis.name][index]
        blocks = range(index[0] // DRAW_BLOCK, index[-1] // DRAW_BLOCK + 1) if len(index) else ()
        drawn = [stream(self.seed, f"{axis.name} {b}").random(DRAW_BLOCK) for b in blocks]
        first = blocks[0] * DRAW_BLOCK if blocks else 0
        return np.concatenate(drawn or [np.empty(0)])[index - first]

    @cached_property
    def _hypercube(self) -> dict[str, np.ndarray]:
        """One point in each of ``count`` equal strata of every axis, matched at random.

        M. D. McKay, R. J. Beckman, W. J. Conover, Technometrics 21 (1979).
        """
        found = {}
        for axis in self.axes:
            rng = stream(self.seed, axis.name)
            strata = rng.permutation(self.count)
            found[axis.name] = (strata + rng.random(self.count)) / self.count
        return found

    def _refuse_impossible(self, where: str) -> None:
        """Refuse constraints that no point can meet, as far as that shows without computing."""
        axes = {name for axis in self.axes for name in axis.names}
        base = self.base.resolved()
        bounds: dict[str, list[tuple[bool, float, str]]] = {}
        for constraint in self.constraints:
            text = f"{where}: constraints: '{constraint.text}'"
            fixed = all(name in base and name not in axes for name in constraint.names)
            if fixed and not np.all(constraint.holds(base.__getitem__)):
                raise InputError(f"{text} never holds: nothing in it is an axis")
            found = constraint.bound()
            if found is not None:
                name, upper, limit = found
                for other_upper, other, other_text in bounds.get(name, ()):
                    low, high = (other, limit) if upper else (limit, other)
                    if upper != other_upper and low > high:
                        raise InputError(f"{text} cannot hold together with '{other_text}'")
                bounds.setdefault(name, []).append((upper, limit, constraint.text))
        for axis in self.axes:
            for upper, limit, text in bounds.get(axis.name, ()):
                numbers = axis.values or (axis.low, axis.high)
                if (upper and min(numbers) > limit) or (not upper and max(numbers) < limit):
                    raise InputError(
                        f"{where}: constraints: '{text}' never holds: axes.{axis.name} is "
                        f"{min(numbers):g} to {max(numbers):g}"
                    )


def _card_chip(replay: Mapping[str, Any], where: str) -> str:
    """The chip that the base of a study of replays starts from."""
    try:
        return card_chip(replay)
    except InputError as error:
        raise InputError(f"{where}: replay.server: {error}") from None


def _read_base(data: Any, where: str, default: str) -> Design:
    """``base``: a chip, and settings over it."""
    if not isinstance(data, Mapping):
        raise InputError(f"{where}: base: a mapping of settings is expected")
    settings = {str(key): value for key, value in data.items()}
    chip = settings.pop("chip", default)
    if not isinstance(chip, str):
        raise InputError(f"{where}: base.chip: a name or a YAML file is expected")
    checked = {key: check_setting(f"{where}: base.{key}", key, v) for key, v in settings.items()}
    try:
        return Design.open(chip, checked)
    except InputError as error:
        raise InputError(f"{where}: base: {error}") from None


def _read_sample(data: Any, axes: tuple[Axis, ...], where: str) -> tuple[str, int, int]:
    """``sample``: ``grid``, or ``{random: POINTS, seed: SEED}``."""
    at = f"{where}: sample"
    if data == "grid":
        for axis in axes:
            if not axis.values:
                raise InputError(
                    f"{where}: axes.{axis.name}: a grid needs values, or points or step in its "
                    "interval"
                )
        return "grid", 0, 0
    if not isinstance(data, Mapping):
        raise InputError(f"{at}: must be grid, or {{random: POINTS}}, {{latin-hypercube: POINTS}}")
    for key in data:
        if key not in (*SAMPLINGS[1:], "seed"):
            raise InputError(f"{at}.{key}: is unknown{did_you_mean(str(key), SAMPLINGS)}")
    kinds = [key for key in SAMPLINGS[1:] if key in data]
    if len(kinds) != 1:
        raise InputError(f"{at}: must say one of random and latin-hypercube")
    for key, value in data.items():
        least = 0 if key == "seed" else 1
        if not is_whole(value) or not least <= value <= MOST_SAMPLES:
            raise InputError(f"{at}.{key}: a whole number from {least} is expected, not '{value}'")
    return kinds[0], int(data[kinds[0]]), int(data.get("seed", 0))


def _read_objectives(data: Any, known: Mapping[str, Metric], where: str) -> dict[str, Better]:
    """``objectives``: a list of metrics, or metrics with ``max`` or ``min``."""
    at = f"{where}: objectives"
    if isinstance(data, list):
        data = dict.fromkeys(check_metrics(data, dict(known), at))
    if not isinstance(data, Mapping):
        raise InputError(f"{at}: a list of metrics, or a mapping to max or min, is expected")
    check_metrics(data, dict(known), at)
    for name, side in data.items():
        if side not in (None, "max", "min"):
            raise InputError(f"{at}.{name}: must be max or min, not '{side}'")
    return {name: side or known[name].better for name, side in data.items()}


def _read_replay(data: Any, fidelity: str, where: str) -> dict[str, Any]:
    """``replay``: options of that command."""
    if fidelity == "replay":
        return read_options({} if data is None else data, f"{where}: replay")
    if data is not None:
        raise InputError(f"{where}: replay: is for fidelity replay only")
    return {}
