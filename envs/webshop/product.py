"""What a shop sells and what it is asked for: `Product` and `Goal`, and the official rules for reading a product."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agentgym.envs.storable import storable

NO_PRICE = 100.0
"""What a product costs that has no price in the data (official rule)."""

NO_ATTRIBUTES = ("DUMMY_ATTR",)
"""The attributes of a product that the attribute file does not know (official rule)."""

_NOT_A_NUMBER = re.compile(r"[^\d.]")


@dataclass(frozen=True, slots=True, eq=False)
class Product:
    """A product as the shop shows it and as the reward sees it."""

    asin: str
    """Its name in the catalogue, in upper case; never empty."""
    title: str
    description: str
    features: tuple[str, ...]
    """The bullet points, in order."""
    prices: tuple[float, ...]
    """One price, or the lowest and the highest, in dollars."""
    options: Mapping[str, tuple[str, ...]]
    """Values by option name, both in lower case, in the order of the page."""
    attributes: tuple[str, ...]
    """What the reward knows of it beyond its texts. Never shown."""
    category: str
    """The department: one of WebShop's five in genuine data."""
    query: str
    """The search by which the data's makers found it, in lower case."""
    product_category: str
    """Its path in the shop's tree, such as "Home & Kitchen › Bedding"."""
    nouns: tuple[str, ...]
    """The nouns of the title in order, lower case, repeats kept: what the reward compares titles by."""
    instruction: str | None = None
    """The text from which synthetic goals for it are made, if there is one."""
    instruction_attributes: tuple[str, ...] = ()
    """The attributes that such a goal asks for."""

    @property
    def price_tag(self) -> str:
        """The price as the shop shows it."""
        return " to ".join(f"${price}" for price in self.prices)

    @property
    def search_text(self) -> str:
        """What the search engine knows of it: title, description, first bullet point and options."""
        options = ", and ".join(f"{name}: {', '.join(values)}" for name, values in self.options.items())
        first = self.features[0] if self.features else ""
        return " ".join((self.title, self.description, first, options)).lower()


@dataclass(frozen=True, slots=True)
class Goal:
    """What is to be bought."""

    id: str
    """Names the goal within its data set."""
    asin: str
    """The product from which it was made; another one may do as well."""
    instruction: str
    attributes: tuple[str, ...]
    options: Mapping[str, str] | tuple[str, ...]
    """Values by option name in synthetic goals, plain values in human ones."""
    price_upper: float
    """The most that it may cost, in dollars."""
    category: str
    query: str
    product_category: str
    nouns: tuple[str, ...]
    """The nouns of the title of `asin`."""


def read_product(row: Mapping[str, Any], attributes: Mapping[str, Any], nouns: Sequence[str]) -> Product:
    """A product from a row of the official product file and its entry in the attribute file.

    `attributes` as from `read_attributes`. Raises `ValueError` with the reason, without the place, for a row that the
    official rules cannot read.
    """
    wanted = attributes.get("instruction_attributes", ())
    instruction = attributes.get("instruction")
    features = row.get("small_description")
    if instruction is not None and not wanted:
        raise ValueError(f"product {text(row, 'asin')} has an instruction without instruction_attributes")
    return Product(
        asin=text(row, "asin"),
        title=text(row, "name"),
        description=text(row, "full_description"),
        features=tuple(storable(str(feature)) for feature in features)
        if isinstance(features, list)
        else (text(row, "small_description"),),
        prices=read_prices(row),
        options=_options(row),
        attributes=attributes.get("attributes", NO_ATTRIBUTES),
        category=text(row, "category"),
        query=text(row, "query").lower().strip(),
        product_category=text(row, "product_category"),
        nouns=tuple(nouns),
        instruction=instruction,
        instruction_attributes=wanted,
    )


def read_attributes(entries: Mapping[str, Any], asin: str) -> dict[str, Any]:
    """What the official attribute file says of a product, checked: without what is null.

    Raises `ValueError` with the reason, without the place.
    """
    if not isinstance(entries[asin], dict):
        raise ValueError(f"{asin!r} is no JSON object: {entries[asin]!r:.40}")
    entry = {"asin": asin} | entries[asin]
    readers = {"attributes": texts, "instruction": text, "instruction_attributes": texts}
    return {key: read(entry, key) for key, read in readers.items() if entry.get(key) is not None}


def text(row: Mapping[str, Any], key: str) -> str:
    """The text under `key`. Raises `ValueError` if there is none."""
    value = row.get(key)
    if not isinstance(value, str):
        raise ValueError(_wrong(row, key, "text"))
    return storable(value)


def texts(row: Mapping[str, Any], key: str) -> tuple[str, ...]:
    """The list of texts under `key`. Raises `ValueError` if there is none."""
    values = row.get(key)
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise ValueError(_wrong(row, key, "list of texts"))
    return tuple(map(storable, values))


def number(row: Mapping[str, Any], key: str) -> float:
    """The number under `key`. Raises `ValueError` if there is none."""
    value = row.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e300:
        raise ValueError(_wrong(row, key, "number"))
    return float(value)


def _wrong(row: Mapping[str, Any], key: str, expected: str) -> str:
    which = f" of product {row['asin']}" if key != "asin" and "asin" in row else ""
    value = row.get(key)
    return f"no {key!r}{which}" if value is None else f"{key!r}{which} is no {expected}: {value!r:.40}"


def read_prices(row: Mapping[str, Any]) -> tuple[float, ...]:
    """The price or the two ends of its range, from "$19.99" or "$5.00$19.99"; `NO_PRICE` where there is none."""
    pricing = row.get("pricing")
    if not pricing:
        return (NO_PRICE,)
    try:
        prices = tuple(float(_NOT_A_NUMBER.sub("", part)) for part in pricing.split("$")[1:])
    except (ValueError, AttributeError):
        prices = ()
    if not prices:
        raise ValueError(
            f"product {row.get('asin')} has no price in {pricing!r:.40}: write '$19.99', '$5.00$19.99', "
            f"or '' for the official default of ${NO_PRICE}"
        )
    return prices[:2]


def _options(row: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Option names and values in lower case; blanks around a value go, and "/" becomes " | "."""
    groups = row.get("customization_options") or {}
    try:
        return {
            storable(name).lower(): tuple(
                storable(value["value"]).strip().replace("/", " | ").lower() for value in values
            )
            for name, values in groups.items()
            if values is not None
        }
    except (AttributeError, KeyError, TypeError):
        reason = "expected lists of {'value': text} by option name"
        raise ValueError(f"product {row.get('asin')} has bad customization_options: {reason}") from None
