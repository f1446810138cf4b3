"""SPA's progress estimator: how much each turn contributes to what the episode comes to (arXiv:2505.20732)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from agentgym.agents.demonstrator import rewritten
from agentgym.agents.trajectory import Trajectory
from agentgym.envs.told import Told
from agentgym.trainers.arrays import FloatArray
from agentgym.trainers.demonstration_files import read_demonstrations
from agentgym.trainers.experience import Experience
from agentgym.trainers.layout import lay_out_ends
from agentgym.trainers.losses.progress import progress_loss
from agentgym.trainers.metrics import Sums
from agentgym.trainers.minibatches import deal
from agentgym.trainers.parameters import NonNegative, Positive
from agentgym.trainers.parts import Learner
from agentgym.trainers.policy import Pass, hidden
from agentgym.trainers.segments import segment_sum
from agentgym.trainers.signals.heads import ValueHead
from agentgym.trainers.signals.second_model import SecondModel
from agentgym.trainers.signals.signal import Resources, Signal

Count = Annotated[int, Field(ge=1, description="≥ 1")]


class Progress(Signal):
    """Contributions c_t, one for each turn, whose sum over an episode is fitted to its return R.

        L = mean over trajectories of (Σ_t c_t − R)²

    `progress_T` = c_t: a linear head on the hidden state after the turn's last token, of a `SecondModel`.
    `executable_T`: whether the environment understood the turn's action.

    - `fit_on`: a trajectory file or a run, of which the estimator learns for `epochs` before the first step, and then
      stays as it is: the paper's procedure, in which an agent has explored the training tasks before. Without it the
      estimator learns from every step after having judged it, for `epochs` passes: then c_t is 0 in the first step, and
      `critic_warmup` gives it time.
    - `num_minibatches`: optimizer steps an epoch. `model`: by default the policy's base; `lora_r`: the adapter's rank.
    - `learning_rate` 1e-4: for an adapter and a head, where the official code takes 3e-6 for all weights.
      `weight_decay` 0.01 and `max_grad_norm` 1 are its own.

    The released code's head reads the vocabulary's logits; this one, like the paper's, hidden states. Sums and returns
    are measured in units of the largest return seen (`ValueHead`).
    """

    gives = ("progress_T", "executable_T")

    def __init__(
        self,
        resources: Resources,
        wanted: frozenset[str],
        *,
        fit_on: str | None = None,
        epochs: Count = 1,
        num_minibatches: Count = 1,
        model: str | None = None,
        lora_r: Count | None = None,
        learning_rate: Annotated[float, Field(gt=0, le=1)] = 1e-4,
        weight_decay: NonNegative = 0.01,
        max_grad_norm: Positive = 1.0,
    ):
        """Raises `ValueError` in one line for `fit_on` without trajectories of this environment, or a bad `model`."""
        super().__init__(resources, wanted)
        self.fits = "after" if fit_on is None else "before"
        self.epochs, self.num_minibatches = epochs, num_minibatches
        self.explored = None if fit_on is None else _share(resources, fit_on)
        """This process's share of what is still to be learned from before the first step; it may be empty."""
        self.model = SecondModel(resources, "progress", model=model, lora_r=lora_r)
        self.head = ValueHead(self.model.hidden_size, 1, self.model.device)
        self.learner = Learner(
            [*self.model.parameters, *self.head.parameters()],
            resources.processes,
            learning_rate=learning_rate,
            num_steps=epochs * num_minibatches * (resources.max_steps if fit_on is None else 1),
            weight_decay=weight_decay,
            max_grad_norm=max_grad_norm,
        )

    @classmethod
    def check(cls, params: Mapping[str, Any], told: Told) -> None:
        """See `Signal.check`."""
        if params.get("fit_on") is not None:
            _explored(params["fit_on"], told.env_id)

    def compute(self, experience: Experience) -> Mapping[str, NDArray[Any]]:
        """Shapes (T,): c_t in units of the reward, and truth values."""
        given = {"progress_T": self._contributions(experience), "executable_T": experience.batch.valid_T}
        return {name: values for name, values in given.items() if name in self.wanted}

    def _contributions(self, experience: Experience) -> FloatArray:
        layout = lay_out_ends(experience.trajectories)
        return self.model.read(layout, {"c": self._read}, with_logits=False)["c"]

    def _read(self, each: Pass) -> torch.Tensor:
        contribution_T: torch.Tensor = self.head.unit * self.head(hidden(each))[:, 0]
        return contribution_T

    def fit(self, experience: Experience, targets: Mapping[str, FloatArray]) -> dict[str, float]:
        """Learn from what was explored, once, or from the step."""
        if self.fits == "after":
            return self._fit(experience)
        if self.explored is None:
            return {}
        experience, self.explored = Experience.of(0, self.explored), None
        return self._fit(experience)

    def _fit(self, experience: Experience) -> dict[str, float]:
        processes, purpose = self.resources.processes, (self.resources.seed, experience.step, "progress")
        largest = float(np.abs(experience.batch.episode_return_N).max(initial=0))
        self.head.widen(max(processes.gather(largest)))
        facts = self._judged(experience)
        norms = Sums()
        for number, minibatch in enumerate(deal(experience, processes, self.epochs, self.num_minibatches, purpose)):
            norms["grad_norm"] += self.learner.step(self._losses(minibatch))
            norms["steps"] = number + 1
        return facts | {"progress/grad_norm": norms["grad_norm"] / max(norms["steps"], 1)}

    def _losses(self, minibatch: Experience) -> Iterator[torch.Tensor]:
        """Σ_t (∂L/∂c_t)·c_t of each pass, for the turns of a trajectory may lie in several: the gradient is L's."""
        batch, unit = minibatch.batch, self.head.unit
        total = max(sum(self.resources.processes.gather(batch.n_trajectories)), 1)
        contribution_T = torch.from_numpy(self._contributions(minibatch) / unit).requires_grad_()
        loss = progress_loss(contribution_T, batch.turn_offsets_N, torch.from_numpy(batch.episode_return_N / unit))
        (weight_T,) = torch.autograd.grad(loss * (batch.n_trajectories / total), contribution_T)
        for each in self.model.passes(lay_out_ends(minibatch.trajectories), with_logits=False):
            yield (each.pick(weight_T.numpy()) * self._read(each) / unit).sum()

    def _judged(self, experience: Experience) -> dict[str, float]:
        """How well the sums tell the returns of a step, before it is learned from: of all processes."""
        batch = experience.batch
        sum_N = segment_sum(self._contributions(experience), batch.trajectory_T, batch.n_trajectories)
        gathered = self.resources.processes.gather((sum_N, batch.episode_return_N))
        sums, returns = (np.concatenate(each) for each in zip(*gathered, strict=True))
        spread = float(returns.var())
        return {
            "progress/trajectories": len(returns),
            "progress/loss": float(((sums - returns) ** 2).mean()),
            "progress/error": float(np.abs(sums - returns).mean()),
            "progress/explained_variance": 1 - float((returns - sums).var()) / spread if spread else 0.0,
        }

    def state_dict(self) -> dict[str, Any]:
        """See `parts.Part`."""
        return {
            "adapter": self.model.state_dict(),
            "head": self.head.state_dict(),
            "learner": self.learner.state_dict(),
            "is_fitted": self.explored is None,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See `parts.Part`."""
        self.model.load_state_dict(state["adapter"])
        self.head.load_state_dict(state["head"])
        self.learner.load_state_dict(state["learner"])
        if state["is_fitted"]:
            self.explored = None


def _explored(source: str, env_id: str) -> list[Trajectory]:
    """What a file or run holds. Raises `ValueError` in one line where the returns tell no turn from another."""
    played = read_demonstrations(source, env_id, successes=False, key="fit_on")
    if len(returns := {trajectory.total_reward for trajectory in played}) == 1:
        raise ValueError(
            f"fit_on: all {len(played)} trajectories of {source} return {returns.pop():g}, which tells nothing "
            "of what a turn contributes: explore with a policy that succeeds sometimes, or leave fit_on out"
        )
    return played


def _share(resources: Resources, source: str) -> list[Trajectory]:
    """This process's share of what was explored, in the policy's tokens.

    Each trajectory is a group of its own, named by its place in `source`, so that any number of processes makes the
    same minibatches. Those that do not fit into the model's context are left out: their end is lost, and so is what
    they came to.
    """
    agent, told, processes = resources.agent, resources.told, resources.processes
    if agent.context.show_admissible_actions:
        raise ValueError("fit_on: files do not tell admissible actions; set show_admissible_actions false")
    own = list(enumerate(_explored(source, told.env_id)))[processes.index :: processes.count]
    written = [
        (trajectory, replace(rewritten(trajectory, agent, told.rules(trajectory.seat)), group=f"{number}"))
        for number, trajectory in own
    ]
    whole = [new for old, new in written if len(new.turns) == len(old.turns)]
    if not sum(processes.gather(len(whole))):
        raise ValueError(
            f"fit_on: no trajectory in {source} fits into the {agent.context_length} tokens of the model's context"
        )
    return whole
