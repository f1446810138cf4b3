"""ArCHer: the replay buffer, the critic that learns from it, and the policy that follows it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from agentgym.agents.run_files import list_checkpoints, replay_path
from agentgym.agents.trajectory import read_trajectories, write_trajectories
from agentgym.trainers.checkpoint import CheckpointError
from agentgym.trainers.credit import compute
from agentgym.trainers.experience import Experience
from agentgym.trainers.losses.critics import archer_critic_losses
from agentgym.trainers.parts import Lagged, Learner
from agentgym.trainers.processes import Processes
from agentgym.trainers.replay_buffer import ReplayBuffer
from agentgym.trainers.signals.heads import TwinHeads
from agentgym.trainers.signals.twin_critic import TwinCritic, replayed_batch
from agentgym.trainers.trainer import Trainer
from tests.small_model import make_trainer

GAMMA = 0.9
LEDGE: dict[str, Any] = {
    "env_kwargs": {"map": ["SFG", "HHH"], "max_turns": 6},
    "max_new_tokens": 1,
    "group_size": 1,
    "save_steps": 100,
    "credit": "reinforce",
}


EASY = LEDGE | {"env_kwargs": {"map": ["SFFG"], "max_turns": 6}}
"""Rewards from the first step on."""


def archer(**critic: Any) -> dict[str, Any]:
    params = {"num_updates": 2, "batch_size": 16, "learning_rate": 3e-3} | critic
    return {"credit": "archer", "credit_kwargs": {"gamma": GAMMA}, "signals": {"twin_critic": params}}


# What it comes to know ---------------------------------------------------------------------------------------

# A chain of three states, "go" and "stay", "go" from the last of them earns 1; the policy goes seven times in ten. With
# these values, of the golden case known_values_training/case_01.
V = [0.714184727146, 0.827547382248, 0.958904109589]
Q = [[0.744792644023, 0.642766254431], [0.86301369863, 0.744792644023], [1.0, 0.86301369863]]


@pytest.mark.parametrize(("variant", "expectile"), [("td", None), ("iql", 0.999)])
def test_tables_come_to_the_values_of_a_chain(variant: str, expectile: float | None) -> None:
    """V^π and Q^π; of IQL the best that the actions taken can do."""
    state_N, go_N = np.repeat([0, 1, 2], 20), np.tile([True] * 10 + [False] * 10, 3)
    after_N = state_N + go_N
    goes_on_N = after_N < 3
    answer_N = np.tile([0] * 7 + [1] * 3, 6) if variant == "td" else np.where(go_N, 0, 1)
    tables = {
        name: torch.nn.Parameter(torch.zeros((3, 2) if name[0] == "q" else 3).double()) for name in TwinHeads.NAMES
    }
    lagged = Lagged(list(tables.values()))
    learner = Learner(lagged.parameters, Processes(), learning_rate=0.02, num_steps=600, lr_scheduler_type="linear")
    kind = "_policy" if variant == "td" else ""
    for _ in range(600):
        batch = replayed_batch(
            (~goes_on_N).astype(np.float64),
            goes_on_N,
            target_q={f"target_q{j + 1}{kind}_T": lagged.copies[j].numpy()[state_N, answer_N] for j in (0, 1)},
            target_v={f"target_v{j + 1}_T": lagged.copies[2 + j].numpy()[after_N[goes_on_N]] for j in (0, 1)},
        )
        targets = compute("archer", batch, gamma=GAMMA, critic_targets=variant).targets
        values = {n: t[state_N, np.where(go_N, 0, 1)] if n[0] == "q" else t[state_N] for n, t in tables.items()}
        wanted = {n: torch.from_numpy(targets[f"{n}_T"][batch.turn_offsets_N[:-1]]) for n in tables}
        learner.step([sum(archer_critic_losses(values, wanted, expectile=expectile).values())])
        lagged.follow(0.2)
    best = [GAMMA**2, GAMMA, 1.0]
    for j in "12":
        assert tables[f"v{j}"].tolist() == pytest.approx(V if variant == "td" else best, abs=5e-3)
        expected = Q if variant == "td" else [[v, GAMMA * v] for v in best]
        assert tables[f"q{j}"].detach().numpy() == pytest.approx(np.array(expected), abs=5e-3)


def test_copies_lag_behind_by_polyaks_formula() -> None:
    parameter = torch.nn.Parameter(torch.tensor([1.0, -2.0]))
    lagged = Lagged([parameter])
    before = lagged.copies[0].clone()
    parameter.data += 3
    for _ in range(5):
        lagged.follow(0.1)
    assert torch.allclose(lagged.copies[0], parameter - 0.9**5 * (parameter - before))
    assert lagged.lag() == pytest.approx(0.9**5 * 3 * 2**0.5)
    with lagged.acting():
        assert torch.equal(parameter.data, lagged.copies[0])
    assert parameter.tolist() == [4.0, 1.0]


@pytest.fixture(scope="module")
def walks(cloned_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of what the model has played before it learned anything; one in twenty reaches the goal."""
    directory = tmp_path_factory.mktemp("walks")
    trainer = make_trainer(cloned_model, directory, **LEDGE, groups_per_step=160)
    write_trajectories(directory / "walks.jsonl", trainer.rollouts.next(0).played)
    return directory / "walks.jsonl"


