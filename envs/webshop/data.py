"""Where genuine WebShop data comes from: the official files, or compact ones.

Official (princeton-nlp/WebShop, `data/`): `items_shuffle_1000.json` with `items_ins_v2_1000.json` (the small set),
`items_shuffle.json` with `items_ins_v2.json` (the full one), and `items_human_ins.json` for human goals. Compact:
`products_*.jsonl(.gz)`, a product on each line. Beside either, and only if they are there: the official goals
(`goals_synthetic.jsonl(.gz)`), prices (`prices_seed*.json`), nouns of titles (`title_nouns_*.json`) and postings of
the official search index (`lucene_postings.txt(.gz)`). What is missing is made by the official rules.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np

from agentgym.envs.json_files import lines_of, object_in, objects_of
from agentgym.envs.webshop.goals import PRICE_SEED, SyntheticGoals, draw_prices, human_goals, make_goal
from agentgym.envs.webshop.index import Postings
from agentgym.envs.webshop.nouns import likely_nouns
from agentgym.envs.webshop.product import Goal, Product, number, read_attributes, read_product, text, texts

GoalKind = Literal["synthetic", "human"]
T = TypeVar("T")

_SMALL, _FULL = "items_shuffle_1000.json", "items_shuffle.json"
_LONGEST_ASIN = 10

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class DataSet:
    """All that a shop is made from."""

    products: Sequence[Product]
    prices: Sequence[float]
    """What each product costs when it is bought, in dollars."""
    goals: Sequence[Goal]
    """In official order, from which the splits are cut."""
    postings: Path | None = None
    """The official search index, where there is one."""


def read_data(path: Path, kind: GoalKind) -> DataSet:
    """Read a directory or a product file in it. A directory with both official sets means the small one.

    Raises `ValueError`, one line with file, line and reason, for data that is missing or malformed.
    """
    file = _product_file(path)
    folder = file.parent
    products = _read_products(file)
    rng = random.Random(PRICE_SEED)
    prices = draw_prices(products, rng)
    listed = _entries(_one_of(folder, "prices_seed*.json"), number)
    prices = [listed.get(product.asin, price) for product, price in zip(products, prices, strict=True)]
    if kind == "human":
        source = _one_of(folder, "items_human_ins*.json")
        if source is None:
            raise ValueError(f"{folder}: no items_human_ins*.json here, so there are no human goals")
        instructions = object_in(source)
        try:
            goals: Sequence[Goal] = human_goals(products, prices, instructions, rng)
        except ValueError as error:
            raise ValueError(f"{source}: {error}") from None
    else:
        made = _one_of(folder, "goals_synthetic.jsonl*")
        goals = _read_goals(made, products) if made else SyntheticGoals(products, prices, rng)
    if not goals:
        raise ValueError(f"{folder}: none of its {len(products)} products has a {kind} goal")
    return DataSet(products, prices, goals, _one_of(folder, "lucene_postings.txt*"))


def read_postings(file: Path, asins: Sequence[str]) -> Postings:
    """The official index: `#ids`, `#norms` and `#stats` lines, then "term, tab, document:frequency, tab, ...".

    Raises `ValueError` if it is not of these products in this order.
    """
    lines = list(lines_of(file))
    try:
        ids, norms, stats = (lines[number][1].split() for number in range(3))
        term_lines = [line.split("\t") for _, line in lines[3:]]
        flat = [posting.split(":") for line in term_lines for posting in line[1:]]
        values = np.array(flat, dtype=np.int32).reshape(-1, 2)
        norm, total = np.array(norms[1:], dtype=np.uint8), int(stats[stats.index("sumTTF") + 1])
    except (ValueError, IndexError, OverflowError) as error:
        raise ValueError(f"{file}: not a list of Lucene postings: {error}") from None
    if ids[1:] != list(asins) or len(norm) != len(asins):
        raise ValueError(f"{file}: its {len(ids) - 1} documents are not the {len(asins)} products in their order")
    if np.any((values[:, 0] < 0) | (values[:, 0] >= len(asins))):
        raise ValueError(f"{file}: a document's number is not in 0 to {len(asins) - 1}")
    start = np.cumsum([0, *(len(line) - 1 for line in term_lines)])
    return Postings([line[0] for line in term_lines], start, values[:, 0].copy(), values[:, 1].copy(), norm, total)


def _product_file(path: Path) -> Path:
    try:
        if not path.exists():
            raise ValueError(f"{path}: no such file or directory")
        if not path.is_dir():
            return path
        next(path.iterdir(), None)  # `glob` would find nothing where nothing may be read
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror or error}") from None
    for name in (_SMALL, _FULL, "products*.jsonl", "products*.jsonl.gz"):
        found = _one_of(path, name)
        if found is not None:
            return found
    raise ValueError(f"{path}: no WebShop products here: neither {_SMALL} nor {_FULL} nor products*.jsonl(.gz)")


def _read_products(file: Path) -> list[Product]:
    """The products that count: by the official rules a repeated ASIN, "nan" and one that is too long do not."""
    folder = file.parent
    small = file.name != _FULL
    source = _one_of(folder, "items_ins_v2_1000.json" if small else "items_ins_v2.json")
    source = source or _one_of(folder, "items_ins_v2*.json")
    if source is None:
        raise ValueError(f"{folder}: no items_ins_v2*.json here: the products' attributes are missing")
    attributes, nouns = _entries(source, read_attributes), _entries(_one_of(folder, "title_nouns*.json"), texts)
    products: dict[str, Product] = {}
    without_nouns = 0
    for place, row in objects_of(file):
        try:
            asin = text(row, "asin")
            if not asin or asin == "nan" or len(asin) > _LONGEST_ASIN or asin in products:
                continue
            if asin.lower().upper() != asin:
                raise ValueError(f"the ASIN {asin!r} is not in upper case, as a click on a product takes it")
            known = nouns.get(asin)
            without_nouns += known is None
            products[asin] = read_product(
                row, attributes.get(asin, {}), likely_nouns(text(row, "name")) if known is None else known
            )
        except ValueError as error:
            raise ValueError(f"{place}: {error}") from None
    if not products:
        raise ValueError(f"{file}: no product in it")
    if without_nouns:
        _logger.warning(
            "%s: no title_nouns*.json for %d of %d products; the reward takes their titles' likely nouns",
            folder,
            without_nouns,
            len(products),
        )
    return list(products.values())


def _read_goals(file: Path, products: Sequence[Product]) -> list[Goal]:
    known = {product.asin: product for product in products}
    goals: list[Goal] = []
    for place, row in objects_of(file):
        try:
            product = known.get(text(row, "asin"))
            if product is None:
                raise ValueError(f"a goal for the unknown product {row['asin']}")
            options = row["goal_options"]
            wanted = (
                {each: text(options, each) for each in options}
                if isinstance(options, dict)
                else texts(row, "goal_options")
            )
            name, limit = f"synthetic-{len(goals)}", number(row, "price_upper")
            instruction, attributes = text(row, "instruction_text"), texts(row, "attributes")
            goals.append(make_goal(product, name, instruction, attributes, wanted, limit))
        except KeyError as error:
            raise ValueError(f"{place}: the goal has no {error}") from None
        except ValueError as error:
            raise ValueError(f"{place}: {error}") from None
    return goals


def _entries(file: Path | None, read: Callable[[Mapping[str, Any], str], T]) -> dict[str, T]:
    """What the JSON object in a file has of each product, as `read` takes it; nothing if there is no file."""
    values = {} if file is None else object_in(file)
    try:
        return {asin: read(values, asin) for asin in values}
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from None


def _one_of(folder: Path, pattern: str) -> Path | None:
    return next(iter(sorted(folder.glob(pattern))), None)
