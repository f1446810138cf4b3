"""An expert that knows the catalogue and the goal: it finds the best purchase, and the shortest way to it.

The best purchase is the one with the highest score, so a goal is solvable where that is 1. It is looked for where a
shopper would look who knows nothing but the instruction: among what a search in its own words finds, in that order.
Only where nothing there fits does the expert use what it alone knows: the product that the goal was made from, and the
whole catalogue.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product as combinations

from agentgym.envs.text_env import NoPlanError
from agentgym.envs.webshop.pages import BUY, NEXT, PREVIOUS, RESULTS_PER_PAGE, SUB_PAGES, parse_action
from agentgym.envs.webshop.product import Goal, Product
from agentgym.envs.webshop.reward import judge, options_met
from agentgym.envs.webshop.shop import Session, Shop

_LONGEST_QUERY = 300


@dataclass(frozen=True)
class Purchase:
    """What to buy, and what it is worth."""

    asin: str
    options: Mapping[str, str]
    """The choices that count, by option group; other groups may stay as they are."""
    score: float


def best_purchase(shop: Shop, goal: Goal) -> Purchase:
    """The purchase with the highest score; of several, the one that the instruction's own words find first.

    Of those that they do not find, the goal's own product, or the first in the catalogue.
    """
    best = Purchase(goal.asin, {}, -1.0)
    for number in _candidates(shop, goal):
        product, price = shop.products[number], shop.prices[number]
        if _bound(product, goal, price) <= best.score:
            continue
        options = best_options(product, goal)
        score = judge(product, goal, price, options.values()).score
        if score > best.score:
            best = Purchase(product.asin, options, score)
        if best.score == 1:
            break
    return best


def unsolvable_goals(shop: Shop) -> list[str]:
    """The ids of the goals that no purchase in this shop scores 1 for: 458 of the 6,910 genuine synthetic ones."""
    return [goal.id for goal in shop.goals if best_purchase(shop, goal).score < 1]


def best_options(product: Product, goal: Goal) -> dict[str, str]:
    """The fewest choices that meet as many of the goal's options as possible."""
    groups: list[list[tuple[str, str, frozenset[int]]]] = []
    for name, values in _clickable_options(product).items():
        useful: dict[frozenset[int], str] = {}
        own = goal.options.get(name) if isinstance(goal.options, Mapping) else None
        for value in sorted(values, key=lambda value: value != own):  # the value that was named, if it is one of many
            met = options_met(goal, (value,))
            if met:
                useful.setdefault(met, value)
        if useful:
            groups.append([("", "", frozenset()), *((name, value, met) for met, value in useful.items())])
    best: dict[str, str] = {}
    most = (0, 0)
    for choice in combinations(*groups):
        chosen = {name: value for name, value, _ in choice if name}
        count = len(frozenset[int]().union(*(met for _, _, met in choice)))
        if (count, -len(chosen)) > most:
            best, most = chosen, (count, -len(chosen))
    return best


def next_action(shop: Shop, session: Session, purchase: Purchase) -> str:
    """The next action on the way to the purchase from wherever the session is."""
    if session.asin == purchase.asin and session.place in ("item", "sub"):
        missing = [value for name, value in purchase.options.items() if session.options.get(name) != value]
        if session.place == "sub":
            return f"click[{PREVIOUS.lower()}]"
        return f"click[{missing[0] if missing else BUY.lower()}]"
    wanted = shop.number[purchase.asin]
    found = list(shop.find(session.query)) if session.place == "results" else []
    if wanted in found:
        page = found.index(wanted) // RESULTS_PER_PAGE + 1
        if page == session.page_number:
            return f"click[{purchase.asin.lower()}]"
        if (
            abs(page - session.page_number)
            <= 1 + _rank(shop, best_query(shop, session.goal, purchase), wanted) // RESULTS_PER_PAGE
        ):
            return f"click[{(NEXT if page > session.page_number else PREVIOUS).lower()}]"
    return f"search[{best_query(shop, session.goal, purchase)}]"


def best_query(shop: Shop, goal: Goal, purchase: Purchase) -> str:
    """A search that finds the product: in the instruction's words if they do, for a learner has only those.

    Otherwise in the product's own, as many of them as bring it to the earliest page.
    """
    wanted = shop.number[purchase.asin]
    if wanted in shop.find(own_words(goal)):
        return own_words(goal)
    queries = _queries(goal, shop.product(purchase.asin))
    best = min(queries, key=lambda query: _rank(shop, query, wanted) // RESULTS_PER_PAGE)
    if _rank(shop, best, wanted) == len(shop.products):
        raise NoPlanError(f"no search finds the product {purchase.asin}")
    return best


def own_words(goal: Goal) -> str:
    """What the instruction asks for, as a query: the attributes and the kind of product."""
    return _writable(" ".join((*goal.attributes, goal.query)))


def _candidates(shop: Shop, goal: Goal) -> Iterator[int]:
    """All products, each once."""
    found = dict.fromkeys(int(number) for number in shop.find(own_words(goal)))
    yield from found
    own = shop.number[goal.asin]
    if own not in found:
        yield own
    yield from (number for number in range(len(shop.products)) if number != own and number not in found)


def _bound(product: Product, goal: Goal, price: float) -> float:
    """What the product is worth at most, whatever is chosen."""
    verdict = judge(product, goal, price, ())
    return (verdict.attributes_met + len(goal.options) + verdict.price_met) / verdict.parts * verdict.r_type


def _clickable_options(product: Product) -> dict[str, list[str]]:
    """The values that a click chooses in each group: not those that a button or a later group takes."""
    owner = {value: name for name, values in product.options.items() for value in values}
    buttons = {button.lower() for button in (*SUB_PAGES, BUY, PREVIOUS, "Back to Search", "search")}
    return {
        name: [
            value
            for value in dict.fromkeys(values)
            if owner[value] == name and value not in buttons and parse_action(f"click[{value}]") == ("click", value)
        ]
        for name, values in product.options.items()
    }


def _queries(goal: Goal, product: Product) -> Iterator[str]:
    """Searches that may find the product: the instruction's words with the options, then ever more of its own.

    All that was found by the same query as the product comes last.
    """
    options = goal.options.values() if isinstance(goal.options, Mapping) else goal.options
    yield _writable(" ".join((*goal.attributes, goal.query, *options)))
    for text in (product.title, f"{product.title} {product.description}", product.search_text):
        yield _writable(text)
    yield _writable(f"<q> {product.query}")


def _writable(text: str) -> str:
    """The text as an argument of `search[...]`: one line in lower case, no brackets, no official key word first."""
    words = text.lower().translate({ord("["): " ", ord("]"): " "}).split()
    return " ".join(words)[:_LONGEST_QUERY].strip() or "-"


def _rank(shop: Shop, query: str, wanted: int) -> int:
    """The place of a product in the answer to a query, from 0; the number of products where it is not in it."""
    found = list(shop.find(query))
    return found.index(wanted) if wanted in found else len(shop.products)
