"""A signal of one's own that learns: a linear critic on the policy's hidden states, for any scheme with values.

In a configuration: `credit: turn_ppo` and `signals: {"my_module:LinearCritic": {learning_rate: 0.01}}`.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from agentgym.agents.seeds import derived_seed
from agentgym.train import main
from agentgym.trainers.arrays import FloatArray
from agentgym.trainers.experience import Experience
from agentgym.trainers.parts import Learner
from agentgym.trainers.policy import hidden
from agentgym.trainers.signals.signal import Resources, Signal
from tests.small_model import SETTINGS


class LinearCritic(Signal):
    """V(s) = w·h + b, where h is the hidden state that a response's first token is predicted from."""

    gives = ("value_T",)
    fits = "after"

    def __init__(self, resources: Resources, wanted: frozenset[str], *, learning_rate: float = 1e-2):
        super().__init__(resources, wanted)
        torch.manual_seed(derived_seed(resources.seed, "linear critic"))
        self.head = torch.nn.Linear(resources.policy.model.get_output_embeddings().in_features, 1).double()
        self.learner = Learner(
            list(self.head.parameters()),
            resources.processes,
            learning_rate=learning_rate,
            num_steps=resources.max_steps,
        )

    def compute(self, experience: Experience) -> Mapping[str, FloatArray]:
        self.state_T = self._states(experience)  # fitted to after credit, when the policy is still the same
        with torch.no_grad():
            return {"value_T": self.head(self.state_T)[:, 0].numpy()}

    def _states(self, experience: Experience) -> torch.Tensor:
        first_T = experience.batch.known_token_offsets()[:-1]
        states_K = self.resources.policy.read(experience.layout, {"hidden": hidden})["hidden"]
        return torch.from_numpy(states_K[first_T])

    def fit(self, experience: Experience, targets: Mapping[str, FloatArray]) -> dict[str, float]:
        n_turns = sum(self.resources.processes.gather(experience.batch.n_turns))
        error_T = self.head(self.state_T)[:, 0] - torch.from_numpy(targets["value_T"])
        loss = error_T.square().sum() / n_turns
        self.learner.step([loss])
        return {"critic/loss": sum(self.resources.processes.gather(loss.item()))}

    def state_dict(self) -> dict[str, Any]:
        return {"head": self.head.state_dict(), "learner": self.learner.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.head.load_state_dict(state["head"])
        self.learner.load_state_dict(state["learner"])


def test_it_trains_is_timed_and_is_resumed_exactly_after_a_kill(cloned_model: Path, tmp_path: Path) -> None:
    own = {"credit": "turn_ppo", "signals": {f"{__name__}:LinearCritic": {"learning_rate": 0.05}}}
    config = tmp_path / "run.yaml"
    config.write_text(yaml.safe_dump(SETTINGS | {"model": str(cloned_model), "max_steps": 10, "save_steps": 2} | own))

    def words(name: str) -> list[str]:
        return [str(config), "--output_dir", str(tmp_path / name)]

    command = [sys.executable, "-m", "agentgym.train", *words("killed")]
    killed = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not list((tmp_path / "killed" / "trajectories").glob("step-000005.*")):
        assert killed.poll() is None
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert not (tmp_path / "killed" / "checkpoints" / "step-000010").exists()
    assert main([*words("killed"), "--resume_from_checkpoint", "true"]) == main(words("whole")) == 0

    steps = {name: metrics(tmp_path / name) for name in ("whole", "killed")}
    assert steps["whole"] == steps["killed"]
    losses = [step["critic/loss"] for step in steps["whole"]]
    assert np.mean(losses[-3:]) < np.mean(losses[:3])
    states = {name: critic_of(tmp_path / name) for name in ("whole", "killed")}
    assert all(torch.equal(states["whole"][key], states["killed"][key]) for key in ("weight", "bias"))


def metrics(run_dir: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    assert all(line["time/signal/LinearCritic"] > 0 for line in lines)
    return [{k: v for k, v in line.items() if "time" not in k} for line in lines]


def critic_of(run_dir: Path) -> dict[str, torch.Tensor]:
    state = torch.load(run_dir / "checkpoints" / "step-000010" / "trainer_state.pt", weights_only=True)
    head: dict[str, torch.Tensor] = state["shared"]["signal/LinearCritic"]["head"]
    return head
