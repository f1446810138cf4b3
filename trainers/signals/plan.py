"""Who gives what: from what a scheme and a loss need to the signals that have to work, in their order.

A need is told by the rollout, or given by a signal that the configuration names, or by one of ours that needs no
configuration; else it is refused, before anything is loaded.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from agentgym.agents.formats import FORMATS
from agentgym.envs.names import named
from agentgym.trainers.registry import check_parameters
from agentgym.trainers.signal_names import SIGNALS

TOLD_BY_ROLLOUTS = ("state_key", "final_state_N", "observation", "tokens", "token_ids", "logprob_K", "success_N",
                    "replayed_N", "policy_step_T", "greedy_return_N")  # fmt: skip
"""What every rollout of a language model records; `greedy_return_N` where somebody needs it."""
TOLD_BY_FORMATS = {"role_K": "parts.*", "parts.*_T": "parts.*", "switch_T": "parts.switch",
                   "subgoal_T": "parts.subgoal"}  # fmt: skip
"""What rollouts in some response formats record: the need → the part that the format reads."""
TOLD_BY_ENVIRONMENTS = {"reward_parts.*_T": "reward_parts.*", "duration_T": "duration", "score_N": "score",
                        "answers": "answers"}  # fmt: skip
"""What some environments tell: the need → the key of `info`."""
GIVERS = {
    "answer_probability": "agentgym.trainers.signals.answers:AnswerProbability",
    "entropy_history": "agentgym.trainers.signals.entropy_history:EntropyHistory",
    "policy_statistics": "agentgym.trainers.signals.policy_statistics:PolicyStatistics",
    "positions": "agentgym.trainers.signals.policy_statistics:Positions",
    "reference": "agentgym.trainers.signals.policy_statistics:Reference",
    "critic": "agentgym.trainers.signals.critic:Critic",
    "implicit_step_reward": "agentgym.trainers.signals.implicit_reward:ImplicitStepReward",
    "implicit_token_reward": "agentgym.trainers.signals.implicit_reward:ImplicitTokenReward",
    "progress": "agentgym.trainers.signals.progress:Progress",
    "planning_tokens": "agentgym.trainers.signals.planning_tokens:PlanningTokens",
    "running_baseline": "agentgym.trainers.signals.running_baseline:RunningBaseline",
    "twin_critic": "agentgym.trainers.signals.twin_critic:TwinCritic",
}
"""Our signals that need no configuration, by the names under which one can configure them."""
CONFIGURED = {
    "judge": "agentgym.trainers.signals.judge:Judge",
    "process_reward_model": "agentgym.trainers.signals.process_reward_model:ProcessRewardModel",
}
"""Our signals that work where they are configured alone: they need a server or a directory."""
MEASURES = {
    "exploitability": "agentgym.trainers.signals.exploitability:Exploitability",
}
"""Ours that give nothing but metrics, where they are configured."""


@dataclass
class Planned:
    """A signal that is to work: its class, its parameters, and which of its columns are wanted."""

    name: str
    kind: type[Any]
    params: Mapping[str, Any]
    wanted: set[str] = field(default_factory=set)

    @property
    def needs(self) -> tuple[str, ...]:
        """What it works on."""
        needs: tuple[str, ...] = self.kind.needs_of(self.params)
        return needs


def plan_signals(
    needs: Mapping[str, str], configured: Mapping[str, Mapping[str, Any]], told: Iterable[str] | None, env_id: str
) -> list[Planned]:
    """The signals to be made, those first that others need.

    `needs`: what is needed → who needs it. `configured`: the parameters of signals, by "module:Class" or by one of
    ours. Ours give what is needed, one's own all that they can. `told`: the keys of the environment's `info`, and the
    format's parts as `parts.…`; None where nobody has looked. Raises `ValueError` in one line for a need that nobody
    meets, naming what would, and for a signal of ours that nobody needs.
    """
    names = [*(name for name in configured if name in CONFIGURED), *GIVERS]
    ours = {name: _planned(name, configured.get(name, {}), wants_all=False) for name in names}
    signals = [_planned(name, params, wants_all=True) for name, params in configured.items() if name not in ours]
    givers = [*signals, *ours.values()]
    order: list[Planned] = []

    def want(need: str, by: str, path: tuple[str, ...]) -> None:
        giver = next((each for each in givers if any(fnmatchcase(need, given) for given in each.kind.gives)), None)
        if giver is not None:
            giver.wanted.add(need)
            add(giver, path)
        elif not _is_told(need, told):
            raise ValueError(_unmet(need, by, told, env_id))

    def add(signal: Planned, path: tuple[str, ...]) -> None:
        if signal.name in path:
            raise ValueError(f"the signals {' and '.join(path)} need one another")
        for need in signal.needs:
            want(need, f"the signal {signal.kind.__name__}", (*path, signal.name))
        if signal not in order:
            order.append(signal)

    for signal in signals:
        if sum(other.kind.__name__ == signal.kind.__name__ for other in signals) > 1:
            raise ValueError(
                f"signals: two are called {signal.kind.__name__}, and their states would be one: rename one"
            )
        add(signal, ())
    for need, by in needs.items():
        want(need, by, ())
    if idle := next((name for name in configured if name in ours and ours[name] not in order), None):
        gives = ", ".join(ours[idle].kind.gives)
        raise ValueError(f"signals: {idle} is configured, but nothing needs what it gives ({gives}): leave it out")
    return order


def provision(need: str) -> str:
    """Whether training meets a need, in a word or two: "yes" is without configuration."""
    given = [*TOLD_BY_ROLLOUTS, *(column for name in GIVERS.values() for column in named("signal", name).gives)]
    for answer, known in (
        ("yes", given),
        ("in some formats", TOLD_BY_FORMATS),
        ("in some worlds", TOLD_BY_ENVIRONMENTS),
        ("if configured", [column for name in CONFIGURED.values() for column in named("signal", name).gives]),
    ):
        if any(fnmatchcase(need, each) for each in known):
            return answer
    return "no"


def signal_kind(name: str) -> type[Any]:
    """The signal of this name, one of ours or "module:Class". Raises `ValueError` with the nearest names."""
    ours = GIVERS | CONFIGURED | MEASURES
    kind: type[Any] = named("signal", ours.get(name, name), ours)
    return kind


def _planned(name: str, params: Mapping[str, Any], *, wants_all: bool) -> Planned:
    kind = signal_kind(name)
    # `Signal` itself imports the agents; here what a subclass must have decides.
    if not isinstance(kind, type) or not all(hasattr(kind, member) for member in ("gives", "needs_of", "compute")):
        raise ValueError(
            f"the signal {name!r} is none: a subclass of agentgym.trainers.signals.signal.Signal is expected, which "
            "says what it `gives`"
        )
    checked = check_parameters(name, kind.__init__, params, skip=3)
    return Planned(name, kind, checked, set(kind.gives) if wants_all else set())


def _is_told(need: str, told: Iterable[str] | None) -> bool:
    if need in TOLD_BY_ROLLOUTS:
        return True
    for known, key in (TOLD_BY_FORMATS | TOLD_BY_ENVIRONMENTS).items():
        if fnmatchcase(need, known):
            return told is None or any(fnmatchcase(each, _part(need, key)) for each in told)
    return False


def _part(need: str, key: str) -> str:
    """The key that tells a need, of which the vocabulary may know the kind alone: parts.subgoal of `parts.*`."""
    return need.removesuffix("_T") if "parts." in need else key


def _unmet(need: str, by: str, told: Iterable[str] | None, env_id: str) -> str:
    meaning = f" ({SIGNALS[need]})" if need in SIGNALS else ""
    if any(fnmatchcase(need, known) for known in TOLD_BY_FORMATS):
        part = next(_part(need, part) for known, part in TOLD_BY_FORMATS.items() if fnmatchcase(need, known))
        able = [n for n, f in FORMATS.items() if any(fnmatchcase(f"parts.{read}", part) for read in f.reads)]
        way_out = f"set format to {' or '.join(able)}" if able else "take another format"
        return f"{by} needs {need!r}{meaning}, which responses of this format do not tell: {way_out}"
    if any(fnmatchcase(need, known) for known in TOLD_BY_ENVIRONMENTS):
        return f"{by} needs {need!r}{meaning}, which {env_id} does not tell: take another environment or scheme"
    if able := [name for name in CONFIGURED if any(fnmatchcase(need, given) for given in signal_kind(name).gives)]:
        return f"{by} needs {need!r}{meaning}: configure the signal {' or '.join(able)} (docs/judges.md)"
    return (
        f"{by} needs {need!r}{meaning}, which training does not compute: name a signal that gives it (signals: "
        '{"module:Class": {…}}), give it to `agentgym credit` in a file, or take another scheme'
    )
