"""Value critics: how much return is to come, before each token, before each turn, or at HiPER's three places."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from agentgym.agents.seeds import derived_seed
from agentgym.agents.trajectory import Turn
from agentgym.trainers.arrays import BoolArray, FloatArray
from agentgym.trainers.experience import Experience
from agentgym.trainers.layout import TokenSequence, share_sequences
from agentgym.trainers.losses.critics import clipped_value_loss
from agentgym.trainers.metrics import Sums
from agentgym.trainers.minibatches import deal
from agentgym.trainers.parameters import NonNegative
from agentgym.trainers.parts import Learner
from agentgym.trainers.policy import Pass, hidden
from agentgym.trainers.signals.heads import ValueHead
from agentgym.trainers.signals.second_model import SecondModel
from agentgym.trainers.signals.signal import Resources, Signal

Place: TypeAlias = Callable[[Experience], BoolArray]
"""Before which tokens a value is read, off the hidden state that the token is predicted from: (K,)."""
Positive: TypeAlias = Annotated[int, Field(ge=1)]


def every_token(experience: Experience) -> BoolArray:
    """Before each token."""
    return np.ones(experience.batch.n_tokens, np.bool_)


def responses(experience: Experience) -> BoolArray:
    """Before the first token of each turn: off the prompt alone."""
    return _nth_token(experience, lambda _: 0)


def choices(experience: Experience) -> BoolArray:
    """Before the first token of each turn that begins a sub-goal: a trajectory's first, and those that switch."""
    batch = experience.batch
    begins_T = batch.flags("switch_T") | (batch.turn_index_T == 0)
    begins_K: BoolArray = begins_T[batch.turn_K]
    return responses(experience) & begins_K


def actions(experience: Experience) -> BoolArray:
    """Where each turn's sub-goal has just been written (`first_of_action`)."""
    return _nth_token(experience, first_of_action)


def first_of_action(turn: Turn) -> int:
    """The token after the turn's sub-goal, or after its switch where it names none; 0 where neither has one after."""
    after = (turn.spans.get("subgoal") or turn.spans.get("switch") or (0, 0))[1]
    return after if after < len(turn.response_ids) else 0


def _nth_token(experience: Experience, number: Callable[[Turn], int]) -> BoolArray:
    """The token of each turn with this number in its response, where the response has tokens."""
    batch = experience.batch
    turns = [turn for trajectory in experience.trajectories for turn in trajectory.turns]
    number_T = np.fromiter(map(number, turns), np.int64, len(turns))
    has_tokens_T = batch.n_tokens_T > 0
    at = np.zeros(batch.n_tokens, np.bool_)
    at[(batch.known_token_offsets()[:-1] + number_T)[has_tokens_T]] = True
    return at


PLACES: dict[str, Place] = {
    "value_K": every_token,
    "value_T": responses,
    "value_low_T": actions,
    "value_high_T": choices,
    "value_switch_T": responses,
}
"""Where each column is read. A turn without a place has the value 0, and nothing is learned for it."""


