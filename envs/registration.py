"""Environments by name: the ids "agentgym/…-v0" and those of other packages, over gymnasium's own registry.

A package offers its environments with an entry point, and needs nothing else:

    [project.entry-points."agentgym.envs"]
    my-games = "my_games.registration"    # a module, or "module:function", that calls `register`

Such plug-ins are loaded at the first `make` or `registered`, not at import, so that `import agentgym` stays
quick whatever is installed. `gymnasium.make` knows the built-in ids after `import agentgym.envs`, and a
plug-in's ids once it is imported.
"""

from __future__ import annotations

import difflib
import inspect
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import gymnasium
from gymnasium.envs.registration import EnvSpec, load_env_creator

from agentgym.envs.faults import import_own, others_faults
from agentgym.envs.text_env import TextEnv

PLUGIN_GROUP = "agentgym.envs"

BUILTIN: dict[str, str] = {
    "agentgym/ALFWorld-v0": "agentgym.envs.alfworld.env:AlfworldEnv",
    "agentgym/FrozenLake-v0": "agentgym.envs.frozen_lake:FrozenLakeEnv",
    "agentgym/ScienceWorld-v0": "agentgym.envs.scienceworld.env:ScienceWorldEnv",
    "agentgym/SearchQA-v0": "agentgym.envs.search_qa.env:SearchQaEnv",
    "agentgym/Sokoban-v0": "agentgym.envs.sokoban.env:SokobanEnv",
    "agentgym/TextWorld-v0": "agentgym.envs.text_world.env:TextWorldEnv",
    "agentgym/WebShop-v0": "agentgym.envs.webshop.env:WebShopEnv",
}
"""Entry points as text: an environment's module is imported when it is first made."""

_ours: set[str] = set()
_plugins_loaded = False


def register(env_id: str, entry_point: str | Callable[..., TextEnv], **kwargs: Any) -> None:
    """Make an environment known to `make` and to `gymnasium.make`.

    Args:
        env_id: "namespace/Name-v0".
        entry_point: "module:Class", imported at the first `make`; or the class or function itself.
        kwargs: constructor arguments; those given to `make` come on top.

    Registering the same again is harmless. Raises `ValueError` if the id stands for something else.
    """
    known = gymnasium.registry.get(env_id)
    if known is not None:
        _expect_same(known, entry_point, kwargs)
        del gymnasium.registry[env_id]  # take the new object: a notebook's cell defines its class again
    gymnasium.register(env_id, entry_point, kwargs=kwargs)
    _ours.add(env_id)


def registered() -> list[str]:
    """The ids registered with `register`, by this package and by plug-ins, sorted."""
    load_plugins()
    return sorted(_ours)


def make(env_id: str, **kwargs: Any) -> TextEnv:
    """The bare environment, without gymnasium's wrappers.

    `env_id` may also be "module:namespace/Name-v0", which imports the module first. Raises `ValueError` for
    an unknown id, for an argument that the environment does not take, and for other than a `TextEnv`.
    """
    load_plugins()
    spec = _find(env_id)
    with known_arguments(env_id, spec.entry_point, kwargs):
        env = gymnasium.make(spec, disable_env_checker=True, **kwargs).unwrapped
    if not isinstance(env, TextEnv):
        env.close()
        raise ValueError(
            f"{env_id} must be a TextEnv, not a {type(env).__name__}: give it a text face with "
            "agentgym.envs.DiscreteTextEnv and register that"
        )
    return env


@contextmanager
def known_arguments(env_id: str, entry_point: Any, kwargs: Mapping[str, Any]) -> Iterator[None]:
    """Within, an argument among `kwargs` that the entry point does not take is a `ValueError` that says which it does.

    Faults in other people's code are told with their place.
    """
    try:
        with others_faults(f"{env_id} cannot be made", _module_of(entry_point)):
            yield
    except TypeError as error:
        unknown = re.search(r"unexpected keyword argument '([^']+)'", str(error))
        if unknown and unknown[1] in kwargs:
            message = f"{env_id} takes no argument {unknown[1]!r}, only {_arguments(entry_point)}"
            raise ValueError(message) from None
        raise


