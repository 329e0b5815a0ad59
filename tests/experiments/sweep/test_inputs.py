"""What a study reads from files is in its keys and its identity; what cannot be read is refused."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

from hardwire.experiments.replay.config import config_text, read_config
from hardwire.experiments.replay.setup import Setup
from hardwire.experiments.search.search import optuna_name, search
from hardwire.experiments.sweep import Study, results, sweep
from hardwire.experiments.sweep import compute as computing
from hardwire.experiments.sweep.inputs import study_inputs
from hardwire.experiments.sweep.paths import beside
from hardwire.models import catalogue
from hardwire.models.adapter.stored import CONFIG, WEIGHTS
from hardwire.models.adapter.write import write_adapter
from hardwire.models.errors import InputError
from hardwire.models.language_model import LanguageModel
from hardwire.simulator.obstacles import OBSTACLES
from hardwire.simulator.serving.load import synthetic

HEADER = "arrival_s,prompt_tokens,output_tokens\n"
FILES: dict[str, Callable[[random.Random], str]] = {
    "trace.csv": lambda r: f"{HEADER}0,{r.randint(1, 999)},{r.randint(1, 99)}\n",
    "rates.csv": lambda r: f"client,mean_rate_req_s,rate_weighted_cv\na,{r.uniform(1, 9)},1\n",
    "server.yaml": lambda r: (
        f"extends: hc1x10\ncards: {{value: {r.randint(1, 9)}, kind: published, source: x}}\n"
    ),
    "catalogue.yaml": lambda r: f"adapters: [{{name: a, shape: 'r{r.randint(1, 64)}:qv'}}]\n",
    "chip.yaml": lambda r: (
        "extends: hc1\nsram: {capacity_mib: {value: "
        f"{r.randint(400, 4000)}, kind: published, source: x}}}}\n"
    ),
    "model.json": lambda r: (
        (catalogue.resolve("model", "llama-3.1-8b").read_text()).replace(
            '"num_hidden_layers": 32', f'"num_hidden_layers": {r.randint(1, 80)}'
        )
    ),
}  # fmt: skip
REPLAY = {"source": "trace.csv", "server": "server.yaml", "adapters": "catalogue.yaml"}
SEED = {"replay.seed": [0]}
DESIGN = {"datapath.lanes": [8]}
STUDIES: dict[str, dict[str, Any]] = {
    "trace.csv": {"fidelity": "replay", "replay": REPLAY, "axes": SEED},
    "server.yaml": {"fidelity": "replay", "replay": REPLAY, "axes": SEED},
    "catalogue.yaml": {
        "fidelity": "replay", "replay": {"source": "sharegpt"},
        "axes": {"replay.adapters": ["catalogue.yaml"]},
    },
    "rates.csv": {
        "fidelity": "replay", "axes": SEED,
        "replay": {"source": "sharegpt", "client_rates": "rates.csv", "duration": 1},
    },
    "chip.yaml": {"base": {"chip": "chip.yaml"}, "axes": DESIGN},
    "model.json": {"axes": {"model": ["model.json", "llama-3.1-8b"]}, "fidelity": "engine"},
}  # fmt: skip


def write(folder: Path, name: str, seed: int) -> None:
    (folder / name).write_text(FILES[name](random.Random(seed)))


def opened(folder: Path, data: dict[str, Any], name: str = "s") -> Study:
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump({"title": "t", **data}))
    return Study.open(str(path))


def key(study: Study) -> tuple[int, int]:
    found: tuple[int, int] = study.keys(study.settings(study.chunk(0, 1))).tolist()[0]
    return found


@pytest.mark.parametrize("name", sorted(STUDIES))
@examples(2)
@given(one=st.integers(0, 1 << 30), other=st.integers(0, 1 << 30))
def test_edits_of_any_file_change_key_and_search_and_touching_does_not(
    tmp_path_factory: pytest.TempPathFactory, name: str, one: int, other: int
) -> None:
    folder = tmp_path_factory.mktemp("law")
    for file in FILES:
        write(folder, file, 0)
    data = {**STUDIES[name], "objectives": {}}

    def known() -> tuple[Any, ...]:
        study = opened(folder, data)
        return key(study), optuna_name(study, 0, 50), study_inputs(study)

    write(folder, name, one)
    before, content = known(), (folder / name).read_bytes()
    os.utime(folder / name, (1, 1))
    assert known() == before
    write(folder, name, other)
    same = (folder / name).read_bytes() == content
    after = known()
    assert (after[0] == before[0]) is same
    assert (after[1:] == before[1:]) is same


@examples(20)
@given(st.sampled_from([CONFIG, WEIGHTS, "a.gguf"]), st.binary(max_size=9), st.binary(max_size=9))
def test_edits_of_an_adapter_in_a_catalogue_change_the_key(
    tmp_path_factory: pytest.TempPathFactory, name: str, one: bytes, other: bytes
) -> None:
    folder = tmp_path_factory.mktemp("law")
    write(folder, "trace.csv", 0)
    (folder / "peft").mkdir()
    path = folder / ("a.gguf" if name == "a.gguf" else f"peft/{name}")
    for file in ("peft/" + CONFIG, "peft/" + WEIGHTS, "a.gguf"):
        (folder / file).write_bytes(b"0")
    (folder / "set.yaml").write_text(
        "adapters: [{name: a, path: peft}, {name: b, path: a.gguf}, {name: c, shape: 'r4:qv'}]"
    )
    data = {
        "fidelity": "replay", "replay": {"source": "trace.csv", "adapters": "set.yaml"},
        "axes": SEED,
    }  # fmt: skip

    def known() -> tuple[Any, ...]:
        study = opened(folder, data)
        return key(study), study_inputs(study)

    path.write_bytes(one)
    before = known()
    path.write_bytes(other)
    after = known()
    assert (after == before) is (one == other)
    assert (after[0] == before[0]) is (one == other)


def test_an_edited_adapter_is_another_point_in_closed_form(tmp_path: Path) -> None:
    """By its shape, which alone decides there."""
    model = LanguageModel.open("llama-3.2-1b")
    data = {"base": {"model": "llama-3.2-1b"}, "axes": {"adapter": ["own"]}}
    found = []
    for rank in (2, 3, 2):
        shutil.rmtree(tmp_path / "own", ignore_errors=True)
        write_adapter(tmp_path / "own", model, rank, "qv")
        found.append(key(opened(tmp_path, data)))
    assert found[0] == found[2] != found[1]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the catalogue, which stands for it."""
    copy = tmp_path / "models"
    for folder, _ in catalogue._FOLDERS.values():
        shutil.copytree(Path(catalogue.__file__).parent / folder, copy / folder)
    monkeypatch.setattr(catalogue, "__file__", str(copy / "catalogue.py"))
    return copy


