"""Games of several seats by id: in PettingZoo's two registers and, one seat of each, in gymnasium's.

register_game("mine/Haggle-v0", Haggle)
make_game("mine/Haggle-v0")                                  # all seats: a TextAECEnv
make("mine/Haggle-v0", seat="seller", partner="greedy")      # one seat: a TextEnv
pettingzoo.make("aec", "mine/Haggle-v0")
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from importlib import import_module
from typing import Any

import pettingzoo

from agentgym.envs.faults import import_own
from agentgym.envs.multi_agent import TextAECEnv
from agentgym.envs.names import unknown
from agentgym.envs.registration import known_arguments, load_plugins, register, registered

GAMES: dict[str, str] = {
    "agentgym/Bargaining-v0": "agentgym.envs.social.bargaining_v0:Bargaining",
    "agentgym/KuhnPoker-v0": "agentgym.envs.social.kuhn_poker_v0:KuhnPoker",
    "agentgym/MatrixGame-v0": "agentgym.envs.social.matrix_game_v0:MatrixGame",
    "agentgym/PriceNegotiation-v0": "agentgym.envs.social.price_negotiation_v0:PriceNegotiation",
    "agentgym/ResourceTrade-v0": "agentgym.envs.social.resource_trade_v0:ResourceTrade",
    "agentgym/Scheduling-v0": "agentgym.envs.social.scheduling_v0:Scheduling",
    "agentgym/Social-v0": "agentgym.envs.social.sotopia_v0:Sotopia",
    "agentgym/TicTacToe-v0": "agentgym.envs.social.tic_tac_toe_v0:TicTacToe",
    "agentgym/TwentyQuestions-v0": "agentgym.envs.social.twenty_questions_v0:TwentyQuestions",
}
"""The built-in games: entry points as text, imported when a game is first made."""

_games: dict[str, tuple[_Game, dict[str, Any]]] = {}
"""Games and the arguments they were registered with, by id."""


class _Game:
    """A game's class or factory, imported at its first use; called, it is one seat of it (`OneSeat`)."""

    def __init__(self, entry_point: str | Callable[..., Any]):
        self.entry_point = entry_point
        if isinstance(entry_point, str):
            self.__module__, _, self.__qualname__ = entry_point.partition(":")
        else:
            self.__module__, self.__qualname__ = entry_point.__module__, entry_point.__qualname__

    def load(self) -> Callable[..., Any]:
        """The class or factory itself."""
        if isinstance(self.entry_point, str):
            found: Callable[..., Any] = getattr(import_module(self.__module__), self.__qualname__)
            return found
        return self.entry_point

    def __call__(self, **kwargs: Any) -> Any:
        from agentgym.envs.one_seat import OneSeat

        return OneSeat(self.load(), **kwargs)

    @property
    def __signature__(self) -> inspect.Signature:
        """The arguments of one seat: those of `OneSeat` and of the game, for messages and for a run's record."""
        from agentgym.envs.one_seat import OneSeat

        own = list(inspect.signature(OneSeat).parameters.values())[1:]
        of_game = inspect.signature(self.load()).parameters.values()
        taken = {parameter.name for parameter in own}
        more = [p.replace(kind=p.KEYWORD_ONLY) for p in of_game if p.name not in taken and p.kind is not p.VAR_KEYWORD]
        return inspect.Signature([p for p in own if p.kind is not p.VAR_KEYWORD] + more)

    def face(self, name: str) -> Callable[..., Any]:
        """`env` or `parallel_env` of the game."""

        def make_face(**kwargs: Any) -> Any:
            from agentgym.envs.social.faces import faces

            env, _, parallel_env = faces(self.load())
            return (env if name == "env" else parallel_env)(**kwargs)

        return make_face


def register_game(env_id: str, entry_point: str | Callable[..., Any], **kwargs: Any) -> None:
    """Make a game known by one id to `make_game`, to `make` (one seat) and to `pettingzoo.make`.

    Args:
        env_id: "namespace/Name-v0".
        entry_point: "module:Class" of a `TextAECEnv`, imported when it is first made; or the class or a factory.
        kwargs: the game's arguments; those given to `make_game` and `make` come on top.

    Registering the same again is harmless. Raises `ValueError` if the id stands for something else.
    """
    game = _Game(entry_point)
    register(env_id, game, **kwargs)
    _games[env_id] = game, kwargs
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Overriding environment", UserWarning)  # a notebook's cell, run again
        pettingzoo.register("aec", env_id, game.face("env"), kwargs=kwargs)
        pettingzoo.register("parallel", env_id, game.face("parallel_env"), kwargs=kwargs)


def registered_games() -> list[str]:
    """The ids registered with `register_game`, by this package and by plug-ins, sorted."""
    load_plugins()
    return sorted(_games)


def default_game_arguments(env_id: str) -> dict[str, Any]:
    """The arguments with which a game is made unless others are given: the registered ones, and its own."""
    game, known = _games[env_id.rpartition(":")[2]]
    parameters = inspect.signature(game.load()).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not p.empty} | known


def make_game(env_id: str, **kwargs: Any) -> TextAECEnv:
    """The bare game with all its seats, without PettingZoo's wrappers.

    `env_id` may also be "module:namespace/Name-v0", which imports the module first. Raises `ValueError` for an
    unknown id, for one of a world with one seat, and for an argument that the game does not take.
    """
    load_plugins()
    module, _, name = env_id.rpartition(":")
    if module:
        import_own(module, env_id)
    if name not in _games:
        has = "it has one seat" if name in registered() else "it is not registered"
        raise ValueError(f"{unknown('no game of several seats', name, _games)}; {has}")
    game, known = _games[name]
    with known_arguments(name, game.load(), kwargs):
        made: TextAECEnv = game.load()(**known | kwargs)
    return made
