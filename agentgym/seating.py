"""Who sits where in a game, as a configuration or a command says it. Needs no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from agentgym.agents.agent import Agent, ExpertAgent, RandomAgent
from agentgym.agents.chat_agent import ChatAgent
from agentgym.agents.model_names import BUILTIN
from agentgym.agents.partners import LEARNER, Company, Partners, ScriptedAgent, Source
from agentgym.agents.run_files import CHECKPOINTS, list_checkpoints
from agentgym.config import RunConfig
from agentgym.envs import TextAECEnv, TextEnv
from agentgym.envs.names import named, unknown
from agentgym.envs.one_seat import MIXTURE

SELF_PLAY = "self-play"
START = "start"
POOL = "pool"
SERVER = "server:"
OF_ANY_GAME = ("random", "expert")

Spec: TypeAlias = str | Mapping[str, float]
"""Who holds a seat: a name, or names with weights of which one is drawn for each task."""


@dataclass(frozen=True)
class Seating:
    """Which seats are learned in, and by whom the others may be held."""

    learners: tuple[str, ...]
    partners: Mapping[str, Mapping[str, float]]
    """Names with weights, by seat."""

    @property
    def names(self) -> list[str]:
        """All partners that may play."""
        return list(dict.fromkeys(name for of_seat in self.partners.values() for name in of_seat))


def seating_of(config: RunConfig, game: TextEnv | TextAECEnv) -> Seating | None:
    """Who sits where in training; None in worlds of which one seat is played.

    Raises `ValueError` in one line for seats and partners that do not exist, and for settings that have no say in games
    or beside nobody's seating.
    """
    if config.players is None or isinstance(game, TextEnv):
        if config.eval_partner is not None:
            raise ValueError("eval_partner is given, but no players: name the partner in env_kwargs, or seat players")
        return None
    if config.env_timeout is not None:
        raise ValueError("env_timeout is for worlds of which one seat is played, and players are seated: leave it out")
    if config.retry is not None:
        raise ValueError("retry is for worlds of which one seat is played, and players are seated: set it to null")
    run_dir = config.output_dir or ""
    if config.eval_partner is not None:
        partner_weights(config.eval_partner, game, "eval_partner", run_dir)
    return read_seating(config.players, game, run_dir=run_dir)


def pinned_players(config: RunConfig, game: TextEnv | TextAECEnv, pin: Callable[[str], str]) -> RunConfig:
    """`config` with directories of partners as what they stand for now. `pin`: says what that is."""
    if seating_of(config, game) is None or isinstance(game, TextEnv):
        return config
    players, eval_partner = config.players, config.eval_partner
    if isinstance(players, Mapping):
        players = {seat: _pinned(spec, game, pin) for seat, spec in players.items()}
    if eval_partner is not None:
        eval_partner = _pinned(eval_partner, game, pin)
    return config.model_copy(update={"players": players, "eval_partner": eval_partner})


def evaluated_seatings(config: RunConfig, seating: Seating, game: TextAECEnv) -> list[Seating]:
    """Each seat that is learned in, and who holds the others when it is evaluated."""
    in_place_of_a_learner = config.eval_partner or (MIXTURE if game.mixture else START)

    def partners(seat: str) -> Mapping[str, float]:
        if config.eval_partner is None and seat in seating.partners:
            return seating.partners[seat]
        return partner_weights(in_place_of_a_learner, game, "eval_partner", config.output_dir or "")

    found = []
    for learner in seating.learners:
        others = {seat: dict(partners(seat)) for seat in game.possible_agents if seat != learner}
        for weights in others.values():
            if POOL in weights:
                weights[START] = weights.get(START, 0.0) + weights.pop(POOL)
        found.append(Seating((learner,), others))
    return found


def read_seating(players: str | Mapping[str, Spec], game: TextAECEnv, *, run_dir: str | None = None) -> Seating:
    """The seating of a run. `run_dir`: its directory; "" where it is not known yet, None for what is no training.

    A seat that is not spoken of is held by the game's own mixture of partners. Raises `ValueError` in one line for a
    seat or a partner that does not exist, and where nobody learns.
    """
    seats = game.possible_agents
    if players == SELF_PLAY:
        return Seating(tuple(seats), {})
    if isinstance(players, str):
        raise ValueError(f"players: {players!r} is no seating: say {SELF_PLAY}, or who holds each seat, by seat")
    for seat in players:
        if seat not in seats:
            raise ValueError(f"players: {unknown('the game has no seat', seat, seats)}")
    learners = tuple(seat for seat in seats if players.get(seat) == LEARNER)
    if not learners:
        raise ValueError(f"players: nobody learns: give at least one of the seats {', '.join(seats)} to {LEARNER}")
    others = [seat for seat in seats if seat not in learners]
    found = {seat: partner_weights(players.get(seat, MIXTURE), game, f"players: {seat}", run_dir) for seat in others}
    return Seating(learners, found)


def partner_weights(spec: Spec, game: TextAECEnv, where: str, run_dir: str | None = None) -> dict[str, float]:
    """The partners that a spec speaks of, with weights; the game's mixture spelt out.

    Raises `ValueError` in one line, beginning with `where`, for a name that is nobody's and weights that are none.
    """
    weights = {spec: 1.0} if isinstance(spec, str) else dict(spec)
    if not weights or any(not weight > 0 for weight in weights.values()):
        raise ValueError(f"{where}: partners need weights above 0, not {weights}")
    found: dict[str, float] = {}
    for name, weight in weights.items():
        if name == MIXTURE:
            if not game.mixture:
                raise ValueError(f"{where}: {type(game).__name__} has no mixture of partners: name one")
            total = sum(game.mixture.values())
            own = {member: weight * share / total for member, share in game.mixture.items()}
        else:
            _check_name(name, game, where, run_dir)
            own = {name: weight}
        for member, share in own.items():
            found[member] = found.get(member, 0.0) + share
    return found


def _pinned(spec: str | dict[str, float], game: TextAECEnv, pin: Callable[[str], str]) -> str | dict[str, float]:
    """A spec in which directories of models stand for what they hold now: `pin` says what that is."""

    def resolved(name: str) -> str:
        known = name in {*game.partners, *OF_ANY_GAME, *BUILTIN, START, POOL, MIXTURE, LEARNER, SELF_PLAY}
        return name if known or not Path(name).is_dir() else pin(name)

    return resolved(spec) if isinstance(spec, str) else {resolved(name): weight for name, weight in spec.items()}


def _check_name(name: str, game: TextAECEnv, where: str, run_dir: str | None) -> None:
    if name == LEARNER:
        raise ValueError(f"{where}: {LEARNER} is no partner that is drawn: give the whole seat to it, or take {POOL}")
    if name in game.partners or name in OF_ANY_GAME or name in BUILTIN:
        return
    if name in (START, POOL):
        if run_dir is None:
            raise ValueError(f"{where}: {name} is a partner of a run in training: name a run's directory")
        return
    if name.startswith(SERVER):
        url, _, model = name.removeprefix(SERVER).partition("#")
        if not url.startswith(("http://", "https://")) or not model:
            raise ValueError(f"{where}: {name!r} names no server: it is {SERVER}URL#MODEL")
        return
    path = Path(name)
    if path.is_dir():
        is_run = (path / CHECKPOINTS).is_dir()
        if run_dir and path.resolve() == Path(run_dir).resolve():
            raise ValueError(f"{where}: {name} is this run itself: its checkpoints play by the name {POOL}")
        if is_run and not list_checkpoints(path):
            raise ValueError(f"{where}: the run {name} has no checkpoint yet")
        return
    if run_dir and path.resolve() == Path(run_dir).resolve():
        raise ValueError(f"{where}: {name} is this run itself, which has no checkpoint yet: take {POOL} or {START}")
    if ":" in name:
        named("partner", name)
        return
    known = [*game.partners, *OF_ANY_GAME, MIXTURE, *([] if run_dir is None else [START, POOL])]
    raise ValueError(
        f"{where}: {unknown('unknown partner', name, known)}; or a "
        f'directory of a model or a run, {SERVER}URL#MODEL, or one of yours as "module:name"'
    )


def without_model(name: str, game: TextAECEnv) -> Agent | None:
    """The partner of this name that needs no model here: the game's, the environment's, a server's or one's own.

    None where it is a model.
    """
    if name in game.partners:
        return ScriptedAgent(game.partners[name])
    if name == "random":
        return RandomAgent()
    if name == "expert":
        return ExpertAgent()
    if name.startswith(SERVER):
        url, _, model = name.removeprefix(SERVER).partition("#")
        return ChatAgent(url, model)
    if ":" in name and not Path(name).is_dir():
        return ScriptedAgent(named("partner", name))
    return None


def company(seating: Seating, learner: Agent, source: Callable[[str], Source]) -> Company:
    """Who plays. `source`: who is meant by a partner's name."""
    sources = {name: source(name) for name in seating.names}
    by_seat = {
        seat: {name: (sources[name], weight) for name, weight in weights.items()}
        for seat, weights in seating.partners.items()
    }
    return Company(learner, seating.learners, Partners(by_seat))