def test_an_edited_catalogue_entry_is_another_point(
    tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Chips, processes, servers and presets of the package are read like anybody's."""
    shutil.copytree(Path(synthetic.__file__).parent / "presets", tmp_path / "presets")
    monkeypatch.setattr(synthetic, "_PRESETS", tmp_path / "presets")
    replay = {"fidelity": "replay", "replay": {"source": "sharegpt"}, "axes": SEED}
    closed = {"axes": {"process": ["n5"]}}
    edits = [
        (root / "chips/hc1.yaml", "value: 815", "value: 816", replay),
        (root / "processes/n6.yaml", "value: 91.2", "value: 90.2", replay),
        (root / "servers/hc1x10.yaml", "value: 10", "value: 9", replay),
        (tmp_path / "presets/sharegpt.yaml", "\n", "\n# other\n", replay),
        (root / "processes/n5.yaml", "value: 138.2", "value: 137.2", closed),
    ]
    for path, old, new, data in edits:
        study = opened(tmp_path, data)
        before, text = (key(study), study_inputs(study)), path.read_text()
        assert old in text, path
        path.write_text(text.replace(old, new, 1))
        study = opened(tmp_path, data)
        assert key(study) != before[0] and study_inputs(study) != before[1], path
        path.write_text(text)
        study = opened(tmp_path, data)
        assert (key(study), study_inputs(study)) == before


def test_a_sweep_after_an_edit_of_its_trace_computes_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the report: one request of 10 + 20 tokens, then fifty of 10 + 2 in 24.5 ms."""
    here(monkeypatch)
    trace = tmp_path / "trace.csv"
    trace.write_text(f"{HEADER}0,10,20\n")
    data = {"fidelity": "replay", "replay": {"source": "trace.csv"}, "axes": SEED}
    first = sweep(opened(tmp_path, data), tmp_path / "s").counts
    trace.write_text(HEADER + "".join(f"{n * 0.0005},10,2\n" for n in range(50)))
    again = sweep(opened(tmp_path, data), tmp_path / "s").counts
    assert (first.computed, again.computed, again.reused) == (1, 1, 0)
    found = results(tmp_path / "s", "SELECT goodput FROM points ORDER BY goodput")["goodput"]
    one, fifty = found  # the one is alone on its card, the fifty keep up with what is offered
    assert 600 < one < 800 and 1_900 < fifty < 50 / 24.5e-3
    trace.write_text(f"{HEADER}0,10,20\n")
    assert sweep(opened(tmp_path, data), tmp_path / "s").counts.reused == 1


def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compute in this process."""
    from hardwire.experiments.sweep import runner

    def compute_here(
        client: Any,
        study: Study,
        light: Study,
        store: Any,
        left: list[int],
        size: int,
        version: str,
    ) -> Any:
        for number in left:
            chunk = runner.prepare(study, store, number, size)
            given = chunk.settings_to_compute(), chunk.keys_to_compute(), version
            yield chunk, runner.compute(light, *given) if chunk.todo.any() else None

    class Nobody:
        def __enter__(self) -> None: ...
        def __exit__(self, *error: object) -> None: ...

    monkeypatch.setattr(runner, "_distributed", compute_here)
    monkeypatch.setattr(runner, "_client", lambda *given: Nobody())


def test_a_file_edited_while_it_is_computed_is_not_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here(monkeypatch)
    write(tmp_path, "trace.csv", 1)
    data = {"fidelity": "replay", "replay": {"source": "trace.csv"}, "axes": SEED}
    real = computing.evaluate

    def edited(*given: Any) -> Any:
        write(tmp_path, "trace.csv", 2)
        return real(*given)

    monkeypatch.setattr(computing, "evaluate", edited)
    with pytest.raises(InputError, match="a file that it names changed meanwhile, or is another"):
        sweep(opened(tmp_path, data), tmp_path / "s")
    assert not list((tmp_path / "s" / "points").iterdir())
    monkeypatch.setattr(computing, "evaluate", real)
    assert sweep(opened(tmp_path, data), tmp_path / "s").counts.computed == 1


def test_a_file_edited_during_a_search_ends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "trace.csv", 1)
    data = {
        "fidelity": "replay", "replay": {"source": "trace.csv"},
        "axes": {"replay.seed": [0, 1, 2]}, "objectives": {"goodput": "max"},
    }  # fmt: skip
    study = opened(tmp_path, data)
    journal = str(tmp_path / "j")
    assert search(study, trials=1, storage=journal, population=4).trials == 1
    from hardwire.experiments.search import evolution

    real = evolution.evaluate

    def edited(*given: Any) -> Any:
        write(tmp_path, "trace.csv", 2)
        return real(*given)

    monkeypatch.setattr(evolution, "evaluate", edited)
    with pytest.raises(InputError, match=r"replay.source: what .*trace.csv stands for changed"):
        search(study, trials=2, storage=journal, population=4)
    monkeypatch.setattr(evolution, "evaluate", real)
    assert search(opened(tmp_path, data), trials=1, storage=journal, population=4).before == 0
    write(tmp_path, "trace.csv", 1)
    assert search(opened(tmp_path, data), trials=1, storage=journal, population=4).before == 1


