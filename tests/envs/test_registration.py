"""Environments by name, and the environments of other packages."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import gymnasium
import pytest

from agentgym.envs import FrozenLakeEnv, TextEnv, make, register, registered, registration


class Echo(TextEnv):
    instructions = "Say anything."
    task_types = ("echo",)

    def __init__(self, *, shout: bool = False, **kwargs: Any):
        super().__init__(**{"max_turns": 3, **kwargs})
        self.shout = shout

    def _start(self, rng: Any, options: dict[str, Any]) -> str:
        return "Hello."

    def _act(self, action: str) -> tuple[str, float, bool, bool]:
        return action.upper() if self.shout else action, 0.0, False, True

    def _situation(self) -> dict[str, Any]:
        return {"success": False, "task_id": "echo", "task_type": "echo", "state_key": ""}


class Other(Echo):
    pass


@pytest.fixture(autouse=True)
def _registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a test registers is gone after it."""
    before = dict(gymnasium.registry)
    monkeypatch.setattr(registration, "_ours", set(registration._ours))
    yield
    gymnasium.registry.clear()
    gymnasium.registry.update(before)


# The built-in ids -----------------------------------------------------------------------------------------


def test_builtin_ids_are_registered_with_gymnasium() -> None:
    assert {"agentgym/Sokoban-v0", "agentgym/FrozenLake-v0"} <= set(registered())
    assert registered() == sorted(registered())
    env = gymnasium.make("agentgym/FrozenLake-v0", size=3, split="test")
    assert isinstance(env.unwrapped, FrozenLakeEnv)
    assert env.unwrapped.split == "test"


def test_make_gives_the_bare_environment() -> None:
    env = make("agentgym/FrozenLake-v0", size=5)
    assert type(env) is FrozenLakeEnv
    assert env.unwrapped is env
    assert env.spec is not None and env.spec.id == "agentgym/FrozenLake-v0"