def quick(**critic: Any) -> dict[str, Any]:
    return archer(**{"num_updates": 4, "batch_size": 96, "tau": 0.2, "learning_rate": 4e-3} | critic)


@pytest.fixture(scope="module")
def knowing(cloned_model: Path, tmp_path_factory: pytest.TempPathFactory, walks: Path) -> Trainer:
    """A trainer whose critic knows the policy's values, and whose policy has not moved."""
    critic = quick(warm_start=str(walks), warm_start_updates=150)
    settings = {**LEDGE, **critic, "groups_per_step": 64, "critic_warmup": 1, "max_steps": 2}
    trainer = make_trainer(cloned_model, tmp_path_factory.mktemp("knowing"), **settings)
    next(trainer.train())
    return trainer


def test_q_ranks_actions_in_the_lake(knowing: Trainer) -> None:
    """On every square moving to the right is worth most, and on the next square everything is worth more."""
    experience = played(knowing, 7)
    columns = knowing.signals[0].compute(experience)
    q_T = np.minimum(columns["q1_T"], columns["q2_T"])
    turns = [turn for trajectory in experience.trajectories for turn in trajectory.turns]
    square_T = np.array([["P_G" in turn.observation, "_PG" in turn.observation].index(True) for turn in turns])
    right_T = np.array([turn.action == "right" for turn in turns])
    value_S = []
    for square in range(2):
        on = square_T == square
        assert q_T[on & right_T].min() > q_T[on & ~right_T].max()
        value_S.append(columns["v1_T"][on].mean())
    assert value_S == sorted(value_S)


def played(trainer: Trainer, step: int) -> Experience:
    return Experience.of(step, trainer.rollouts.next(step, lambda *_: None).learned)


def shuffled(compute):
    """The values of other turns, so that advantages are as large as before and say nothing."""

    def changed(self, experience):
        order = np.random.default_rng(experience.step).permutation(experience.batch.n_turns)
        return {name: of_T[order] for name, of_T in compute(self, experience).items()}

    return changed


LEARNING = {**LEDGE, "groups_per_step": 96, "learning_rate": 3e-3, "max_steps": 12}
REPLAYED = {"replayed_states": 600, "policy_loss": "reinforce", "loss_aggregation": "sequence-mean-token-sum"}


@pytest.mark.parametrize(
    ("seed", "is_told", "settings"),
    [*((seed, True, {}) for seed in range(5)), (0, False, {}), (1, False, {}), (1, True, REPLAYED)],
)
def test_a_policy_learns_by_the_critic_alone(
    cloned_model, tmp_path, monkeypatch, walks, knowing, seed, is_told, settings
):
    """Of what was just played, or of replayed states; rewards reach the policy in no other way."""
    if not is_told:
        monkeypatch.setattr(TwinCritic, "compute", shuffled(TwinCritic.compute))
    trainer = make_trainer(
        cloned_model, tmp_path, **{**LEARNING, **quick(warm_start=str(walks)), **settings}, seed=seed
    )
    (critic,) = trainer.signals
    critic.load_state_dict(knowing.signals[0].state_dict() | {"buffer": critic.buffer.state_dict()})
    rates = [metrics["success_rate"] for metrics in trainer.train()]
    assert (fmean(rates[-4:]) > rates[0] + 0.1) is is_told


def test_iql_learns_offline(cloned_model, tmp_path, walks) -> None:
    """Of a file, by an expectile of Q over the actions in it and AWR, without a single episode of its own."""
    settings = quick(num_updates=3, warm_start=str(walks), warm_start_updates=100)
    settings["credit_kwargs"]["critic_targets"] = "iql"
    offline = {"trainer": "offline", "demonstrations": str(walks), "demonstration_workers": 0}
    loss = {
        "policy_loss": "awr",
        "policy_loss_kwargs": {"temperature": 0.1},
        "learning_rate": 5e-3,
        "num_minibatches": 3,
    }
    trainer = make_trainer(cloned_model, tmp_path, **{**LEARNING, **settings, **offline, **loss})
    list(trainer.train())
    judge = make_trainer(cloned_model, tmp_path / "judge", **LEDGE, groups_per_step=100)
    judge.policy.load_adapter_state("default", trainer.policy.adapter_state("default"))
    before = fmean(walk.success for walk in read_trajectories(walks))
    assert fmean(t.success for t in judge.rollouts.next(0).played) > before + 0.2