@pytest.mark.parametrize(
    ("axis", "good", "bad", "content", "message"),
    [
        ("replay.source", "trace.csv", "gone.csv", None, "gone.csv: does not exist"),
        ("replay.source", "trace.csv", "bad.csv", HEADER + "0,1,x\n", "line 2"),
        ("replay.adapters", "catalogue.yaml", "bad.yaml", "adapters: [1]", "adapters.0."),
        ("replay.adapters", "catalogue.yaml", "gone.yaml", None, "gone.yaml: does not exist"),
        ("replay.server", "server.yaml", "bad.yaml", "cards: 1", "bad.yaml: "),
    ],
)
def test_what_cannot_be_read_is_bad_input_and_no_infeasible_design(
    axis: str,
    good: str,
    bad: str,
    content: str | None,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    here(monkeypatch)
    for name in FILES:
        write(tmp_path, name, 3)
    if content is not None:
        (tmp_path / bad).write_text(content)
    data = {"fidelity": "replay", "replay": REPLAY, "axes": {axis: [good, bad]}}
    with pytest.raises(InputError, match=message):
        sweep(opened(tmp_path, data), tmp_path / "s")
    stored = [
        obstacle
        for file in (tmp_path / "s" / "points").glob("*.parquet")
        for obstacle in pq.read_table(file)["obstacle"].to_pylist()
    ]
    assert stored in ([], [OBSTACLES[0]])  # the good point, if it was done before the bad one


def test_a_missing_adapter_ends_a_sweep_of_closed_forms(tmp_path: Path) -> None:
    data = {"axes": {"adapter": ["none", "gone"]}}
    with pytest.raises(InputError, match="gone: does not exist"):
        sweep(opened(tmp_path, data), tmp_path / "s")


def test_paths_in_a_study_start_from_the_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not from the working folder, where another file of that name may lie."""
    there, elsewhere = tmp_path / "there", tmp_path / "elsewhere"
    for number, folder in enumerate((there, elsewhere)):
        folder.mkdir()
        for name in FILES:
            write(folder, name, number)
    for name, data in STUDIES.items():
        opened(there, data, f"study of {name}")
        monkeypatch.chdir(there)
        study = Study.open(f"study of {name}.yaml")
        digests, near = sorted(study_inputs(study).values()), key(study)
        monkeypatch.chdir(elsewhere)
        far = Study.open(f"../there/study of {name}.yaml")
        assert sorted(study_inputs(far).values()) == digests
        if data.get("fidelity") != "replay":  # whose key has the path too
            assert key(far) == near
    (there / "trace.csv").unlink()
    monkeypatch.chdir(elsewhere)
    with pytest.raises(InputError, match=r"trace.csv: does not exist"):
        sweep(Study.open("../there/study of trace.csv.yaml"), tmp_path / "s")


def test_names_in_a_study_are_no_paths() -> None:
    data = {
        "base": {"chip": "hc1", "model": "llama-3.1-8b", "adapter": "none", "datapath.lanes": 8},
        "axes": {
            "adapter": ["none", "r16:qv"], "process": ["n5"], "model": "qwen3-8b",
            "a": {"variants": {"one": {"adapter": "r8:qv"}}}, "die.area_mm2": {"from": 1, "to": 2},
        },
        "replay": {"source": "sharegpt", "adapters": "8", "server": "hc1x10", "rate": 3},
        "title": "x/y.csv",
    }  # fmt: skip
    assert beside(data, Path("folder")) == data


def test_a_saved_configuration_pins_what_its_names_stand_for(tmp_path: Path, root: Path) -> None:
    """Of the catalogue, whose files may change within a version, and of adapters' files."""
    saved = tmp_path / "config.yaml"
    saved.write_text(config_text(Setup(source="sharegpt", server="hc1x10"), tmp_path))
    assert set(yaml.safe_load(saved.read_text())["contents"]) == {"source", "server"}
    assert read_config(saved)["server"] == "hc1x10"
    chip = root / "chips/hc1.yaml"
    chip.write_text(chip.read_text().replace("value: 815", "value: 816", 1))
    with pytest.raises(InputError, match=r"server: what hc1x10 stands for \(hc1x10.yaml, hc1.yaml"):
        read_config(saved)