def run_python(code: str, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    search = os.pathsep.join([*([str(path)] if path else []), *filter(None, sys.path)])
    return subprocess.run(
        [sys.executable, "-c", dedent(code)],
        env={**os.environ, "PYTHONPATH": search},
        capture_output=True,
        text=True,
        check=False,
    )


def test_importing_is_lazy() -> None:
    child = run_python(
        """
        import json, sys
        import agentgym.envs
        print(json.dumps([name for name in sys.modules]))
        """
    )
    modules = set(json.loads(child.stdout))
    assert not {"torch", "agentgym.envs.checks", "agentgym.envs.frozen_lake"} & modules
    assert not {name for name in modules if name.startswith(("agentgym.agents", "agentgym.trainers"))}


def test_public_names_are_there() -> None:
    import agentgym.envs

    assert set(agentgym.envs.__all__) <= set(dir(agentgym.envs))
    assert all(getattr(agentgym.envs, name) is not None for name in agentgym.envs.__all__)
    with pytest.raises(AttributeError, match=r"module 'agentgym\.envs' has no attribute 'nothing'"):
        agentgym.envs.nothing  # noqa: B018


# make: wrong calls ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("env_id", "message"),
    [
        (
            "sokoban",
            "no environment 'sokoban': did you mean agentgym/Sokoban-v0? `agentgym envs` lists them all",
        ),
        ("agentgym/Frozenlake-v0", "did you mean agentgym/FrozenLake-v0?"),
        ("agentgym/Sokoban-v9", "did you mean agentgym/Sokoban-v0?"),
        ("qqq", "no environment 'qqq': `agentgym envs` lists them all"),
        ("", "no environment ''"),
        ("no_such_module:x/Y-v0", "no_such_module:x/Y-v0: cannot import 'no_such_module'"),
    ],
)
def test_unknown_ids(env_id: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        make(env_id)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_unknown_arguments() -> None:
    with pytest.raises(ValueError) as caught:
        make("agentgym/FrozenLake-v0", sise=8)
    assert str(caught.value) == (
        "agentgym/FrozenLake-v0 takes no argument 'sise', only size, is_slippery, map, split, max_turns, render_mode"
    )


def test_arguments_refused_deeper_down() -> None:
    register("test/Echo-v0", Echo)
    with pytest.raises(ValueError, match="test/Echo-v0 takes no argument 'volume', only shout"):
        make("test/Echo-v0", volume=3)


def test_values_refused_by_the_constructor() -> None:
    with pytest.raises(ValueError, match="split must be one of train, valid, test, not 'tst'"):
        make("agentgym/FrozenLake-v0", split="tst")


def test_an_error_inside_a_constructor_stays_what_it_is() -> None:
    def broken() -> Echo:
        return Echo(nonsense=1)

    register("test/Broken-v0", broken)
    with pytest.raises(TypeError, match="nonsense"):
        make("test/Broken-v0")


def test_other_than_text_environments() -> None:
    with pytest.raises(ValueError, match=r"CartPole-v1 must be a TextEnv, not a CartPoleEnv: .*DiscreteTextEnv"):
        make("CartPole-v1")


# register -------------------------------------------------------------------------------------------------


def test_register_a_class_with_arguments() -> None:
    register("test/Shout-v0", Echo, shout=True)
    assert "test/Shout-v0" in registered()
    env = make("test/Shout-v0", max_turns=9)
    assert isinstance(env, Echo) and env.shout and env.max_turns == 9
    assert not make("test/Shout-v0", shout=False).shout  # type: ignore[attr-defined]
    assert gymnasium.make("test/Shout-v0").unwrapped.shout  # type: ignore[attr-defined]


def test_environments_registered_with_gymnasium_alone_can_be_made() -> None:
    gymnasium.register("test/Direct-v0", Echo)
    assert isinstance(make("test/Direct-v0"), Echo)
    assert "test/Direct-v0" not in registered()


@pytest.mark.filterwarnings("error")
def test_registering_the_same_again_is_harmless() -> None:
    register("test/Echo-v0", Echo, shout=True)
    register("test/Echo-v0", Echo, shout=True)
    register("test/Echo-v0", f"{Echo.__module__}:Echo", shout=True)
    assert registered().count("test/Echo-v0") == 1


def test_a_class_defined_again_replaces_the_old_one() -> None:
    register("test/Echo-v0", Echo)
    again = type("Echo", (Echo,), {"__module__": Echo.__module__})
    register("test/Echo-v0", again)
    assert type(make("test/Echo-v0")) is again


def test_registering_another_under_a_known_id_is_an_error() -> None:
    register("test/Echo-v0", Echo)
    with pytest.raises(ValueError, match=r"test/Echo-v0 is already registered as \S+:Echo, not \S+:Other: choose"):
        register("test/Echo-v0", Other)
    with pytest.raises(ValueError, match=r"already registered with \{\}, not \{'shout': True\}"):
        register("test/Echo-v0", Echo, shout=True)
    with pytest.raises(ValueError, match=r"agentgym/Sokoban-v0 is already registered as agentgym\.envs\.soko"):
        register("agentgym/Sokoban-v0", Echo)
    with pytest.raises(ValueError, match="CartPole-v1 is already registered as gymnasium"):
        register("CartPole-v1", Echo)
    assert type(make("test/Echo-v0")) is Echo


def test_two_lambdas_are_not_the_same() -> None:
    register("test/Lambda-v0", lambda **kwargs: Echo(**kwargs))
    with pytest.raises(ValueError, match="<lambda> in line"):
        register("test/Lambda-v0", lambda **kwargs: Other(**kwargs))


# Other packages -------------------------------------------------------------------------------------------

GOOD = """
from agentgym.envs import TextEnv, register, registered

class Echo(TextEnv):
    instructions = "Say anything."
    task_types = ("echo",)

    def __init__(self, **kwargs):
        super().__init__(**{"max_turns": 3, **kwargs})

    def _start(self, rng, options):
        return "Hello."

    def _act(self, action):
        return action, 0.0, False, True

    def _situation(self):
        return {"success": False, "task_id": "echo", "task_type": "echo", "state_key": ""}

def offer():
    register("party/Offered-v0", Echo)
    registered()  # a plug-in may ask what there is

if not __name__.endswith("plain"):
    register("party/Echo-v0", "party:Echo")
"""


def install(path: Path, package: str, modules: dict[str, str], entry_points: list[str]) -> None:
    """A package as pip installs it: its modules, and beside them its metadata."""
    path.mkdir(exist_ok=True)
    for name, code in modules.items():
        (path / f"{name}.py").write_text(code)
    metadata = path / f"{package}-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("\n".join(["[agentgym.envs]", *entry_points, ""]))


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """Two packages: one that works, and one that is broken in three ways."""
    install(tmp_path, "a_bad_one", {"explodes": "1 / 0"}, ["x = explodes", "y = missing_mod", "z = math:nothing"])
    install(tmp_path, "party", {"party": GOOD, "plain": GOOD}, ["module = party", "function = plain:offer"])
    return tmp_path


def test_plugins_are_loaded_and_broken_ones_named(site: Path) -> None:
    child = run_python(
        """
        import json, sys, warnings
        import agentgym.envs as envs
        loaded_at_import = "party" in sys.modules
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            ids = envs.registered()
            envs.registered()
        import gymnasium
        name = gymnasium.make("party/Echo-v0").unwrapped.__class__.__name__
        made = envs.make("party/Offered-v0").reset(seed=0)[0]
        print(json.dumps([loaded_at_import, ids, [str(w.message) for w in caught], name, made]))
        """,
        site,
    )
    assert child.returncode == 0, child.stderr
    loaded_at_import, ids, warned, name, made = json.loads(child.stdout)
    assert not loaded_at_import
    assert {"party/Echo-v0", "party/Offered-v0", "agentgym/Sokoban-v0"} <= set(ids)
    assert (name, made) == ("Echo", "Hello.")
    reasons = {
        "'x' of the package a_bad_one are missing: explodes": "ZeroDivisionError: division by zero",
        "'y' of the package a_bad_one are missing: missing_mod": "ModuleNotFoundError: No module named",
        "'z' of the package a_bad_one are missing: math:nothing": "AttributeError: module 'math' has no",
    }
    for plugin, reason in reasons.items():
        assert sum(f"the environments {plugin} failed with {reason}" in message for message in warned) == 1


def test_the_warning_points_at_the_caller(site: Path) -> None:
    child = run_python("import agentgym.envs\nagentgym.envs.make('party/Echo-v0')", site)
    assert child.returncode == 0, child.stderr
    assert "<string>:2: UserWarning: the environments 'x'" in child.stderr


def test_a_package_without_entry_point_by_module_name(tmp_path: Path) -> None:
    (tmp_path / "lonely.py").write_text(GOOD.replace("party", "lonely"))
    child = run_python("from agentgym.envs import make; print(make('lonely:lonely/Echo-v0'))", tmp_path)
    assert child.stdout.strip() == "<Echo<lonely/Echo-v0>>", child.stderr
