"""What a user of the wheel gets: every file, under its installed name, importable anywhere."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import zipfile
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
FOLDERS: dict[str, str] = PYPROJECT["tool"]["setuptools"]["package-dir"]
"""Package → folder."""
TINY_MODEL = {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
SLOW_TO_IMPORT = {"torch", "transformers", "peft", "accelerate", "matplotlib", "pandas", "scipy"}

OPTIONAL = {"fast_downward", "py4j", "scienceworld", "textworld"}
"""Packages of extras: a module that speaks to an engine may want one of them at its top."""


class Built(NamedTuple):
    """A copy of the repository, and what `python -m build` made of it."""

    source: Path
    source_distribution: Path
    wheel: Path

    def files(self) -> dict[str, Path]:
        """The path in the wheel → the file in the copy, for all that is to ship."""
        return {
            f"{package.replace('.', '/')}/{path.relative_to(self.source / folder).as_posix()}": path
            for package, folder in FOLDERS.items()
            for path in (self.source / folder).rglob("*")
            if path.is_file() and not path.name.startswith(".")
        }

    def modules(self) -> list[str]:
        """The installed names of all modules."""
        files = sorted(name for name in self.files() if name.endswith(".py"))
        return [name.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for name in files]


def run(*command: str | Path, cwd: Path) -> str:
    """The standard output of a command; its error output is the failure's message."""
    done = subprocess.run(
        [str(word) for word in command], cwd=cwd, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    if done.returncode:
        pytest.fail(f"{command[0]} ended with {done.returncode}:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Built as for a release, the wheel out of the source distribution, and where no old build lies about."""
    copy = tmp_path_factory.mktemp("source")
    for folder in FOLDERS.values():
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", copy / "dist", copy, cwd=copy)
    (source_distribution,) = (copy / "dist").glob("*.tar.gz")
    (wheel,) = (copy / "dist").glob("*.whl")
    return Built(copy, source_distribution, wheel)


@pytest.fixture(scope="module")
def installed_python(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a fresh virtual environment that holds the wheel and sees this one's dependencies.

    They are on its path by a .pth file. The .pth files beside them, an editable agentgym's among them, have
    no effect there: Python reads those of its own site directories alone.
    """
    venv = tmp_path_factory.mktemp("elsewhere") / "venv"
    run(sys.executable, "-m", "venv", "--without-pip", venv, cwd=venv.parent)
    python = venv / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    run(
        *(sys.executable, "-m", "pip", "--python", python, "install", "--quiet"),
        *("--no-index", "--no-deps", "--disable-pip-version-check", built.wheel),
        cwd=venv.parent,
    )
    site_packages = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=venv)
    ours = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    Path(site_packages.strip(), "dependencies.pth").write_text("\n".join(sorted(ours)))
    return python


def test_the_wheel_holds_every_file(built: Built) -> None:
    with zipfile.ZipFile(built.wheel) as wheel:
        sizes = {entry.filename: entry.file_size for entry in wheel.infolist()}
    shipped = {name: size for name, size in sizes.items() if ".dist-info/" not in name}
    assert shipped == {name: path.stat().st_size for name, path in built.files().items()}


def test_the_source_distribution_holds_every_file(built: Built) -> None:
    with tarfile.open(built.source_distribution) as archive:
        shipped = {name.partition("/")[2] for name in archive.getnames()}
    assert {path.relative_to(built.source).as_posix() for path in built.files().values()} <= shipped


def test_the_wheel_holds_the_tiny_model_and_the_license(built: Built) -> None:
    with zipfile.ZipFile(built.wheel) as wheel:
        names = wheel.namelist()
    assert {f"agentgym/agents/tiny_model/{name}" for name in TINY_MODEL} <= set(names)
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)


def test_every_module_can_be_imported_from_the_wheel(built: Built, installed_python: Path) -> None:
    script = f"""
import importlib.util, json, sys
def file_of(name):
    try:
        return importlib.import_module(name).__file__
    except ModuleNotFoundError as error:
        if error.name.partition(".")[0] not in {OPTIONAL}:
            raise
        return importlib.util.find_spec(name).origin
print(json.dumps({{name: file_of(name) for name in sys.argv[1:]}}))
"""
    imported = run(installed_python, "-I", "-c", script, *built.modules(), cwd=installed_python.parent)
    files: dict[str, str] = json.loads(imported)
    venv = str(installed_python.parents[1])
    assert not {name: file for name, file in files.items() if not file.startswith(venv)}
    assert "agentgym.envs.sokoban.env" in files


@pytest.mark.parametrize(
    "script",
    [
        pytest.param("import agentgym", id="import agentgym"),
        pytest.param("import sys, agentgym.cli; sys.argv[1:] = ['--help']; agentgym.cli.main()", id="agentgym --help"),
    ],
)
def test_what_must_be_quick_imports_nothing_slow(installed_python: Path, script: str) -> None:
    report = "import atexit, sys; atexit.register(lambda: print(*sys.modules, sep='\\n', file=sys.stderr))\n"
    command = [str(installed_python), "-I", "-c", report + script]
    done = subprocess.run(command, capture_output=True, text=True, cwd=installed_python.parent)
    assert done.returncode == 0, done.stderr
    assert "agentgym.envs" in done.stderr.split()
    assert not SLOW_TO_IMPORT.intersection(done.stderr.split())


def test_the_public_names_are_there(installed_python: Path) -> None:
    script = (
        "import agentgym, gymnasium\n"
        "assert all(hasattr(agentgym, name) for name in agentgym.__all__)\n"
        "assert set(agentgym.__all__) <= set(dir(agentgym))\n"
        "gymnasium.make('agentgym/Sokoban-v0').reset(seed=0)\n"
        "print(agentgym.__version__)"
    )
    version = run(installed_python, "-I", "-c", script, cwd=installed_python.parent).strip()
    assert version == PYPROJECT["project"]["version"]


@pytest.mark.parametrize("arguments", [("-c", "import agentgym.train"), ("-m", "agentgym.cli", "--help")])
def test_a_clone_runs_in_its_root_whatever_is_installed(arguments):
    """After `pip install .`, or of nothing, the folder `agentgym/` shadows the installed package."""
    without_editable = "import sys; sys.meta_path = [f for f in sys.meta_path if '__editable__' not in repr(f)]; "
    program = (
        f"{without_editable}sys.argv = {list(arguments)!r}; import runpy, agentgym.agents, agentgym.trainers; "
        "assert agentgym.envs.__file__.startswith(sys.path[0] or __import__('os').getcwd()), agentgym.envs.__file__; "
        + (arguments[1] if arguments[0] == "-c" else f"runpy.run_module({arguments[1]!r}, run_name='__main__')")
    )
    run(sys.executable, "-c", program, cwd=ROOT)


def test_no_folder_of_tests_passes_for_a_package() -> None:
    """With tests/envs on the path, its folder alfworld would be found where the package `alfworld` is asked for."""
    assert not [path for path in sys.path if Path(path).resolve().is_relative_to(ROOT / "tests")]
