"""WebShop (`agentgym/WebShop-v0`): buy in a web shop what an instruction asks for.

A catalogue of our own, or the genuine one (arXiv:2207.01206), with pages, search engine and reward of the official
text environment, byte for byte.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

import numpy as np

from agentgym.envs.text_env import NoPlanError, TextEnv
from agentgym.envs.user_path import user_path
from agentgym.envs.webshop import builtin
from agentgym.envs.webshop.data import GoalKind
from agentgym.envs.webshop.expert import Purchase, best_purchase, next_action
from agentgym.envs.webshop.goals import split_ranges
from agentgym.envs.webshop.index import query_key
from agentgym.envs.webshop.shop import Session, Shop, shop_of

Style = Literal["official", "compact"]
RewardKind = Literal["score", "success"]
StateKey = Literal["observation", "state"]

SUCCESS_REWARD = 10.0
BUILTIN = "builtin"


class WebShopEnv(TextEnv):
    """Buy in a web shop what an instruction asks for.

    Args:
        data: "builtin", a catalogue of our own (`builtin`); or the genuine one: a directory in the official layout
            or with the compact files, or a product file in it (`data`).
        goals: of genuine data: "synthetic", made from products and all their options, or "human", in people's words.
        split: "train", "valid" or "test". In genuine data, as officially, test is the first 500 goals, valid the
            next 1,000 and train the rest (`goals.split_ranges` for small sets). GiGPO's recipe (verl-agent)
            validates on the first 500, our test split, and trains on all others.
        max_turns: turns until truncation; 15 as in GiGPO's recipe.
        observation: "official", the official text mode, or "compact": the same page in fewer words, with the
            instruction on the first page only (`info["task"]` always has it), chosen options shown, and a line
            that says so when an action was not understood (officially the page is just shown again).
        reward: what the purchase earns; every other turn earns 0. "score": the score, in [0, 1]. "success": 10 for
            a score of 1, else 0, as in GiGPO's recipe.
        state_key: what `info["state_key"]` names. "observation": the official text of the page, on which GiGPO's
            recipe groups; it is not one with the true state (chosen options are not shown in it). "state": all that
            later turns depend on: page, query, product and chosen options.
    """

    instructions = (
        "You are shopping in a web shop. The instruction says what to buy: the kind of product, what it should be "
        "like, which options to choose, and what it may cost at most.\n"
        "Each turn you answer with one of these actions:\n"
        "search[words] looks for products; begin with it, and choose the words yourself\n"
        "click[name] presses a button, opens a product by its code, or chooses an option, by the name on the page\n"
        "Results come ten to a page: click[next >] and click[< prev] turn pages, click[back to search] starts again. "
        "A product's page has its options, price, description and features. Choose every option that the instruction "
        "names, then click[buy now]: that ends the episode, and you are scored by how well the purchase fits."
    )

    _shared_between_snapshots: ClassVar[frozenset[str]] = TextEnv._shared_between_snapshots | {"_shop", "_numbers"}

    def __init__(
        self,
        *,
        data: str | Path = BUILTIN,
        goals: GoalKind = "synthetic",
        split: str = "train",
        max_turns: int = 15,
        observation: Style = "official",
        reward: RewardKind = "score",
        state_key: StateKey = "observation",
        render_mode: str | None = None,
    ):
        """See the class. Raises `ValueError` for bad data and for arguments out of range."""
        choices = (("goals", goals, GoalKind), ("observation", observation, Style), ("reward", reward, RewardKind))
        for name, value, kind in (*choices, ("state_key", state_key, StateKey)):
            if value not in get_args(kind):
                raise ValueError(f"{name} must be one of {', '.join(get_args(kind))}, not {value!r}")
        if data == BUILTIN and goals == "human":
            raise ValueError("the built-in catalogue has no human goals: give data=PATH, or goals='synthetic'")
        if data == BUILTIN:
            self._shop: Shop = builtin.shop()
            ranges: Mapping[str, Sequence[int]] = builtin.split_ranges()
        else:
            self._shop = shop_of(user_path(data).absolute(), goals)
            ranges = split_ranges(len(self._shop.goals))
        self.splits = tuple(ranges)
        super().__init__(split=split, max_turns=max_turns, render_mode=render_mode)
        self.data_source = str(data)
        self.task_types = self._shop.categories
        self._numbers = ranges[split]
        self._compact, self._pays_success = observation == "compact", reward == "success"
        self._key_is_state = state_key == "state"
        self.action_space.examples = ("search[<your query>]", "click[back to search]", "click[next >]")

    def _start(self, rng: np.random.Generator, options: dict[str, Any]) -> str:
        self._session = Session(self._shop.goals[self._numbers[int(rng.integers(len(self._numbers)))]])
        self._purchase: Purchase | None = None
        return self._show(True)

    def _act(self, action: str) -> tuple[str, float, bool, bool]:
        valid = self._session.act(self._shop, action)
        verdict = self._session.verdict
        if verdict is None:
            return self._show(valid), 0.0, False, valid
        reward = SUCCESS_REWARD * (verdict.score == 1) if self._pays_success else verdict.score
        return self._show(valid), reward, True, valid

    def _show(self, valid: bool) -> str:
        if not self._compact:
            return self._session.text(self._shop)
        page = self._session.page(self._shop).compact
        first = f"Instruction: {self._session.goal.instruction}\n" if self._session.place == "search" else ""
        options = ", ".join(f"{name}: {value}" for name, value in self._session.options.items())
        chosen = f"\nChosen: {options}" if options and self._session.place == "item" else ""
        mistake = "" if valid else "Nothing happens: write search[words] or click[a name in brackets on the page].\n"
        return f"{mistake}{first}{page}{chosen}"

    def _situation(self) -> dict[str, Any]:
        session = self._session
        verdict = session.verdict
        info = {
            "success": verdict is not None and verdict.score == 1,
            "score": verdict.score if verdict else 0.0,
            "task": session.goal.instruction,
            "task_id": session.goal.id,
            "task_type": session.goal.category,
            "state_key": self._state() if self._key_is_state else session.text(self._shop),
            "admissible_actions": list(session.page(self._shop).admissible),
        }
        if verdict:
            met = {"attributes": verdict.attributes_met, "options": verdict.options_met, "price": verdict.price_met}
            info["reward_parts"] = {"type": verdict.r_type, **{k: float(v) / verdict.parts for k, v in met.items()}}
        return info

    def _state(self) -> str:
        session = self._session
        options = sorted(session.options.items())
        page = f"{session.place} {session.page_number} {session.asin} {session.sub_page}"
        return f"{page} {options} {query_key(session.query)}"

    def expert(self) -> str:
        """The next action on the way to the purchase with the highest score (`expert`).

        On the genuine products some synthetic goals cannot be solved: no purchase scores 1, since the reward does
        not see the option that was named. There the expert makes the best purchase that there is. Raises
        `NoPlanError` once the episode is over.
        """
        if self._session.verdict is not None:
            raise NoPlanError("the purchase is made: there is no next action")
        if self._purchase is None:
            self._purchase = best_purchase(self._shop, self._session.goal)
        return next_action(self._shop, self._session, self._purchase)
