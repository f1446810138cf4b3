"""What a run's configuration records: all that decided it, whoever's default it was."""

from __future__ import annotations

import json
from contextlib import closing

import pytest
import yaml

from agentgym.build import fingerprint, make_env, told_by
from agentgym.config import RunConfig, load_config
from agentgym.envs import NotInstalledError, registered
from agentgym.resolved import resolved
from agentgym.trainers.credit import get_scheme, schemes
from agentgym.trainers.losses import losses
from agentgym.trainers.objective import Objective


def config(**settings: object) -> RunConfig:
    return RunConfig.model_validate({"env_id": "agentgym/FrozenLake-v0", **settings})


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"env_kwargs": {"size": 5, "is_slippery": True}, "credit": "rloo"},
        {"env_kwargs": {"map": ["SFF", "FHF", "FFG"], "max_turns": 5}},
        {"credit_kwargs": {"mode": "mean_std_norm", "gamma": 0.5}, "epsilon": 0.1},
        {"policy_loss": "dual_clip", "policy_loss_kwargs": {"epsilon": 0.1}, "ratio_level": "turn"},
        {"entropy_smoothing": "epo", "entropy_coef": 0.01, "entropy_smoothing_kwargs": {"min_ratio": 0.5}},
        *({"env_id": env_id} for env_id in registered()),
        *({"policy_loss": loss.name} for loss in losses("policy")),
        *({"credit": scheme.name} for scheme in schemes()),
    ],
    ids=str,
)
def test_a_run_s_configuration_stands_for_the_same_run_and_leaves_nothing_open(tmp_path, settings):
    given = config(**settings)
    try:
        keeper = make_env(given, "train")
    except NotInstalledError as error:
        pytest.skip(str(error))
    with closing(keeper):  # of an engine, which takes seconds to start
        full = resolved(given, told_by(given))
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(full.model_dump(mode="json")))
        kept = load_config(tmp_path / "config.yaml")
        assert resolved(kept, told_by(kept)) == kept
    assert json.loads(json.dumps(fingerprint(kept))) == json.loads(json.dumps(fingerprint(full)))
    assert Objective.of(full, 1) == Objective.of(given, 1)
    scheme = get_scheme(full.credit)
    assert full.credit_kwargs.keys() == scheme.parameters.keys()
    assert scheme.check_parameters(kept.credit_kwargs) == scheme.defaults | scheme.check_parameters(given.credit_kwargs)
    assert full.max_turns and full.loss_aggregation and full.ratio_level
    assert given.env_kwargs.items() <= (full.env_kwargs | {"max_turns": full.max_turns}).items()


def test_what_is_recorded():
    full = resolved(given := config(env_kwargs={"size": 5}, credit="grpo"), told_by(given))
    assert full.env_kwargs == {"size": 5, "is_slippery": False, "map": None}
    assert full.max_turns == 14
    assert full.credit_kwargs == get_scheme("grpo").defaults
    assert (full.policy_loss_kwargs, full.epsilon, full.epsilon_high) == ({}, 0.2, None)
    assert (full.ratio_level, full.loss_aggregation) == ("token", "token-mean")