def default_arguments(env_id: str) -> dict[str, Any]:
    """The arguments with which an environment is made unless others are given: the registered ones, and its own."""
    load_plugins()
    spec = _find(env_id)
    parameters = inspect.signature(_creator(spec)).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not p.empty} | dict(spec.kwargs)


def takes_argument(env_id: str, name: str) -> bool:
    """Whether an environment can be made with an argument of this name."""
    parameters = inspect.signature(_creator(_find(env_id))).parameters
    return name in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())


def _find(env_id: str) -> EnvSpec:
    """gymnasium's entry for "namespace/Name-v0" or "module:namespace/Name-v0"."""
    module, _, name = env_id.rpartition(":")
    if module:
        import_own(module, env_id)
    spec = gymnasium.registry.get(name)
    if spec is None:
        near = _near(name)
        hint = f"did you mean {' or '.join(near)}? " if near else ""
        raise ValueError(f"no environment {name!r}: {hint}`agentgym envs` lists them all")
    return spec


def _near(env_id: str) -> list[str]:
    """Our ids whose bare name looks like that of `env_id`, the closest first: for "sokobn" Sokoban."""
    bare = {own: _bare_name(own) for own in sorted(_ours)}
    close = difflib.get_close_matches(_bare_name(env_id), set(bare.values()), n=3)
    return [own for name in close for own in bare if bare[own] == name]


def _bare_name(env_id: str) -> str:
    return re.sub(r"-v\d+$", "", env_id.lower()).rpartition("/")[2]


def _arguments(entry_point: Any) -> str:
    """The arguments that the constructor names, for an error message."""
    creator = load_env_creator(entry_point) if isinstance(entry_point, str) else entry_point
    parameters = inspect.signature(creator).parameters.values()
    return ", ".join(p.name for p in parameters if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL))


def _creator(spec: EnvSpec) -> Callable[..., Any]:
    """The class or function that makes the environment."""
    creator = load_env_creator(spec.entry_point) if isinstance(spec.entry_point, str) else spec.entry_point
    assert creator is not None  # only a spec for vector environments alone has none
    return creator


def _expect_same(known: EnvSpec, entry_point: str | Callable[..., TextEnv], kwargs: dict[str, Any]) -> None:
    old, new = _entry_point_name(known.entry_point), _entry_point_name(entry_point)
    if old != new:
        raise ValueError(f"{known.id} is already registered as {old}, not {new}: choose another id")
    if known.kwargs != kwargs:
        raise ValueError(f"{known.id} is already registered with {known.kwargs}, not {kwargs}: choose another id")


def _entry_point_name(entry_point: Any) -> str:
    """ "module:name", so that the text and the object it stands for are the same."""
    if isinstance(entry_point, str):
        return entry_point
    name = getattr(entry_point, "__qualname__", None)
    if name is None:
        return repr(entry_point)
    line = f" in line {entry_point.__code__.co_firstlineno}" if name.endswith("<lambda>") else ""
    return f"{entry_point.__module__}:{name}{line}"


def _module_of(entry_point: Any) -> str:
    return entry_point.partition(":")[0] if isinstance(entry_point, str) else str(entry_point.__module__)


def load_plugins() -> None:
    """Load every package's entry points, once. A broken one is named in a warning and stops nobody."""
    global _plugins_loaded
    if _plugins_loaded:
        return
    _plugins_loaded = True  # before the loop: a plug-in may itself call `registered`
    for plugin in entry_points(group=PLUGIN_GROUP):
        try:
            loaded = plugin.load()
            if callable(loaded):
                loaded()
        except (Exception, SystemExit) as error:
            _warn_broken(plugin, error)


def _warn_broken(plugin: EntryPoint, error: BaseException) -> None:
    package = f" of the package {plugin.dist.name}" if plugin.dist else ""
    warnings.warn(
        f"the environments {plugin.name!r}{package} are missing: {plugin.value} failed with "
        f"{type(error).__name__}: {error}",
        stacklevel=4,  # whoever called `make` or `registered`
    )
