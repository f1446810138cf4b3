"""A game of two seats for tests: a seller who may not sell below a cost haggles with a buyer over a price."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from agentgym.envs import Partner, Played, TextAECEnv
from agentgym.envs.splits import split_of

RULES = "Say 'offer PRICE', or 'accept' the other's last offer. You are the {seat}."


class Haggle(TextAECEnv):
    """Seats take turns; the first to act is drawn. The surplus of a deal is shared by its price."""

    possible_agents: ClassVar[list[str]] = ["buyer", "seller"]
    instructions: ClassVar[Mapping[str, str]] = {seat: RULES.format(seat=seat) for seat in ("buyer", "seller")}
    task_types = ("haggle",)

    def __init__(self, *, split: str = "train", max_turns: int = 5, render_mode: str | None = None):
        super().__init__(split=split, max_turns=max_turns, render_mode=render_mode)

    def _start(self, rng: np.random.Generator, options: dict[str, Any]) -> Mapping[str, str]:
        while True:
            self.cost = int(rng.integers(10, 50))
            self.value = self.cost + int(rng.integers(1, 50))
            if split_of(f"{self.cost}/{self.value}") == self.split:
                break
        self.turn_of = self.first = ["buyer", "seller"][int(rng.integers(2))]
        self.log: list[str] = []
        self.offers: dict[str, int] = {}
        self.price: int | None = None
        return {"buyer": f"It is worth {self.value} to you.", "seller": f"It cost you {self.cost}."}

    def _to_act(self) -> tuple[str, ...]:
        return (self.turn_of,)

    def _act(self, seat: str, action: str) -> Played:
        other = self.other(seat)
        self.turn_of = other
        self.log.append(f"{seat}: {action[:20]!r}")
        offer = re.fullmatch("offer ([0-9]{1,3})", action)
        if offer:
            self.offers[seat] = int(offer[1])
            return Played({other: f"The {seat} offers {offer[1]}."}, reward_parts={other: {"heard": 0.0}})
        if action == "accept" and other in self.offers:
            self.price = self.offers[other]
            shares = {"buyer": float(self.value - self.price), "seller": float(self.price - self.cost)}
            parts = {who: {"surplus": share} for who, share in shares.items()}
            told = dict.fromkeys(self.agents, f"Sold for {self.price}.")
            return Played(told, rewards=shares, reward_parts=parts, terminated=True)
        return Played({seat: "That was no offer.", other: f"The {seat} says nothing."}, is_action_valid=False)

    def _situation(self, seat: str) -> dict[str, Any]:
        return {
            "success": self.price is not None and self.cost <= self.price <= self.value,
            "task_id": f"haggle/{self.cost}/{self.value}/{self.first}",
            "task_type": "haggle",
            "state_key": f"{self.value if seat == 'buyer' else self.cost} {self.log}",
        }

    def expert(self, seat: str) -> str:
        """Accept whatever is no loss; else propose the middle."""
        offer = self.offers.get(self.other(seat))
        if offer is not None and self.cost <= offer <= self.value:
            return "accept"
        return f"offer {(self.cost + self.value) // 2}"

    @staticmethod
    def other(seat: str) -> str:
        return "seller" if seat == "buyer" else "buyer"


def accepting(observation: str, info: dict[str, Any]) -> str:
    """A partner that takes any offer, and names a price of 40 where there is none."""
    return "accept" if "offers" in observation else "offer 40"


def new_accepting() -> Partner:
    """Makes `accepting`: partners are named by what makes them."""
    return accepting


class Moody:
    """A partner with a state: it draws its prices, and remembers how often it was asked."""

    def __init__(self) -> None:
        self.reset(0)

    def reset(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.asked = 0

    def __call__(self, observation: str, info: dict[str, Any]) -> str:
        self.asked += 1
        return "accept" if self.asked > 2 and "offers" in observation else f"offer {self.rng.randrange(100)}"