# The buffer ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("window", [None, 0, 1])
def test_a_turn_comes_back_as_it_was_played(cloned_model, tmp_path, window) -> None:
    trainer = make_trainer(cloned_model, tmp_path, **LEDGE, groups_per_step=4, window=window)
    trajectories = trainer.rollouts.next(0).learned
    buffer = ReplayBuffer(tmp_path, "agentgym/FrozenLake-v0", Processes(), capacity=1000)
    buffer.add(0, trajectories[:1])
    buffer.add(1, [*trajectories[1:], replace(trajectories[0], replayed=True)])
    expected = []
    for trajectory in trajectories:
        prompts: list[list[int] | None] = [*trajectory.prompts(), None]
        for turn, prompt, after in zip(trajectory.turns, prompts, prompts[1:], strict=False):
            expected.append((prompt, turn.response_ids, turn.reward, after))
    found = [
        (list(t.prompt), list(t.response), t.reward, None if t.next_prompt is None else list(t.next_prompt))
        for t in buffer.transitions(np.arange(len(buffer)))
    ]
    assert found == expected and len(found) > 4


def test_the_oldest_go_when_no_checkpoint_needs_them(cloned_model, tmp_path) -> None:
    trainer = make_trainer(cloned_model, tmp_path, **LEDGE, groups_per_step=3)
    trajectories = trainer.rollouts.next(0).learned
    n = sum(len(trajectory.turns) for trajectory in trajectories)
    buffer = ReplayBuffer(tmp_path, "agentgym/FrozenLake-v0", Processes(), capacity=n + 1)
    for step in range(3):
        buffer.add(step, [replace(t, turns=[replace(turn, reward=step) for turn in t.turns]) for t in trajectories])
    drawn = buffer.transitions(buffer.draw(400, seed=0))
    share = fmean(transition.reward == 2 for transition in drawn)
    assert {transition.reward for transition in drawn} == {1.0, 2.0} and share == pytest.approx(n / (n + 1), abs=0.06)
    assert [replay_path(tmp_path, step).exists() for step in range(3)] == [False, True, True]

    state = buffer.state_dict()
    (tmp_path / "checkpoints" / "step-000003").mkdir(parents=True)
    for step in (3, 4):
        buffer.add(step, trajectories)
    assert replay_path(tmp_path, 1).exists()  # the checkpoint after three steps needs it
    again = ReplayBuffer(tmp_path, "agentgym/FrozenLake-v0", Processes(), capacity=n + 1)
    again.load_state_dict(state)
    assert again.transitions(again.draw(400, seed=0)) == drawn
    (tmp_path / "checkpoints" / "step-000003").rename(tmp_path / "checkpoints" / "step-000005")
    buffer.add(5, trajectories)
    assert not replay_path(tmp_path, 1).exists()

    with pytest.raises(ValueError, match="the replay buffer is of agentgym/FrozenLake-v0, and env_id is other"):
        ReplayBuffer(tmp_path, "other", Processes(), capacity=9).load_state_dict(state)


# A kill ----------------------------------------------------------------------------------------------------------

INTERRUPTED = {
    **EASY,
    "groups_per_step": 4,
    "max_steps": 5,
    "save_steps": 2,
    "lora_dropout": 0.1,
    "replayed_states": 9,
    "num_minibatches": 2,
}


def test_a_killed_run_goes_on_as_if_nothing_had_been(cloned_model: Path, tmp_path: Path) -> None:
    """Killed in the fourth step, whose turns are in the buffer's folder, one file of them not whole."""
    critic = archer(capacity=25)
    whole = make_trainer(cloned_model, tmp_path / "whole", **INTERRUPTED | critic)
    metrics = [without_times(m) for m in whole.train()]
    killed = make_trainer(cloned_model, tmp_path / "killed", **INTERRUPTED | critic)
    for m in killed.train():
        if m["step"] == 3:
            break
    replay_path(tmp_path / "killed", 2).write_bytes(b"half")
    resumed = make_trainer(cloned_model, tmp_path / "killed", **INTERRUPTED | critic)
    resumed.resume(list_checkpoints(tmp_path / "killed")[-1])
    assert resumed.step == 2
    assert [without_times(m) for m in resumed.train()] == metrics[2:]
    states = [trainer.signals[0].state_dict() for trainer in (whole, resumed)]
    for state in states:
        state["buffer"].pop("run_dir")
        assert 0 < len(state["buffer"]["rows"]["step"]) < 25 + 6 * 4
    assert same(*states) and whole.signals[0].lagged.lag() > 0
    assert [p.tolist() for p in whole.policy.parameters] == [p.tolist() for p in resumed.policy.parameters]


def without_times(metrics: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if "time" not in name}


