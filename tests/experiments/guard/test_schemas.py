"""The schemas of YAML files say what their readers say: random files, whole and damaged."""

from __future__ import annotations

import copy
import json
import math
import re
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args
from urllib.parse import unquote, urlparse

import pytest
import yaml
from examples import examples
from hypothesis import HealthCheck, assume, given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from shell import Shell

import hardwire as hw
from hardwire.experiments.guard import schemas
from hardwire.experiments.replay.config import config_text, read_config
from hardwire.experiments.replay.setup import Setup
from hardwire.experiments.sweep.design import NUMERIC
from hardwire.experiments.sweep.fidelity_options import OPTIONS
from hardwire.experiments.sweep.metrics import METRICS
from hardwire.experiments.sweep.study import SAMPLINGS, Study
from hardwire.models import Chip, InputError, LanguageModel, catalogue, schema
from hardwire.models.breakdown import BREAKDOWN, Breakdown
from hardwire.models.chip import CHIP, DECLARED
from hardwire.models.description import FileKind, read_description
from hardwire.models.gpu import GPU, Gpu
from hardwire.models.gpu_make import make_server
from hardwire.models.gpu_parts import ENGINE
from hardwire.models.gpu_server import GPU_SERVER
from hardwire.models.parameters import Quantity, quantities, read_yaml
from hardwire.models.process import PROCESS
from hardwire.models.published import UNPROVING, Role, read_published
from hardwire.models.server import SERVER
from hardwire.models.system.link import LINK, LinkKind
from hardwire.models.system.system import System
from hardwire.models.units import _FAMILIES, number_pattern, read_number
from hardwire.simulator.serving.load.adapters import AdapterSet
from hardwire.simulator.serving.replay import open_server

ROOT = Path(__file__).resolve().parents[3]
LLAMA = LanguageModel.by_name("llama-3.1-8b")
READERS: dict[str, Callable[[Path], object]] = {
    "adapters": lambda path: AdapterSet.from_file(path, LLAMA),
    "breakdown": Breakdown.open,
    "chip": Chip.open,
    "config": read_config,
    "engine": lambda path: read_description(path, ENGINE),
    "gpu": Gpu.open,
    "link": LinkKind.open,
    "process": lambda path: read_description(path, PROCESS),
    "published": read_published,
    "server": open_server,
    "study": Study.from_file,
    "system": System.open,
}
with tempfile.TemporaryDirectory() as folder:
    make_server("l40s", "qwen2.5-7b", Path(folder) / "one.yaml", precision="int4")
    PARTS = (Path(folder) / "one.yaml").read_text(encoding="utf-8")