class Critic(Signal):
    """Values of the policy's situations, fitted to the targets of the scheme after each step's credit.

    A linear head with an output for each wanted column reads hidden states of a second model (`SecondModel`): an
    adapter of its own on the policy's frozen base, or on a model of its own. The gradient never reaches the policy.

        L = Σ over columns of mean over its places of ½ max((V − R)², (clip(V, V_old − ε, V_old + ε) − R)²)

    V_old and R stay those of the step. Means are over the minibatch in all processes (verl: mean of the
    micro-batches' means). Values and targets are measured in units of the largest target so far (`ValueHead`): a clip
    range of 0.5, which verl's and HiPER's settings combine with rewards of 10, would take some twenty steps to
    reach 10.

    - `model`: by default the policy's base. `lora_r`: the adapter's rank, by default that of the policy's.
    - `learning_rate` 1e-4: for an adapter and a head, where verl takes 1e-5 for all weights.
    - `epsilon` 0.5: verl's clip range, here in units of the largest target.
    - `num_iterations`, `num_minibatches`: passes over the step's experience, optimizer steps a pass.
    - `max_grad_norm` 1, `weight_decay` 0.01: verl's.
    - `critic_warmup`, a setting of the run: how many steps it learns before the policy does.
    """

    gives = (*PLACES, "final_value_N")
    fits = "after"

    def __init__(
        self,
        resources: Resources,
        wanted: frozenset[str],
        *,
        model: str | None = None,
        lora_r: Positive | None = None,
        learning_rate: Annotated[float, Field(gt=0, le=1)] = 1e-4,
        epsilon: Annotated[float, Field(gt=0)] = 0.5,
        num_iterations: Positive = 1,
        num_minibatches: Positive = 1,
        max_grad_norm: Annotated[float, Field(gt=0)] = 1.0,
        weight_decay: NonNegative = 0.01,
    ):
        """Raises `ValueError` in one line for a `model` that cannot be loaded or has another tokenizer."""
        super().__init__(resources, wanted)
        self.columns = [name for name in PLACES if name in wanted]
        """The columns, in the order of the head's outputs."""
        self.epsilon, self.rounds = epsilon, (num_iterations, num_minibatches)
        self.model = SecondModel(resources, "critic", model=model, lora_r=lora_r)
        self.head = ValueHead(self.model.hidden_size, len(self.columns), self.model.device)
        self.learner = Learner(
            [*self.model.parameters, *self.head.parameters()],
            resources.processes,
            learning_rate=learning_rate,
            num_steps=resources.max_steps * num_iterations * num_minibatches,
            weight_decay=weight_decay,
            max_grad_norm=max_grad_norm,
        )

    def compute(self, experience: Experience) -> Mapping[str, FloatArray]:
        """Values, in units of the reward: shapes (K,), (T,) and (N,)."""
        value_KO = self._read(experience)
        columns = {name: self._of_axis(name, value_KO[:, o], experience) for o, name in enumerate(self.columns)}
        if "final_value_N" in self.wanted:
            columns["final_value_N"] = self._final_values(experience)
        return columns

    def _read(self, experience: Experience) -> FloatArray:
        """V before each token, by output (O): shape (K, O)."""
        return self.model.read(experience.layout, {"value": self._values}, with_logits=False)["value"]

    def _values(self, each: Pass) -> torch.Tensor:
        value_KO: torch.Tensor = self.head.unit * self.head(hidden(each))
        return value_KO

    def _of_axis(self, name: str, value_K: FloatArray, experience: Experience) -> FloatArray:
        batch, at_K = experience.batch, PLACES[name](experience)
        if name.endswith("_K"):
            return value_K
        value_T = np.zeros(batch.n_turns)
        value_T[batch.turn_K[at_K]] = value_K[at_K]
        return value_T

    def _final_values(self, experience: Experience) -> FloatArray:
        """The value of what the agent saw at the end of each truncated episode; 0 where the episode ended.

        It is that of the column which is there for every turn's prompt, or for every token.
        """
        agent, told = self.resources.agent, self.resources.told
        cut = [(i, t) for i, t in enumerate(experience.trajectories) if t.truncated]
        whole = [agent.prompts(trajectory, told.rules(trajectory.seat))[-1] for _, trajectory in cut]
        prompts = [prompt[-agent.context_length + 1 :] for prompt in whole]
        # A value is read before a token: here before one that nobody has sampled.
        layout = share_sequences([TokenSequence((*prompt, 0), (len(prompt),)) for prompt in prompts])
        value_KO = self.model.read(layout, {"value": self._values}, with_logits=False)["value"]
        output = next(o for o, name in enumerate(self.columns) if name in ("value_K", "value_T", "value_low_T"))
        value_N = np.zeros(experience.batch.n_trajectories)
        value_N[[i for i, _ in cut]] = value_KO.reshape(-1, len(self.columns))[:, output]
        return value_N

    def fit(self, experience: Experience, targets: Mapping[str, FloatArray]) -> dict[str, float]:
        """Regress on the targets: shapes as the columns', in units of the reward."""
        if not targets:
            return {}
        processes, purpose = self.resources.processes, (self.resources.seed, experience.step, "critic")
        largest = max((float(np.abs(target).max(initial=0)) for target in targets.values()), default=0.0)
        self.head.widen(max(processes.gather(largest)))
        known: dict[str, NDArray[Any]] = {f"target.{name}": target for name, target in targets.items()}
        known |= {f"at.{name[:-2]}_K": PLACES[name](experience) for name in targets}
        experience, sums = experience.with_columns(known), Sums()
        for number, minibatch in enumerate(deal(experience, processes, *self.rounds, purpose)):
            torch.manual_seed(derived_seed(*purpose, "dropout", number, processes.index))
            sums["grad_norm"] += self.learner.step(self._losses(minibatch, list(targets), sums))
            sums["steps"] += 1
        return self._metrics(experience, targets, sums)

    def _losses(self, minibatch: Experience, names: list[str], sums: Sums) -> Iterator[torch.Tensor]:
        """The loss of each pass over a minibatch, adding to `sums`."""
        columns, turn_K = minibatch.batch.columns, minibatch.batch.turn_K
        own = [int(columns[f"at.{name[:-2]}_K"].sum()) for name in names]
        totals = [max(sum(counts), 1) for counts in zip(*self.resources.processes.gather(own), strict=True)]
        for each in self.model.passes(minibatch.layout, with_logits=False):
            value_KO = self.head(hidden(each))
            loss = value_KO.sum() * 0.0  # so that a pass without a place has a gradient too
            for name, total in zip(names, totals, strict=True):
                at_K = torch.from_numpy(columns[f"at.{name[:-2]}_K"][each.index_K]).to(value_KO.device)
                old_K, target_K = (
                    torch.from_numpy((v if name.endswith("_K") else v[turn_K])[each.index_K] / self.head.unit).to(
                        value_KO
                    )
                    for v in (columns[name], columns[f"target.{name}"])
                )
                value_K = value_KO[:, self.columns.index(name)]
                loss_K, clipped_K = clipped_value_loss(value_K, old_K, target_K, epsilon=self.epsilon)
                part = (loss_K * at_K).sum() / total
                sums[f"loss/{name}"] += part.item()
                sums[f"clipped/{name}"] += (clipped_K & at_K).sum().item() / total
                loss = loss + part
            yield loss

    def _metrics(self, experience: Experience, targets: Mapping[str, FloatArray], sums: Sums) -> dict[str, float]:
        """Of each column the loss, the clipped share and 1 − Var(R − V_old) / Var(R), over all processes."""
        gathered = Sums()
        for part in self.resources.processes.gather(sums):
            gathered.add(part)
        facts = {"critic/grad_norm": sums["grad_norm"] / sums["steps"]}
        for name, target in targets.items():
            at = experience.batch.columns[f"at.{name[:-2]}_K"]
            at = at if name.endswith("_K") else np.bincount(experience.batch.turn_K[at], minlength=len(target)) > 0
            own = target[at], experience.batch.columns[name][at]
            returns, values = (np.concatenate(each) for each in zip(*self.resources.processes.gather(own), strict=True))
            spread = returns.var() if len(returns) else 0.0
            facts |= {
                f"critic/{name}/loss": gathered[f"loss/{name}"] / sums["steps"],
                f"critic/{name}/clipped": gathered[f"clipped/{name}"] / sums["steps"],
                f"critic/{name}/explained_variance": float(1 - (returns - values).var() / spread) if spread else 0.0,
                f"critic/{name}/mean_return": float(returns.mean()) if len(returns) else 0.0,
            }
        return facts

    def state_dict(self) -> dict[str, Any]:
        """See `parts.Part`."""
        return {
            "adapter": self.model.state_dict(),
            "head": self.head.state_dict(),
            "learner": self.learner.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See `parts.Part`."""
        self.model.load_state_dict(state["adapter"])
        self.head.load_state_dict(state["head"])
        self.learner.load_state_dict(state["learner"])