def same(one: Any, two: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one, two)
    if isinstance(one, Mapping):
        return one.keys() == two.keys() and all(same(one[key], two[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(two) and all(map(same, one, two))
    return bool(one == two)


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda path: path.unlink(), "replay buffer's .*step-000001.npy is missing"),
        (lambda path: path.write_bytes(b"half"), "replay buffer's .*step-000001.npy cannot be read"),
        (lambda path: np.save(path, np.zeros(7, np.int32)), "step-000001.npy is not the one that the checkpoint was"),
    ],
)
def test_a_buffer_that_was_harmed_is_refused(cloned_model, tmp_path, harm, message) -> None:
    settings = {**LEDGE, "groups_per_step": 2, "max_steps": 2, **archer()}
    list(make_trainer(cloned_model, tmp_path, **settings).train())
    harm(replay_path(tmp_path, 1))
    with pytest.raises(CheckpointError, match=message) as error:
        make_trainer(cloned_model, tmp_path, **settings).resume(list_checkpoints(tmp_path)[-1])
    assert "\n" not in str(error.value)


# Encoders, warm starts, settings -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def encoder(cloned_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny BERT with the policy's vocabulary."""
    directory = tmp_path_factory.mktemp("encoder")
    tokenizer = PreTrainedTokenizerFast.from_pretrained(cloned_model, model_max_length=32)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    torch.manual_seed(0)
    BertModel(BertConfig(vocab_size=len(tokenizer), max_position_embeddings=32, **sizes)).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


def test_an_encoder_of_ones_own(cloned_model: Path, encoder: Path, tmp_path: Path) -> None:
    settings = {**EASY, "groups_per_step": 8, "max_steps": 2, "save_steps": 1, **archer(encoder=str(encoder))}
    trainer = make_trainer(cloned_model, tmp_path, **settings)
    metrics = [without_times(m) for m in trainer.train()]
    (critic,) = trainer.signals
    assert critic.lagged.lag() > 0 and metrics[0]["twin_critic/q1/loss"] > 0
    resumed = make_trainer(cloned_model, tmp_path, **settings)
    resumed.resume(list_checkpoints(tmp_path)[0])
    assert [without_times(m) for m in resumed.train()] == metrics[1:]
    assert same(critic.state_dict(), resumed.signals[0].state_dict())

    long, longer = [5] * 40, [9] * 7 + [5] * 40  # alike in the 32 tokens at the end
    for one, two, are_same in (((long, [7]), (longer, [7]), True), (([5], [7]), ([5], [8]), False)):
        values = critic.encoder.read([one, two], lambda state, action: torch.cat([state, action], dim=-1))
        assert np.allclose(values[0], values[1]) is are_same


def test_a_warm_start_fills_the_buffer(cloned_model, tmp_path, walks) -> None:
    critic = archer(warm_start=str(walks), warm_start_updates=3)
    trainer = make_trainer(cloned_model, tmp_path, **LEDGE | critic, groups_per_step=2, max_steps=2)
    first, second = trainer.train()
    n_recorded = sum(len(walk.turns) for walk in read_trajectories(walks))
    assert first["twin_critic/buffer_size"] == n_recorded + 2 * first["turns/mean"]
    assert [m["twin_critic/replayed"] for m in (first, second)] == [5 * 16, 2 * 16]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (archer(encoder="nowhere"), "twin_critic: encoder: nowhere is no directory of an encoder"),
        (archer(encoder="x", lora_r=2), "encoder stands in place of model and lora_r"),
        (archer(warm_start="nowhere"), "twin_critic: warm_start: nowhere is no file and no directory"),
        (archer(warm_start_updates=2), "warm_start_updates are given, but no warm_start"),
        (archer(expectile=0.7), "an expectile is learned where critic_targets of archer is iql alone"),
        (archer(tau=2.0), "tau .*less than or equal to 1"),
        (archer() | {"credit_kwargs": {"critic_targets": None}}, "nothing to learn.* set critic_targets of archer"),
        ({"credit": "grpo", "replayed_states": 4}, "replayed_states is 4, but credit grpo needs no critic with a"),
    ],
)
def test_wrong_settings(cloned_model: Path, tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_trainer(cloned_model, tmp_path, **settings)


def test_a_warm_start_of_another_world_is_refused(cloned_model, tmp_path, walks) -> None:
    foreign = [replace(walk, env_id="agentgym/Sokoban-v0") for walk in read_trajectories(walks)]
    write_trajectories(tmp_path / "walks.jsonl", foreign)
    with pytest.raises(ValueError, match=r"warm_start: .* is of agentgym/Sokoban-v0, and env_id is agentgym/Frozen"):
        make_trainer(cloned_model, tmp_path, **LEDGE | archer(warm_start=str(tmp_path / "walks.jsonl")))