VALIDATORS = {kind: Draft202012Validator(make()) for kind, make in schemas.KINDS.items()}
FOLDERS = {
    "breakdown": "models/breakdowns",
    "chip": "models/chips",
    "engine": "models/engines",
    "gpu": "models/gpus",
    "link": "models/links",
    "process": "models/processes",
    "published": "models/published",
    "server": "models/servers",
    "study": "experiments/studies",
    "system": "models/systems",
}
SHIPPED = [(kind, p) for kind, folder in FOLDERS.items() for p in (ROOT / folder).glob("*.yaml")]
BLOCKS = [
    (page.name, block)
    for page in sorted([*(ROOT / "docs").glob("*.md"), ROOT / "README.md"])
    for block in re.findall(r"^```yaml\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S)
]


def kind_of_block(text: str) -> str:
    """What a YAML block of the manual is."""
    for kind, mark in (
        ("system", "placement:"),
        ("link", "lane_gb_per_s:"),
        ("study", "axes:"),
        ("adapters", "adapters:"),
        ("server", "chip:"),
    ):
        if re.search(f"^{mark}", text, re.M):
            return kind
    return "chip"


def complaint(kind: str, data: Any) -> str:
    """What the schema finds wrong, or nothing."""
    errors = sorted(VALIDATORS[kind].iter_errors(data), key=lambda error: len(error.path))
    return f"{'.'.join(map(str, errors[0].absolute_path))}: {errors[0].message}" if errors else ""


def refusal(kind: str, path: Path) -> str:
    """The sentence of the program, or nothing."""
    try:
        READERS[kind](path)
    except InputError as error:
        return str(error)
    return ""


def test_every_kind_is_here() -> None:
    assert schema.names() == sorted(schemas.KINDS) == sorted(READERS)


@pytest.mark.parametrize("kind", schemas.KINDS)
def test_the_shipped_schema_is_current(kind: str) -> None:
    Draft202012Validator.check_schema(schema.schema(kind))
    text = schema.schema_file(kind).read_text(encoding="utf-8")
    assert text == schemas.render()[f"{kind}{schema.ENDING}"], (
        "out of date: run python -m hardwire.experiments.guard.pages"
    )


@pytest.mark.parametrize("kind", schemas.KINDS)
def test_the_patterns_are_also_those_of_editors(kind: str) -> None:
    """JavaScript refuses a backslash before what has no meaning of its own, and flags like (?i)."""

    def patterns(of: Any) -> Iterator[str]:
        for key, value in of.items() if isinstance(of, dict) else enumerate(of):
            if key == "pattern" and isinstance(value, str):
                yield value
            elif isinstance(value, dict | list):
                yield from patterns(value)

    for pattern in patterns(schema.schema(kind)):
        assert not re.search(r"\\[^\^$\\.*+?()\[\]{}|/sS]|\(\?", pattern), pattern


@pytest.mark.parametrize(("kind", "path"), SHIPPED, ids=lambda one: getattr(one, "stem", one))
def test_every_file_of_the_catalogue_is_valid_and_names_its_schema(kind: str, path: Path) -> None:
    assert complaint(kind, read_yaml(path)) == ""
    first = path.read_text(encoding="utf-8").partition("\n")[0]
    assert first.startswith(schema.EDITOR_LINE)
    named = path.parent / first.removeprefix(schema.EDITOR_LINE)
    assert named.resolve() == schema.schema_file(kind)


@pytest.mark.parametrize(("page", "block"), BLOCKS, ids=lambda one: one if len(one) < 30 else "")
def test_every_yaml_block_of_the_manual_is_valid(page: str, block: str, tmp_path: Path) -> None:
    kind = kind_of_block(block)
    if kind == "adapters":
        block = block.replace("path: adapters/code", "shape: r8:qv")
    (tmp_path / "mychip.yaml").write_text("extends: hc1\n")
    file = tmp_path / "one.yaml"
    file.write_text(block, encoding="utf-8")
    assert complaint(kind, read_yaml(file)) == ""
    assert refusal(kind, file) == "", page


# What a schema of one file cannot know: other files, and values against each other.
BEYOND = (
    "outside its own range", "must lie in", "must be the one parameter", "is calibrated, but",
    "is fitted to nothing", "does not exist", "is no file", "is no chip", "is no model",
    "every variant must set the same", "is set by two axes", "a value is given twice",
    "never holds", "cannot hold", "is no metric or number", "must be a comparison",
    "is empty", "for an interval above 0", "states no range", "is missing (", "has changed since",
    "is the name of adapters", "so none is ever wanted", "id: is given twice",
    "as the file is named",
    "must be at least", "is a trace by its name", "base.chip is the chip already",
    "does not exist any more", "targets", "makes ", "is a folder", "is no preset",
    "runs backwards", "a square of", "is no covariance", "is no parameter of this file",
    "is given twice",
    "there is no die", "in no stage", "in a stage before it", "holds nothing", "do not divide",
    "is no matrix of", "ends at layer", "is already in stage", "no way from", "whole rows",
    "has rows", "has no rows", "both ends are", "have no experts", "is on no die", "has no experts",
    "are listed",
    "a list for each of", "no LM head is ternary", "lie on dies", "a first and a last layer",
    "share one latent", "goes from die to die", "goes to a switch",
)  # fmt: skip


def documents(kind: str) -> list[dict[str, Any]]:
    """Whole files of a kind, to be damaged."""
    found = [read_yaml(path) for of, path in SHIPPED if of == kind]
    if kind == "published":
        found = [one | {"system": "damaged", "rows": one["rows"][:3]} for one in found]
    if kind == "server":
        found.append(yaml.safe_load(PARTS))
    if kind == "config":
        for options in (
            {"source": "sharegpt", "server": "hc1x10"},
            {
                "source": "azure-conv", "server": "hc1x10", "adapters": "8", "rank": 8,
                "rate": 10.0, "slo": {"ttft": 0.2, "tpot": 0.02}, "routing": "affine",
                "settings": {"sram.capacity_mib": 512}, "adapter_rates": [1.0, 2.0],
            },
        ):  # fmt: skip
            setup = Setup.of(options, str)
            found.append(yaml.safe_load(config_text(setup, ROOT)))
    for _, block in BLOCKS:
        if kind_of_block(block) == kind:
            text = block.replace("path: adapters/code", "shape: r8:qv")
            found.append(yaml.safe_load(text.replace("chip: mychip.yaml", "chip: hc1")))
    return found


def places(data: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths of all values below the top."""
    items = data.items() if isinstance(data, dict) else enumerate(data)
    found = []
    for key, value in items:
        found.append((*path, key))
        if isinstance(value, dict | list):
            found += places(value, (*path, key))
    return found


WRONG = (None, True, "wörd", "", -1, 0, 5.5, 1e30, -1e30, [], {}, [1], {"a": 1}, [[]], [{}], [None])


@st.composite
def damaged(draw: st.DrawFn, whole: list[dict[str, Any]]) -> tuple[dict[str, Any], list[str]]:
    """A file with one thing deleted, renamed, added, or replaced, and the keys on the way there."""
    data = copy.deepcopy(draw(st.sampled_from(whole)))
    path = draw(st.sampled_from(places(data)))
    inside = data
    for key in path[:-1]:
        inside = inside[key]
    key, how = path[-1], draw(st.sampled_from(["delete", "rename", "add", "replace", "nest"]))
    if how == "delete":
        del inside[key]
    elif how == "rename" and isinstance(key, str):
        inside[key + draw(st.sampled_from(["x", "_mm2", " "]))] = inside.pop(key)
    elif how == "add" and isinstance(inside, dict):
        inside["colour"] = draw(st.sampled_from(WRONG))
    elif how == "nest":
        inside[key] = draw(st.sampled_from([[inside[key]], {"value": inside[key]}]))
    else:
        inside[key] = draw(st.sampled_from(WRONG))
    return data, [*(str(part) for part in path if isinstance(part, str)), "colour"]


@pytest.mark.parametrize("kind", schemas.KINDS)
def test_schema_and_program_refuse_the_same_damaged_files(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "damaged.yaml"

    @examples(60, *HealthCheck)
    @given(damaged(documents(kind)))
    def check(found: tuple[dict[str, Any], list[str]]) -> None:
        data, keys = found
        path.write_text(json.dumps(data))
        wrong, sentence = complaint(kind, data), refusal(kind, path)
        if not wrong:
            beyond = path.name in sentence and any(words in sentence for words in BEYOND)
            assert not sentence or beyond, (sentence, data)
        assume(wrong)
        assert sentence, f"the program takes what the schema refuses: {wrong}"
        assert "\n" not in sentence and path.name in sentence, sentence
        named = any(key.removesuffix("s") in sentence for key in keys)
        assert named or "missing" in sentence or "a grid needs" in sentence, sentence

    check()


def values(spec: Quantity) -> st.SearchStrategy[Any]:
    """Values that a declaration allows, as people write them."""
    if spec.choices:
        return st.sampled_from([*spec.choices, *map(str.upper, spec.choices)])
    if spec.numbers:
        return st.sampled_from(spec.numbers)
    low, high = max(spec.low, -(2.0**52)), min(spec.high, 2.0**52)
    numbers = (
        st.integers(math.ceil(low), math.floor(high)) if spec.integer else st.floats(low, high)
    )
    as_text = st.sampled_from(["{}", "{} {}", "{}{}"] if spec.unit else ["{}"])
    return numbers | st.builds(lambda form, n: form.format(n, spec.unit), as_text, numbers)


@st.composite
def entries(draw: st.DrawFn, spec: Quantity, *, bare: bool) -> Any:
    """A parameter in one of the forms that a file may give it."""
    value = draw(values(spec))
    forms = ["whole", *(["bare", "value"] if bare else [])]
    form = draw(st.sampled_from(forms))
    if form == "bare":
        return value
    if form == "value":
        return {"value": value, "unit": draw(st.sampled_from([spec.unit, None]))}
    stated = {"value": value, "kind": "published", "source": draw(st.sampled_from(["x", "ü: 1"]))}
    if not spec.choices and draw(st.booleans()):
        stated |= {"kind": "assumed", "range": [spec.low, spec.high]}
    return stated


def some(of: list[str] | tuple[str, ...], most: int = 4) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(list(of)), min_size=1, max_size=most, unique=True)


@st.composite
def own_file(draw: st.DrawFn, kind: FileKind, parents: list[str]) -> dict[str, Any]:
    """A file that extends another one, with some parameters of its own."""
    data: dict[str, Any] = {"extends": draw(st.sampled_from(parents))}
    if draw(st.booleans()):
        data["title"] = draw(st.sampled_from(["mine", "1"]))
    for name in draw(some(kind.names)):
        section, _, field = name.rpartition(".")
        spec = quantities(kind.sections[section])[field]
        inside = data.setdefault(section, {}) if section else data
        inside[field] = draw(entries(spec, bare=True))
    return data


@st.composite
def studies(draw: st.DrawFn) -> dict[str, Any]:
    grid = draw(st.booleans())
    axes: dict[str, Any] = {}
    fidelity = draw(st.sampled_from([None, "closed-form", "engine", "system"]))
    free = [n for n in NUMERIC if n not in OPTIONS and not n.startswith("model.")]
    if fidelity == "system":
        axes["system.link"] = draw(st.sampled_from(["board", ["UCIe", "cxl"]]))
    else:
        free = [n for n in free if not n.startswith("system.")]
    for name in draw(some(free, 3)):
        spec = NUMERIC[name]
        if spec.numbers or draw(st.booleans()):
            axes[name] = [draw(values(spec))]
            continue
        low, high = max(spec.low, 0.5), min(spec.high, 2.0**40)
        interval = {"from": math.ceil(low), "to": math.floor(high)}
        if interval["from"] >= interval["to"]:
            interval = {"from": low, "to": high}
        if grid:
            interval["points"] = draw(st.sampled_from([2, 5, 5.0]))
        if draw(st.booleans()):
            interval["scale"] = "log"
        axes[name] = interval
    if draw(st.booleans()):
        axes["node"] = {"variants": {"a": {"process": "n6"}, "b": {"process": "N7"}}}
    if draw(st.booleans()):
        axes["adapter"] = draw(st.sampled_from([None, "none", ["r16:all-linear", "r8:qv:int4"]]))
    data: dict[str, Any] = {"axes": axes}
    data["sample"] = "grid" if grid else {draw(st.sampled_from(SAMPLINGS[1:])): 7, "seed": 3}
    if fidelity is not None:
        data["fidelity"] = fidelity
    known = METRICS[data.get("fidelity", "closed-form")]
    data["metrics"] = draw(some(list(known)))
    sides = {name: draw(st.sampled_from(["max", "min", None])) for name in draw(some(list(known)))}
    data["objectives"] = draw(st.sampled_from([sides, list(sides)]))
    return data


@st.composite
def replay_options(draw: st.DrawFn) -> dict[str, Any]:
    offered: dict[str, list[Any]] = {
        "adapters": ["8"], "rank": [8, 16.0], "popularity": ["zipf:1.1"], "rate": [3, 2.5],
        "arrivals": ["gamma:2"], "requests": [100], "until": [9.5], "slots": [4],
        "slo": [{"ttft": 0.2}, {"ttft": 1, "tpot": 0.02}], "sort": [True], "strict": [False],
        "adapter_rates": [[1.0, 2]], "time_unit": ["s", "MS"], "seed": [0, 7],
        "residency": ["lru", "LFU"], "routing": ["affine"], "reserve": [0], "prefetch": [0, 2],
        "prefix_reuse": [True], "power_limit": [900.0], "engine": ["Reference"],
    }  # fmt: skip
    chosen = draw(some(list(offered)))
    return {name: draw(st.sampled_from(offered[name])) for name in chosen}


WHOLE = {
    "process": ("n6", PROCESS),
    "gpu": ("h100", GPU),
    "engine": ("vllm", ENGINE),
    "link": ("board", LINK),
}
"""Kinds of files that are never short, with one of each."""


@st.composite
def variants(draw: st.DrawFn, kind: str) -> dict[str, Any]:
    """A valid file of a kind."""
    if kind == "chip":
        return draw(own_file(CHIP, catalogue.names("chip")))
    if kind == "server":
        cards = own_file(SERVER, ["hc1x10", "HC1x10-pipelined"])
        gpus = own_file(GPU_SERVER, ["vllm-h100", "trtllm-h200"])
        return draw(cards | gpus)
    if kind == "breakdown":
        return draw(own_file(BREAKDOWN, catalogue.names("breakdown")))
    if kind in WHOLE:
        name, of = WHOLE[kind]
        data = read_yaml(catalogue.resolve(kind, name))
        for name, spec in quantities(of.sections[""]).items():
            if draw(st.booleans()):
                data[name] = draw(entries(spec, bare=False))
        return data
    if kind == "system":
        return draw(st.sampled_from(documents("system")))
    if kind == "study":
        if draw(st.booleans()):
            return draw(studies())
        options = {k.replace("_", "-"): v for k, v in draw(replay_options()).items()}
        axes = {"replay.rate": [1, 2.5], "sram.capacity_mib": ["0.25GiB", 448]}
        replay = {"source": "sharegpt", "server": "hc1x10", **options}
        return {"fidelity": "replay", "replay": replay, "axes": axes}
    if kind == "config":
        source = {"source": "sharegpt", "server": "hc1x10-pipelined"}
        text = config_text(Setup.of({**source, **draw(replay_options())}, str), ROOT)
        found: dict[str, Any] = yaml.safe_load(text)
        return found
    if kind == "adapters":
        shape = st.sampled_from(["r16:all-linear", "R8:qv:INT8", " r4:q_proj+v_proj "])
        more = {"weight": st.floats(0.1, 1e9) | st.integers(1, 9), "pinned": st.booleans()}
        entry = st.fixed_dictionaries({"shape": shape}, optional=more)
        made = draw(st.lists(entry, min_size=1, max_size=4))
        return {"adapters": [{"name": f"a{place}", **one} for place, one in enumerate(made)]}
    row = st.fixed_dictionaries(
        {"metric": st.just("m"), "unit": st.sampled_from(["", "s"]), "source": st.just("s")}
        | {"role": st.sampled_from([role for role in get_args(Role) if role not in UNPROVING])},
        optional={
            "value": st.floats(-1e9, 1e9) | st.integers(-9, 9) | st.none(),
            "tolerance": st.sampled_from([0.1, "exact", "at most", {"factor": 2}, None]),
            "conditions": st.just({"a": 1, "b": "x", "c": 2.5}),
            "note": st.just("n"),
        },
    )
    error = st.sampled_from(
        [
            {},
            {"error": 1, "error_source": "e"},
            {"relative_error": 0.1, "error_source": "e"},
            {"error": None, "error_source": None},
        ]
    )
    unproving = [
        {},
        {"role": "in-sample", "reason": "r"},
        {"role": "in-sample", "reason": "r", "seen_in": "1f22724"},
        {"role": "identity", "reason": "r", "seen_in": None},
        {"reason": None},
    ]
    rows = draw(st.lists(st.tuples(row, error, st.sampled_from(unproving)), max_size=3))
    numbered = [
        {"id": f"r{place}", **one, **error, **role} for place, (one, error, role) in enumerate(rows)
    ]
    return {"system": "valid", "title": "t", "rows": numbered}


@pytest.mark.parametrize("kind", schemas.KINDS)
def test_schema_and_program_take_the_same_valid_files(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "valid.yaml"

    @examples(30, *HealthCheck)
    @given(variants(kind))
    def check(data: dict[str, Any]) -> None:
        path.write_text(json.dumps(data))
        assert complaint(kind, data) == ""
        sentence = refusal(kind, path)
        # What values mean together no declaration of one says: numbers of vLLM's, an alphabet of
        # codes that the LM head cannot have, times of experts where the model has none.
        beyond = (
            "must be at least", "no LM head is ternary", "rom.alphabet is ternary",
            "has no experts",
        )  # fmt: skip
        assert not sentence or any(words in sentence for words in beyond)

    check()


UNITS = [name for family in _FAMILIES for name in family]


@examples(200)
@given(
    number=st.sampled_from(["1", "-2", "+3.5", "4.", ".5", "1e3", "6.02E-23", "", "1 2", "x"]),
    blank=st.sampled_from(["", " "]),
    written=st.sampled_from(["", *UNITS, "µs", "mm²", "tokens"]),
    case=st.sampled_from([str, str.lower, str.upper]),
    unit=st.sampled_from(["", *UNITS, "Mb/mm2", "/cycle"]),
)
def test_the_pattern_of_a_unit_is_what_is_read(
    number: str, blank: str, written: str, case: Callable[[str], str], unit: str
) -> None:
    text = f"{number}{blank}{case(written)}"
    try:
        read_number("x", text, unit, "")
    except InputError:
        assert not re.search(number_pattern(unit), text)
    else:
        assert re.search(number_pattern(unit), text)


@pytest.mark.parametrize(
    ("kind", "text", "named"),
    [
        ("chip", "extends: hc1\nsram: {capacity_mib: -5}\n", "sram.capacity_mib"),
        ("chip", "extends: hc1\nsram: {capacity: 5}\n", "sram.capacity"),
        ("chip", "title: 5\n", "title"),
        (
            "chip",
            "extends: hc1\ndatapath: {issue: {value: serial, range: [0, 0]}}\n",
            "datapath.issue.range",
        ),
        ("server", "extends: hc1x10\nissue: both\n", "issue"),
        ("server", "extends: vllm-h100\ncards: 2\n", "cards"),
        ("process", "title: t\nwafer_usd: 5\n", "logic_mtransistors_per_mm2"),
        ("study", "axes: {datapath.lanes: [8]}\nmetrics: [[]]\n", "metrics"),
        ("study", "axes: {datapath.lanes: [8]}\nobjectives: [{}]\n", "objectives"),
        ("study", "axes: {n: {variants: {a: {process: n6}}, colour: 1}}\n", "axes.n"),
        ("study", "axes: {replay.rate: [8]}\nfidelity: replay\nreplay: {server: true}\n", "server"),
        ("study", "axes: {datapath.lanes: [8]}\nbase: {chip: hc9}\n", "base"),
        (
            "study",
            "axes: {replay.rate: [8]}\nfidelity: replay\nreplay: {slo: {value: x}}\n",
            "replay: slo.value",
        ),
        ("adapters", "adapters: [{name: a, shape: r4:qv, weight: -1}]\n", "adapters[0].weight"),
        ("config", "source: sharegpt\nserver: hc1x10\nrate: yes\n", "rate"),
        ("config", "source: sharegpt\nserver: hc1x10\ncontents: {rate: x}\n", "contents.rate"),
    ],
)
def test_the_command_refuses_what_the_schema_refuses(
    kind: str, text: str, named: str, tmp_path: Path, hardwire: Shell
) -> None:
    path = tmp_path / "one.yaml"
    path.write_text(text)
    if "hc9" not in text:
        assert complaint(kind, read_yaml(path))
    commands = {
        "study": ("sweep", path, "--store", tmp_path / "store"),
        "adapters": ("replay", "sharegpt", "--requests", 1, "--adapters", path),
        "config": ("replay", "--config", path),
    }
    sentence = hardwire.refused(*commands.get(kind, ("show", path)))
    assert path.name in sentence and named in sentence


def test_the_command_prints_a_schema_and_lists_them(hardwire: Shell) -> None:
    status, out, _ = hardwire("schema", "Chip")
    assert status == 0 and json.loads(out) == schemas.KINDS["chip"]() == hw.schema("chip")
    status, out, _ = hardwire("schema")
    assert status == 0 and all(kind in out for kind in schemas.KINDS)
    assert "did you mean chip?" in hardwire.refused("schema", "chips")
    with pytest.raises(hw.InputError, match="is no kind of file"):
        hw.schema("colour")


def test_every_declared_parameter_is_described_with_its_bounds() -> None:
    defined = schema.schema("chip")["$defs"]
    for name, spec in DECLARED.items():
        if not name.startswith("process."):
            assert spec.meaning in defined[name]["description"]
            assert spec.choices or spec.allowed() in defined[name]["description"]


def test_a_new_chip_names_the_schema_beside_it_or_the_installed_one(
    tmp_path: Path, hardwire: Shell
) -> None:
    first = tmp_path / "first.yaml"
    assert hardwire("chip", "new", "first", "--out", first)[0] == 0
    line = first.read_text(encoding="utf-8").partition("\n")[0]
    url = line.removeprefix(schema.EDITOR_LINE)
    assert Path(unquote(urlparse(url).path)) == schema.schema_file("chip")
    (tmp_path / "chip.schema.json").write_text(hardwire("schema", "chip")[1])
    second = tmp_path / "second.yaml"
    assert hardwire("chip", "new", "second", "--out", second)[0] == 0
    assert second.read_text(encoding="utf-8").startswith(f"{schema.EDITOR_LINE}chip.schema.json\n")
    for path in (first, second):
        assert complaint("chip", read_yaml(path)) == "" == refusal("chip", path)
