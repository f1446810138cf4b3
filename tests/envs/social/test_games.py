"""Every registered game of several seats: PettingZoo's own tests, privacy by search, hostile words, seeds.

That one seat of each keeps every promise of `TextEnv` is in test_conformance.py.
"""

from __future__ import annotations

import json
import subprocess
import sys
from functools import partial
from typing import Any

import pettingzoo
import pytest
from pettingzoo.test import api_test, parallel_api_test, parallel_seed_test, seed_test

from agentgym.envs import TextAECEnv, make, make_game, registered_games
from agentgym.envs.hostile import HOSTILE_ACTIONS
from agentgym.envs.social.bargaining_v0 import Bargaining
from tests.envs.in_dict import InDict
from tests.envs.social.privacy import hostile_actor, leaks

GAMES = [env_id for env_id in registered_games() if env_id.startswith("agentgym/")]
DEALS = ["Bargaining", "PriceNegotiation", "ResourceTrade", "Scheduling"]


@pytest.mark.filterwarnings("ignore::UserWarning:pettingzoo")  # it recommends arrays, and names like player_0
@pytest.mark.parametrize("env_id", GAMES)
def test_pettingzoo_finds_no_fault(env_id: str) -> None:
    api_test(InDict(make_game(env_id)), num_cycles=100)
    seed_test(partial(pettingzoo.make, "aec", env_id), num_cycles=30)
    parallel_api_test(pettingzoo.make("parallel", env_id), num_cycles=30)
    parallel_seed_test(partial(pettingzoo.make, "parallel", env_id), num_cycles=30)


def hostile_players(game: TextAECEnv, seed: int) -> dict[str, Any]:
    """The game's own hostile partner in one seat, or an actor of ours, and one of its mixture in the others."""
    seats = list(game.possible_agents)
    seats = seats[seed % len(seats) :] + seats[: seed % len(seats)]
    hostile = game.partners["hostile"]() if "hostile" in game.partners else hostile_actor(seed)
    kinds = sorted(game.partners)
    others = {seat: game.partners[kinds[seed % len(kinds)]]() if kinds else hostile_actor(seed) for seat in seats[1:]}
    return {seats[0]: hostile, **others}


@pytest.mark.parametrize("env_id", GAMES)
def test_no_prompt_holds_what_another_keeps_to_itself(env_id: str) -> None:
    game = make_game(env_id)
    assert leaks(game, partial(hostile_players, game), range(1000 if env_id[9:-3] in DEALS else 100)) == []


class Indiscreet(Bargaining):
    """A game that tells the other what a proposal is worth to its speaker."""

    def _proposal(self, seat: str, offer: Any, hearer: str) -> str:
        return f"{super()._proposal(seat, offer, hearer)} ({self._task[seat].rpartition(': ')[2]})"


def test_a_game_that_tells_is_found() -> None:
    game = Indiscreet()
    found = leaks(game, partial(hostile_players, game), range(40))
    assert any("ann reads" in leak for leak in found) and any("ben reads" in leak for leak in found)


@pytest.mark.parametrize("env_id", GAMES)
def test_any_string_is_answered_in_time(env_id: str) -> None:
    game = make_game(env_id)
    huge = ("\n" * 300_000, "propose:" * 60_000, "[offer" * 60_000, "propose: 1 book" + " " * 300_000 + "!")
    for action in (*HOSTILE_ACTIONS, *huge):
        if game.agents == [] or game.is_over:
            game.reset(seed=0)
        game.step(action)
        assert all(game.observe(seat).encode() is not None for seat in game.agents)


SEEDS = """
import json, sys
from agentgym.envs import make, registered_games
told = []
for env_id in sys.argv[1:]:
    env = make(env_id)
    for seed in range(8):
        told.append(env.reset(seed=seed)[0])
        for _ in range(3):
            observation, reward, terminated, truncated, info = env.step("I would like more.")
            told.append([observation, reward, info["task_id"], info.get("partner")])
            if terminated or truncated:
                break
print(json.dumps(told))
"""


def test_a_seed_means_the_same_task_partner_and_words_in_another_process() -> None:
    def run(hash_seed: str) -> str:
        command = [sys.executable, "-c", SEEDS, *GAMES]
        done = subprocess.run(command, capture_output=True, text=True, env={"PYTHONHASHSEED": hash_seed}, check=True)
        return done.stdout

    assert json.loads(run("1")) == json.loads(run("2"))


def test_the_partner_is_not_drawn_with_the_tasks_numbers() -> None:
    env = make("agentgym/PriceNegotiation-v0", no_zone=0.5)
    met: dict[str, set[str]] = {}
    for seed in range(60):
        _, info = env.reset(seed=seed)
        met.setdefault(info["partner"], set()).add(info["task_type"])
    assert all("no zone" in kinds and len(kinds) > 1 for kinds in met.values() if len(kinds) > 1)
    assert sum(len(kinds) > 1 for kinds in met.values()) >= 4
