"""ArCHer's critic of whole turns: twin Q and V, learned off-policy from a replay buffer, with lagged targets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import numpy as np
import torch
from pydantic import Field

from agentgym.agents.demonstrator import rewritten
from agentgym.agents.engines import generate
from agentgym.agents.seeds import derived_seed
from agentgym.agents.trajectory import Trajectory
from agentgym.envs.told import Told
from agentgym.trainers.arrays import BoolArray, FloatArray, IntArray
from agentgym.trainers.batch import TurnBatch
from agentgym.trainers.demonstration_files import read_demonstrations
from agentgym.trainers.experience import Experience
from agentgym.trainers.losses.critics import archer_critic_losses
from agentgym.trainers.metrics import Sums
from agentgym.trainers.parameters import UnitInterval
from agentgym.trainers.parts import Lagged, Learner
from agentgym.trainers.replay_buffer import ReplayBuffer, Transition
from agentgym.trainers.signals.heads import TwinHeads
from agentgym.trainers.signals.second_model import SecondModel
from agentgym.trainers.signals.signal import Resources, Signal
from agentgym.trainers.signals.turn_encoders import AdapterEncoder, Said, TextEncoder, TurnEncoder

Count: TypeAlias = Annotated[int, Field(ge=1, description="≥ 1")]
Positive: TypeAlias = Annotated[float, Field(gt=0, description="> 0")]
NAMES = TwinHeads.NAMES
WARM_START = "twin_critic: warm_start"


class TwinCritic(Signal):
    """Q of each turn's action and V of its situation, twice, fitted to replayed turns before each step's credit.

    Every training step adds its turns to a replay buffer (`ReplayBuffer`) and then makes `num_updates` optimizer steps.
    Each draws `batch_size` turns (s, a, r, s') uniformly with replacement, asks the lagged critic and the scheme
    (`credit: archer`) for their targets, where a' is answered to s anew by the present policy, and minimises

        Σ_j mean (Q_j(s, a) − target)² + mean (V_j(s) − target)²

    or for `critic_targets` "iql" of the scheme the expectile loss of V; then θ̄ ← (1 − τ) θ̄ + τ θ. The policy's gradient
    never reaches the critic, nor the other way.

    - `model`, `lora_r`: an adapter of its own on the policy's frozen base, or on another model with the same tokenizer
      (`SecondModel`), read at the end of the prompt and of the response.
    - `encoder`: in place of both the directory of a text encoder, such as RoBERTa, all of whose weights learn.
    - `num_updates` 20, `batch_size` 256: ArCHer's with Mistral; 50 and 256 with GPT-2.
    - `tau` 0.1, `capacity` 100,000 turns, `max_grad_norm` 1: ArCHer's. Adam without weight decay.
    - `learning_rate` 1e-4: for an adapter and heads, where ArCHer has 1e-5 to 2e-5 for an encoder's weights.
    - `expectile`: where the scheme asks for one; 0.9, OfflineArcher's, unless given.
    - `warm_start`: a file of trajectories or a run, which fills the buffer before the first step;
      `warm_start_updates` more updates are then made in that step.
    - Settings of the run: `critic_warmup`, how many steps it learns before the policy does; `replayed_states`, of how
      many replayed situations, answered anew, the policy learns, in place of the turns that were just played.

    Of the turns that were just played, the action is the present policy's answer itself, so that it stands for a'.

    Paper and code: the official code sums the gradients of 32 micro-batches before it clips, and clips them together
    with what the actor's gradient was; here it is the gradient of the mean, and of the critic alone. a' of all updates
    of a step are sampled beforehand, by the policy that does not move meanwhile.
    """

    gives = (
        *(f"{name}_T" for name in NAMES),
        *(f"target_v{j}_T" for j in "12"),
        *(f"target_q{j}_policy_T" for j in "12"),
        *(f"target_q{j}_T" for j in "12"),
    )
    fits = "before"

    def __init__(
        self,
        resources: Resources,
        wanted: frozenset[str],
        *,
        model: str | None = None,
        lora_r: Count | None = None,
        encoder: str | None = None,
        learning_rate: Annotated[float, Field(gt=0, le=1)] = 1e-4,
        num_updates: Count = 20,
        batch_size: Count = 256,
        tau: UnitInterval = 0.1,
        capacity: Count = 100_000,
        expectile: Annotated[float, Field(gt=0, lt=1, description="in (0, 1)")] | None = None,
        max_grad_norm: Positive = 1.0,
        warm_start: str | None = None,
        warm_start_updates: Annotated[int, Field(ge=0, description="≥ 0")] = 0,
    ):
        """Raises `ValueError` in one line for models, encoders and trajectories that cannot be used, and for a scheme
        that gives no targets.
        """
        super().__init__(resources, wanted)
        self.num_updates, self.batch_size, self.tau = num_updates, batch_size, tau
        self.is_iql = "target_q1_T" in wanted
        self.expectile = (expectile or 0.9) if self.is_iql else None
        if not any(name.startswith("target_") for name in wanted):
            raise ValueError(
                "twin_critic: there is nothing to learn, for the scheme wants no target: set critic_targets of archer "
                "to td or iql"
            )
        if expectile is not None and not self.is_iql:
            raise ValueError("twin_critic: an expectile is learned where critic_targets of archer is iql alone")
        self.warm_start_updates = warm_start_updates
        recorded = () if warm_start is None else self._recorded(warm_start)
        self.buffer = ReplayBuffer(
            resources.directory, resources.told.env_id, resources.processes, capacity=capacity, recorded=recorded
        )
        self.encoder: TurnEncoder = (
            AdapterEncoder(SecondModel(resources, "twin_critic", model=model, lora_r=lora_r))
            if encoder is None
            else TextEncoder(resources, encoder)
        )
        device = self.encoder.parameters[0].device
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derived_seed(resources.seed, "twin heads"))
            self.heads = TwinHeads(self.encoder.size, device)
        parameters = [*self.encoder.parameters, *self.heads.parameters()]
        self.lagged = Lagged(parameters)
        self.learner = Learner(
            parameters,
            resources.processes,
            learning_rate=learning_rate,
            num_steps=resources.max_steps * num_updates + warm_start_updates,
            max_grad_norm=max_grad_norm,
        )

    @classmethod
    def check(cls, params: Mapping[str, Any], told: Told) -> None:
        """See `Signal.check`."""
        encoder, warm_start = params.get("encoder"), params.get("warm_start")
        if encoder is not None and {name for name in ("model", "lora_r") if params.get(name) is not None}:
            raise ValueError("twin_critic: encoder stands in place of model and lora_r: give one or the other")
        if encoder is not None and not (Path(encoder) / "config.json").is_file():
            raise ValueError(f"twin_critic: encoder: {encoder} is no directory of an encoder: it has no config.json")
        if warm_start is not None:
            read_demonstrations(warm_start, told.env_id, successes=False, key=WARM_START)
        elif params.get("warm_start_updates"):
            raise ValueError("twin_critic: warm_start_updates are given, but no warm_start to learn from")

    def _recorded(self, source: str) -> list[Trajectory]:
        """What somebody has played, as the agent would have written it."""
        agent, told = self.resources.agent, self.resources.told
        if agent.context.show_admissible_actions:
            raise ValueError(f"{WARM_START}: files do not tell admissible actions; set show_admissible_actions false")
        played = read_demonstrations(source, told.env_id, successes=False, key=WARM_START)
        return [rewritten(trajectory, agent, told.rules(trajectory.seat)) for trajectory in played]

    # What it says -----------------------------------------------------------------------------------------

    def compute(self, experience: Experience) -> Mapping[str, FloatArray]:
        """Shapes (T,), in units of the reward."""
        turns: list[Said] = [
            (prompt, turn.response_ids)
            for trajectory in experience.trajectories
            for prompt, turn in zip(trajectory.prompts(), trajectory.turns, strict=True)
        ]
        columns = {f"{name}_T": values_T for name, values_T in self._read(turns).items()}
        with self.lagged.acting():
            lagged = self._read(turns)
        for j in "12":
            columns[f"target_v{j}_T"] = lagged[f"v{j}"]
            columns[f"target_q{j}_T"] = columns[f"target_q{j}_policy_T"] = lagged[f"q{j}"]
        return {name: columns[name] for name in sorted(self.wanted)}

    def _read(self, turns: Sequence[Said]) -> dict[str, FloatArray]:
        """Each head's values of turns."""
        values = self.encoder.read(turns, self.heads).reshape(-1, len(NAMES))
        return {name: values[:, i] for i, name in enumerate(NAMES)}

    # How it learns ----------------------------------------------------------------------------------------

    def fit(self, experience: Experience, targets: Mapping[str, FloatArray]) -> dict[str, float]:
        """Replay."""
        step, seed, processes = experience.step, self.resources.seed, self.resources.processes
        if self.buffer.latest < step:  # else what was played is here already, and this is something else
            self.buffer.add(step, experience.trajectories)
        n_updates = self.num_updates + (self.warm_start_updates if step == 0 else 0)
        drawn = [self.buffer.draw(self.batch_size, derived_seed(seed, step, "replay", u)) for u in range(n_updates)]
        own = [numbers[processes.index :: processes.count] for numbers in drawn]
        fresh = [[] for _ in own] if self.is_iql else self._answers(step, own)
        sums = Sums()
        for number, (numbers, answers) in enumerate(zip(own, fresh, strict=True)):
            transitions = self.buffer.transitions(numbers)
            wanted = self._targets(transitions, answers)
            torch.manual_seed(derived_seed(seed, step, "twin_critic", "dropout", number, processes.index))
            losses = self._losses(transitions, wanted, len(drawn[number]), sums)
            sums["grad_norm"] += self.learner.step(losses)
            self.lagged.follow(self.tau)
        return self._metrics(sums, n_updates, sum(map(len, drawn)))

    def _answers(self, step: int, draws: Sequence[IntArray]) -> list[list[list[int]]]:
        """The present policy's answers to the prompts of drawn turns, by draw."""
        agent, processes, seed = self.resources.agent, self.resources.processes, self.resources.seed
        room = max(agent.context_length - agent.sampling.max_new_tokens, 1)
        answers = []
        with agent.engine.serving(self.resources.policy.model, step):
            for number, numbers in enumerate(draws):
                prompts = [self.buffer.prompt(i)[-room:] for i in numbers.tolist()]
                places = range(processes.index, processes.count * len(prompts), processes.count)
                seeds = [derived_seed(seed, step, "twin_critic", "answer", number, place) for place in places]
                answers.append([sample.ids for sample in generate(agent.engine, prompts, seeds, agent.sampling)])
        return answers

    def _targets(self, transitions: Sequence[Transition], answers: Sequence[list[int]]) -> dict[str, FloatArray]:
        """What the scheme regresses the values of replayed turns on, by head."""
        said = [t.response for t in transitions] if self.is_iql else answers
        asked: list[Said] = [(t.prompt, response) for t, response in zip(transitions, said, strict=True)]
        going_on: list[Said] = [(t.next_prompt, ()) for t in transitions if t.next_prompt is not None]
        with self.lagged.acting():
            lagged = self._read([*asked, *going_on])
        kind = "" if self.is_iql else "_policy"
        replayed = replayed_batch(
            np.array([t.reward for t in transitions], np.float64),
            np.array([t.next_prompt is not None for t in transitions], np.bool_),
            target_q={f"target_q{j}{kind}_T": lagged[f"q{j}"][: len(asked)] for j in "12"},
            target_v={f"target_v{j}_T": lagged[f"v{j}"][len(asked) :] for j in "12"},
        )
        targets = self.resources.give_credit(replayed).targets
        return {name: targets[f"{name}_T"][replayed.turn_offsets_N[:-1]] for name in NAMES}

    def _losses(
        self, transitions: Sequence[Transition], targets: Mapping[str, FloatArray], total: int, sums: Sums
    ) -> Iterator[torch.Tensor]:
        """The loss of each pass over this process's share of `total` turns, adding to `sums`."""
        for index, state_BH, action_BH in self.encoder.passes([(t.prompt, t.response) for t in transitions]):
            outputs = self.heads(state_BH, action_BH)
            if not len(index):
                yield outputs.sum() * 0.0
                continue
            values = {name: outputs[:, i] for i, name in enumerate(NAMES)}
            wanted = {name: torch.from_numpy(targets[name][index]).to(outputs) for name in NAMES}
            parts = archer_critic_losses(values, wanted, expectile=self.expectile)
            for name, loss in parts.items():
                sums[f"{name}/loss"] += loss.item() * len(index) / total
                sums[f"{name}/target"] += float(targets[name][index].sum())
            q = torch.minimum(values["q1"], values["q2"]).detach()
            sums["q"] += q.sum().item()
            sums["q_squared"] += q.square().sum().item()
            sums["twins"] += (values["q1"] - values["q2"]).detach().abs().sum().item()
            yield sum(parts.values(), start=outputs.new_zeros(())) * (len(index) / total)

    def _metrics(self, own: Sums, n_updates: int, n_replayed: int) -> dict[str, float]:
        """Of all processes: each head's loss and mean target, what Q says of the replayed turns, and the lag."""
        sums = Sums()
        for part in self.resources.processes.gather(own):
            sums.add(part)
        n = max(n_replayed, 1)
        spread = max(sums["q_squared"] / n - (sums["q"] / n) ** 2, 0.0) ** 0.5
        return {
            **{f"twin_critic/{name}/loss": sums[f"{name}/loss"] / n_updates for name in NAMES},
            **{f"twin_critic/{name}/mean_target": sums[f"{name}/target"] / n for name in NAMES},
            "twin_critic/q_spread": spread,
            "twin_critic/twin_difference": sums["twins"] / n,
            "twin_critic/target_lag": self.lagged.lag(),
            "twin_critic/grad_norm": own["grad_norm"] / n_updates,
            "twin_critic/buffer_size": float(len(self.buffer)),
            "twin_critic/replayed": float(n_replayed),
        }

    def state_dict(self) -> dict[str, Any]:
        """See `parts.Part`."""
        return {
            "encoder": self.encoder.state_dict(),
            "heads": self.heads.state_dict(),
            "lagged": self.lagged.state_dict(),
            "learner": self.learner.state_dict(),
            "buffer": self.buffer.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See `parts.Part`."""
        self.buffer.load_state_dict(state["buffer"])
        self.encoder.load_state_dict(state["encoder"])
        self.heads.load_state_dict(state["heads"])
        self.lagged.load_state_dict(state["lagged"])
        self.learner.load_state_dict(state["learner"])


def replayed_batch(
    reward_N: FloatArray,
    goes_on_N: BoolArray,
    *,
    target_q: Mapping[str, FloatArray],
    target_v: Mapping[str, FloatArray],
) -> TurnBatch:
    """Replayed turns as a scheme sees them: episodes of two turns, or of one where the turn was the last.

    `target_q`: what the lagged critic says of the turns, by column; `target_v`: of the situations after those that go
    on. The second turns have nothing but that, and nothing has the values of the critic itself: no advantage is asked
    for.
    """
    offsets_N = np.cumsum([0, *(1 + goes_on_N)])
    first_N = offsets_N[:-1]

    def column(entries: FloatArray, places: IntArray) -> FloatArray:
        column_T = np.zeros(offsets_N[-1])
        column_T[places] = entries
        return column_T

    columns = {f"{name}_T": np.zeros(offsets_N[-1]) for name in NAMES}
    columns |= {name: column(values, first_N) for name, values in target_q.items()}
    columns |= {name: column(values, first_N[goes_on_N] + 1) for name, values in target_v.items()}
    return TurnBatch(
        group_N=np.arange(len(reward_N)),
        turn_offsets_N=offsets_N,
        reward_T=column(reward_N, first_N),
        valid_T=np.ones(offsets_N[-1], np.bool_),
        token_offsets_T=np.zeros(offsets_N[-1] + 1, np.int64),
        columns=columns | {"value_K": np.zeros(0)},  # a baseline for each token, of which there are none
    )
