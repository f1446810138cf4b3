"""Episodes of several seats: whose turn, whose reward, whose luck."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pytest

from agentgym.agents.agent import Decision, InstantAgent, RandomAgent, View
from agentgym.agents.episode import EpisodeSpec, SeatedEpisode
from agentgym.agents.rollout import check_groups, play
from agentgym.agents.trajectory import StopReason, Trajectory
from agentgym.envs import Played, TextAECEnv


class Auction(TextAECEnv):
    """Both bid at once, three times: the higher bid earns 10 less itself, the lower loses 1. 9 ends it, 13 is bad luck.

    Before anybody has bid, a flip of a coin gives "b" a reward when "a" has acted.
    """

    possible_agents: ClassVar[list[str]] = ["a", "b"]
    instructions: ClassVar[Mapping[str, str]] = {"a": "Bid, a.", "b": "Bid, b."}
    task_types = ("auction",)
    in_turns = False

    def __init__(self, max_turns: int = 3):
        super().__init__(max_turns=max_turns)

    def _start(self, rng: np.random.Generator, options: dict[str, Any]) -> Mapping[str, str]:
        self.bids: dict[str, int] = {}
        self.won = dict.fromkeys(self.possible_agents, 0)
        self.gift = 0.5
        return {seat: f"You are {seat}." for seat in self.possible_agents}

    def _to_act(self) -> Sequence[str]:
        open_seats = [seat for seat in self.possible_agents if seat not in self.bids]
        return open_seats[:1] if self.in_turns else open_seats

    def _act(self, seat: str, action: str) -> Played:
        if action == "13":
            raise KeyError("bad luck")
        self.bids[seat] = int(action) if action.isdecimal() else 0
        gift, self.gift = self.gift, 0.0
        if len(self.bids) < 2:
            return Played(rewards={"b": gift}, is_action_valid=action.isdecimal())
        bids, self.bids = self.bids, {}
        best = max(bids, key=lambda who: (bids[who], who))
        self.won[best] += 1
        rewards = {who: 10.0 - bids[who] if who == best else -1.0 for who in bids}
        told = dict.fromkeys(bids, f"Bids: {bids['a']} and {bids['b']}.")
        return Played(told, rewards, terminated=9 in bids.values(), is_action_valid=action.isdecimal())

    def _situation(self, seat: str) -> dict[str, Any]:
        return {
            "success": self.won[seat] > self.won["a" if seat == "b" else "b"],
            "task_id": "auction",
            "task_type": "auction",
            "state_key": f"{seat}/{self.won}",
            "score": self.won[seat] / 3,
        }


class InTurns(Auction):
    in_turns = True


class Bidder(InstantAgent):
    """Bids as it is told, seat by seat, and remembers what it saw."""

    def __init__(self, **bids: str):
        super().__init__()
        self.bids = {seat: list(of_seat) for seat, of_seat in bids.items()}
        self.seen: list[tuple[str, str]] = []

    def decide(self, view: View) -> Decision:
        self.seen.append((view.seat, view.observation))
        return Decision(self.bids[view.seat][view.turn])


class Reversed(Bidder):
    """Answers those who were asked last first."""

    def answers(self) -> list[tuple[View, Decision]]:
        return super().answers()[::-1]


SPEC = EpisodeSpec("auction", 0, "g", sampling_seed=3)


def rewards(trajectories: Sequence[Trajectory]) -> dict[str, list[float]]:
    return {trajectory.seat: [turn.reward for turn in trajectory.turns] for trajectory in trajectories}


@pytest.mark.parametrize("kind", [Bidder, Reversed])
@pytest.mark.parametrize("world", [Auction, InTurns])
def test_a_turns_reward_is_what_its_seat_earns_up_to_its_next(world: type[Auction], kind: type[Bidder]) -> None:
    agent = kind(a="353", b="529")
    played = play(agent, world, [SPEC])
    assert [t.seat for t in played] == ["a", "b"]
    # What b was given before it had ever acted is counted to its first turn.
    assert rewards(played) == {"a": [-1.0, 5.0, -1.0], "b": [5.0 + 0.5, -1.0, 1.0]}
    assert [t.total_reward for t in played] == [3.0, 5.5]
    assert [t.stop_reason for t in played] == [StopReason.TERMINATED, StopReason.SUCCESS]
    assert [t.score for t in played] == pytest.approx([1 / 3, 2 / 3])
    assert {t.final_observation for t in played} == {"Bids: 3 and 9."}
    assert {t.episode for t in played} == {SPEC.episode} and {t.group for t in played} == {"g"}
    of_a = [turn.observation for turn in played[0].turns]
    assert of_a == ["You are a.", "Bids: 3 and 5.", "Bids: 5 and 2."]
    check_groups(played, 1)


def test_a_seats_last_act_and_its_validity_are_its_own() -> None:
    a, b = play(Bidder(a=["1", "x", "2"], b=["2", "3", "4"]), InTurns, [SPEC])
    assert [turn.is_action_valid for turn in a.turns] == [True, False, True]
    assert all(turn.is_action_valid for turn in b.turns)
    assert a.stop_reason is StopReason.MAX_TURNS and a.truncated and b.truncated


def test_seats_have_players_and_luck_of_their_own() -> None:
    specs = [EpisodeSpec("auction", 0, "g", sampling_seed=seed) for seed in range(6)]
    played = play({"a": Bidder(a="123"), "b": Bidder(b="888")}, Auction, specs, num_envs=4)
    assert [t.seat for t in played] == ["a", "b"] * 6
    assert all([turn.action for turn in t.turns] == list("123" if t.seat == "a" else "888") for t in played)
    check_groups(played, 6)
    alike = play(RandomAgent(), Auction, specs)
    assert alike == play(RandomAgent(), Auction, specs, num_envs=2)
    assert all(a.turns[0].action != b.turns[0].action for a, b in zip(alike[::2], alike[1::2], strict=True))


def test_a_game_that_fails_is_played_again_and_then_excluded_as_one() -> None:
    ended: list[Trajectory] = []
    played = play(Bidder(a=["1", "13"], b=["2", "2", "2"]), Auction, [SPEC], on_episode=ended.append)
    (failed,) = played
    assert failed.error == "auction, seed 0, turn 1: KeyError: 'bad luck'" and not failed.counts
    assert ended == played


def test_who_cannot_answer_ends_the_game_for_all() -> None:
    class Tired(Bidder):
        def decide(self, view: View) -> Decision:
            if view.seat == "b" and view.turn == 1:
                return Decision("", stop_reason=StopReason.CONTEXT_OVERFLOW)
            return super().decide(view)

    a, b = play(Tired(a="123", b="21"), InTurns, [SPEC])
    assert {a.stop_reason, b.stop_reason} == {StopReason.CONTEXT_OVERFLOW}
    assert rewards([a, b]) == {"a": [-1.0, 0.0], "b": [8.5]}, "a's last turn is complete with what it earned so far"


def test_a_game_is_played_on_from_a_branch() -> None:
    whole = play(Bidder(a="353", b="529"), InTurns, [SPEC])
    episode = SeatedEpisode(InTurns(), SPEC)
    for action in "35":  # the first of a, and the first of b
        (view,) = episode.to_act()
        episode.play(view, Decision(action))
    branch = episode.snapshot()
    assert play(Bidder(a="353", b="529"), InTurns, [branch, branch]) == whole * 2
    other = replace(branch, spec=replace(SPEC, group="h"))
    assert rewards(play(Bidder(a="300", b="520"), InTurns, [other]))["a"] == [-1.0, -1.0, -1.0]
