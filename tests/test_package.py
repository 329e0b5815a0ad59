"""What is installed: one name, with all its data, beside whatever else a folder holds."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("experiments", "kernels", "models", "simulator")
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check")
PROGRAM = """
import json
import hardwire as hw
import kernels, models, simulator

one = hw.run("hc1", adapter="r16:all-linear", prompt=16, output=8, engine="reference")
print(json.dumps({
    "hardwire": hw.__file__,
    "version": hw.__version__,
    "models": models.MINE, "simulator": simulator.MINE, "kernels": kernels.MINE,
    "rate": one.base.decode_tokens_per_s_user,
}))
"""


def call(*command: str | Path, cwd: Path, rc: int = 0) -> str:
    """What a command prints, in an environment that knows nothing of this checkout."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "NUMBA"))}
    done = subprocess.run(
        [str(part) for part in command],
        check=False,
        cwd=cwd,
        env=env,
        capture_output=True,
        text=True,
    )
    assert done.returncode == rc, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy to build in: a build leaves folders behind."""
    pytest.importorskip("setuptools", minversion="77")
    copy = tmp_path_factory.mktemp("source")
    junk = shutil.ignore_patterns("__pycache__")
    for folder in FOLDERS:
        shutil.copytree(ROOT / folder, copy / folder, ignore=junk)
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, copy)
    return copy


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    command = (*PIP, "wheel", "--quiet", "--no-deps", "--no-index", "--no-build-isolation")
    call(*command, "--wheel-dir", out, source, cwd=out)
    (built,) = out.glob("*.whl")
    return built


Install = Callable[..., Path]


@pytest.fixture(scope="module")
def install(tmp_path_factory: pytest.TempPathFactory) -> Install:
    """Install into a fresh environment that borrows the present one's other packages."""

    def installed(*what: str | Path) -> Path:
        home = tmp_path_factory.mktemp("venv")
        call(sys.executable, "-m", "venv", "--without-pip", home, cwd=home)
        (packages,) = home.glob("lib/python*/site-packages")
        # A folder named in a .pth file joins the path, but its own .pth files are not read: an
        # editable install of this checkout stays out.
        (packages / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
        python = home / "bin" / "python"
        call(
            *PIP, "--python", python, "install", "--quiet", "--no-deps", "--no-index",
            "--no-build-isolation", *what, cwd=home,
        )  # fmt: skip
        return home / "bin"

    return installed


@pytest.fixture
def crowded(tmp_path: Path) -> Path:
    """A folder of a user who has modules of the same names as ours."""
    (tmp_path / "models.py").write_text("MINE = 'models'\n")
    (tmp_path / "kernels.py").write_text("MINE = 'kernels'\n")
    (tmp_path / "simulator").mkdir()
    (tmp_path / "simulator" / "__init__.py").write_text("MINE = 'simulator'\n")
    (tmp_path / "program.py").write_text(PROGRAM)
    return tmp_path


def check_in_crowd(bin_: Path, crowded: Path) -> dict[str, str]:
    found: dict[str, str] = json.loads(call(bin_ / "python", "program.py", cwd=crowded))
    assert [found[name] for name in ("models", "simulator", "kernels")] == [
        "models", "simulator", "kernels",
    ]  # fmt: skip
    assert found["version"] == "0.1.0"
    assert 10_000 < float(found["rate"]) < 30_000
    listed = call(bin_ / "hardwire", "list", cwd=crowded)
    assert "hc1" in listed and "hc1x10" in listed
    assert call(bin_ / "python", "-m", "hardwire", "list", cwd=crowded) == listed
    return found


def check_nothing_generic(bin_: Path, empty: Path) -> None:
    asked = f"import importlib.util as u; print([n for n in {FOLDERS} if u.find_spec(n)])"
    assert call(bin_ / "python", "-c", asked, cwd=empty).strip() == "[]"


def test_a_wheel_holds_one_name_and_all_its_data(wheel: Path) -> None:
    held = set(zipfile.ZipFile(wheel).namelist())
    tops = {name.partition("/")[0] for name in held}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"hardwire"}
    face = "experiments/hardwire/"
    for folder in FOLDERS:
        for path in (ROOT / folder).rglob("*"):
            name = path.relative_to(ROOT).as_posix()
            if path.is_file() and "__pycache__" not in name:
                wanted = name.removeprefix(face) if name.startswith(face) else name
                assert f"hardwire/{wanted}" in held, f"{name} is not in the wheel"
    assert not [name for name in held if "test" in name.lower()]


def test_a_wheel_works_beside_modules_of_the_same_names(
    wheel: Path, install: Install, crowded: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    bin_ = install(wheel)
    found = check_in_crowd(bin_, crowded)
    packages = Path(found["hardwire"]).parents[1]
    assert packages.is_relative_to(bin_.parent)
    verdict = json.loads(
        call(bin_ / "hardwire", "run", "--prompt", "16", "--output", "8", "--json", cwd=crowded)
    )
    assert verdict["decode_tokens_per_s_user"] == pytest.approx(float(found["rate"]))
    # For two users it compiles, and keeps what it compiled beside the code.
    call(bin_ / "hardwire", "run", "--users", "2", "--prompt", "16", "--output", "8", cwd=crowded)
    assert list((packages / "hardwire/simulator/engines/__pycache__").glob("*.nbi"))
    check_nothing_generic(bin_, tmp_path_factory.mktemp("empty"))


def test_an_editable_install_works_beside_modules_of_the_same_names(
    source: Path, install: Install, crowded: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    bin_ = install("--editable", source)
    found = check_in_crowd(bin_, crowded)
    assert Path(found["hardwire"]) == source / "experiments" / "hardwire" / "__init__.py"
    check_nothing_generic(bin_, tmp_path_factory.mktemp("empty"))
