"""Names of stores and studies are names, and a study keeps its own."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from hardwire.experiments.cli import app as cli
from hardwire.experiments.sweep import Study, results, sweep
from hardwire.models.errors import InputError

ODD = ["runs[1]", "a*b", "what?", "~", "x=1", "it's", "[", "{a,b}", "a b", "ü", "*", '"q"', "-n"]


def made(name: str, **data: Any) -> Study:
    axes = {"die.area_mm2": [700, 800]}
    return Study.from_dict(name, {"axes": axes, "metrics": ["token_s"], **data})


def views(store: Path | str) -> dict[str, str]:
    found = results(store)
    return dict(zip(found["view"], found["title"], strict=True))


@pytest.mark.parametrize("name", ODD)
def test_a_store_of_any_name_is_read(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside it lie stores that its name, as a pattern, would match."""
    monkeypatch.chdir(tmp_path)
    for other in ("runs1", "aXb", "whatX", "a"):
        sweep(made("other"), Path(other))
    sweep(made("st"), Path(name))
    assert set(views(name)) == {"points", "st"}
    assert len(results(name, "SELECT * FROM st")) == 2
    assert not set(results(name, "SELECT * FROM st").columns) & {"x"}


@pytest.mark.parametrize("name", [*ODD, "st\\b", "n" * 250, "points", "Select", "2026"])
def test_a_study_of_any_name_leaves_the_store_readable(name: str, tmp_path: Path) -> None:
    sweep(made("st"), tmp_path)
    sweep(made(name, title=name, constraints=["die_area_mm2 <= 750"]), tmp_path)
    assert len(views(tmp_path)) == 3
    (view,) = (view for view, title in views(tmp_path).items() if title == name)
    assert results(tmp_path, f'SELECT sum(feasible::INT) AS n FROM "{view}"')["n"][0] == 1


def test_a_path_with_a_backslash_is_refused_before_anything_is_computed(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a backslash cannot be in the path of a store"):
        sweep(made("st"), tmp_path / "a\\b")
    assert not list(tmp_path.iterdir())


def test_an_axis_of_any_name(tmp_path: Path) -> None:
    variants = {"one": {"die.area_mm2": 700}, "other": {"die.area_mm2": 800}}
    study = made("st", axes={'my "[axis]"': {"variants": variants}})
    sweep(study, tmp_path)
    assert results(tmp_path, "SELECT * FROM st")['my "[axis]"'].tolist() == ["one", "other"]
    with pytest.raises(InputError, match="every study has a column of this"):
        made("st", axes={"Number": {"variants": variants}})


def test_the_second_study_of_a_name_does_not_take_it_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever of them is swept again, and whatever their folders' times say."""
    text = "title: {}\naxes: {{die.area_mm2: [{}]}}\nmetrics: [token_s]\n"
    first, other = tmp_path / "one/st.yaml", tmp_path / "two/ST.yaml"
    for path, area in ((first, 700), (other, 800)):
        path.parent.mkdir()
        path.write_text(text.format(path.parent.name, area))
    store = str(tmp_path / "s")

    def said(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["hardwire", *arguments, "--store", store])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        assert stopped.value.code == 0
        return capsys.readouterr().out

    assert "The name" not in said("sweep", str(first))
    told = said("sweep", str(other))
    for _ in range(2):
        for path, area in ((other, 800), (first, 700)):
            found = json.loads(said("sweep", str(path), "--json"))
            assert found["name_taken"] is (path == other)
            areas = results(store, f'SELECT "die.area_mm2" AS a FROM {found["view"]}')["a"]
            assert areas.tolist() == [area]
            if path == other:
                words = "The name ST is that of another study here"
                assert words in told and f"the view of this one is {found['view']}" in " ".join(
                    told.split()
                )
    assert views(store)["st"] == "one" and len(views(store)) == 3
    first.write_text(text.format("edited", 750))
    assert json.loads(said("sweep", str(first), "--json"))["name_taken"]
    assert views(store)["st"] == "one" and len(views(store)) == 4
