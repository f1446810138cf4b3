"""A shop and an episode's walk through it, by the rules of the official text environment."""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from agentgym.envs.webshop import pages
from agentgym.envs.webshop.cache import cached_postings
from agentgym.envs.webshop.data import DataSet, GoalKind, read_data, read_postings
from agentgym.envs.webshop.index import Index, build, query_key
from agentgym.envs.webshop.pages import Page, parse_action
from agentgym.envs.webshop.product import Goal, Product
from agentgym.envs.webshop.reward import Verdict, judge

RESULTS = 50
"""How many products a search finds at most."""

_KEPT_PAGES = 8192


class Shop:
    """A catalogue with its search engine: what all episodes in it share. It never changes."""

    def __init__(self, data: DataSet, origin: tuple[Callable[..., Shop], tuple[Any, ...]]):
        """`origin`: how another process makes the same shop: a function and its arguments."""
        self._origin = origin
        self.products, self.prices, self.goals = data.products, data.prices, data.goals
        self.number = {product.asin: number for number, product in enumerate(data.products)}
        self.categories = tuple(sorted({product.category for product in data.products}))
        asins = [product.asin for product in data.products]
        if data.postings is None:
            texts = [product.search_text for product in data.products]
            postings = cached_postings(texts, lambda: build(texts))
        else:
            file = data.postings
            signature = (str(file.absolute()), str(file.stat().st_size), str(file.stat().st_mtime_ns), *asins)
            postings = cached_postings(signature, lambda: read_postings(file, asins))
        self.index = Index(postings, asins)
        self._pages: OrderedDict[tuple[Any, ...], Page] = OrderedDict()

    def product(self, asin: str) -> Product:
        """The product of this name."""
        return self.products[self.number[asin]]

    def find(self, query: str, seed: str = "") -> Sequence[int]:
        """The products that a search finds, by number, the best first.

        Official key words: `<r>` finds 50 random products (drawn with `seed`); `<a> attribute`, `<c> category` and
        `<q> query` find all products that have just that, in the order of the catalogue.
        """
        word, _, rest = query.partition(" ")
        if word == "<r>":
            return random.Random(seed).sample(range(len(self.products)), min(RESULTS, len(self.products)))
        wanted, numbered = rest.strip(), enumerate(self.products)
        if word == "<a>":
            return [number for number, product in numbered if wanted in product.attributes]
        if word == "<c>":
            return [number for number, product in numbered if product.category == rest.split(" ")[0]]
        if word == "<q>":
            return [number for number, product in numbered if product.query == wanted]
        return self.index.search(query, RESULTS)

    def page(self, key: tuple[Any, ...], make: Callable[[], Page]) -> Page:
        """The page of this key, made once and kept for a while."""
        if key not in self._pages:
            self._pages[key] = make()
            if len(self._pages) > _KEPT_PAGES:
                self._pages.popitem(last=False)
        return self._pages[key]

    def __reduce__(self) -> tuple[Callable[..., Shop], tuple[Any, ...]]:
        return self._origin


@lru_cache(maxsize=8)
def shop_of(path: Path, kind: GoalKind) -> Shop:
    """The one shop of this data in this process. Raises `ValueError` for bad data (`data.read_data`)."""
    return Shop(read_data(path, kind), (shop_of, (path, kind)))


@dataclass
class Session:
    """One customer's visit: the goal, the page, and what was searched and chosen so far."""

    goal: Goal
    query: str = ""
    """The last search."""
    page_number: int = 1
    asin: str | None = None
    """The product last looked at since the last search."""
    sub_page: str | None = None
    options: dict[str, str] = field(default_factory=dict)
    """The chosen value of each option group."""
    place: str = "search"
    """Which page is shown: "search", "results", "item", "sub" or "done"."""
    searches: int = 0
    """How often results were shown; `<r>` draws anew each time."""
    verdict: Verdict | None = None
    """What the purchase is worth, once there is one."""

    def page(self, shop: Shop) -> Page:
        """The page that is shown."""
        if self.place == "search":
            return shop.page(("search",), pages.search_page)
        if self.place == "results":
            key = ("results", query_key(self.query), self.page_number, self._seed)
            return shop.page(key, lambda: self._results(shop))
        assert self.asin is not None  # the other pages are about a product
        product = shop.product(self.asin)
        if self.place == "item":
            return shop.page(("item", self.asin), lambda: pages.item_page(product))
        if self.place == "sub":
            name = str(self.sub_page)
            return shop.page(("sub", self.asin, name), lambda: pages.sub_page(product, name))
        assert self.verdict is not None
        return pages.done_page(self.asin, self.options, self.verdict.score)

    def text(self, shop: Shop) -> str:
        """The page in the official words, the instruction included."""
        page = self.page(shop)
        if self.place == "done":
            return page.text
        start = ("WebShop",) if self.place == "search" else ()
        return pages.SEPARATOR.join((*start, "Instruction:", self.goal.instruction.strip(), page.text))

    def act(self, shop: Shop, action: str) -> bool:
        """Carry out an action; return whether it was understood and legal. If not, nothing changes."""
        parsed = parse_action(action)
        if parsed is None or self.place == "done":
            return False
        verb, argument = parsed
        if verb == "search":
            self._search(argument)
            return True
        clickables = self.page(shop).clickables
        if verb != "click" or argument not in clickables or argument == "search":
            return False
        self._click(shop, argument, clickables[argument])
        return True

    @property
    def _seed(self) -> str:
        return f"{self.goal.id} {self.searches}" if self.query.split(" ")[0] == "<r>" else ""

    def _results(self, shop: Shop) -> Page:
        found = shop.find(self.query, self._seed)
        start = (self.page_number - 1) * pages.RESULTS_PER_PAGE
        shown = [shop.products[number] for number in found[start : start + pages.RESULTS_PER_PAGE]]
        return pages.results_page(shown, self.page_number, len(found))

    def _search(self, query: str, page_number: int = 1) -> None:
        self.query, self.page_number, self.place = query, page_number, "results"
        self.asin, self.options, self.searches = None, {}, self.searches + 1

    def _click(self, shop: Shop, name: str, group: str) -> None:
        """Buttons go before products and options of the same name."""
        if name == pages.BUY.lower():
            self._buy(shop)
        elif name == pages.BACK.lower():
            self.query, self.page_number, self.place, self.asin, self.options = "", 1, "search", None, {}
        elif self.place == "results" and name == pages.NEXT.lower():
            self._search(self.query, self.page_number + 1)
        elif self.place == "results" and name == pages.PREVIOUS.lower():
            self._search(self.query, self.page_number - 1)
        elif self.place == "item" and name == pages.PREVIOUS.lower():
            self._search(self.query, self.page_number)
        elif self.place == "sub" and name == pages.PREVIOUS.lower():
            self.place = "item"
        elif self.place == "results":
            self.asin, self.place = name.upper(), "item"
        elif name.capitalize() in pages.SUB_PAGES:
            self.sub_page, self.place = name.capitalize(), "sub"
        else:
            self.options = {**self.options, group: name}

    def _buy(self, shop: Shop) -> None:
        assert self.asin is not None  # the button is on a product's page
        product = shop.product(self.asin)
        price = shop.prices[shop.number[self.asin]]
        self.verdict = judge(product, self.goal, price, self.options.values())
        self.place = "done"
