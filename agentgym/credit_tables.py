"""What credit schemes give, and what they are, as tables for the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from agentgym.credit_command import Comparison
from agentgym.trainers.arrays import FloatArray
from agentgym.trainers.batch import TurnBatch
from agentgym.trainers.credit import Scheme

if TYPE_CHECKING:
    from agentgym.trainers.losses import Loss  # which needs torch

_SEPARATION = 2
"""Characters between two columns."""
_OBSERVATION = range(12, 41)
"""How many characters of an observation are shown."""


# What schemes give ----------------------------------------------------------------------------------------


def comparison_tables(comparison: Comparison, width: int) -> Iterator[Table]:
    """A row a turn and a column a scheme, in as many tables as it takes for `width` characters."""
    batch = comparison.batch
    trajectory_T = np.array(comparison.trajectory_N, dtype=np.int64)[batch.trajectory_T]
    first = {
        "turn": [f"{i}/{t}" for i, t in zip(trajectory_T.tolist(), batch.turn_index_T.tolist(), strict=True)],
        "group": [str(group) for group in batch.group_T.tolist()],
        "reward": _numbers(batch.reward_T),
    }
    schemes = {_heading(name): _numbers(advantage_T) for name, advantage_T in comparison.advantage_T.items()}
    observations = [Text(piece) for piece in _pieces(batch)]
    free = width - 2 - sum(map(_width, first, first.values()))
    for headings in _fitting(schemes, free - _SEPARATION - _OBSERVATION.start):
        left = free - _SEPARATION - sum(_width(heading, schemes[heading]) for heading in headings)
        table = Table(box=SIMPLE_HEAD, padding=(0, _SEPARATION - 1, 0, 0))
        table.add_column("turn", justify="right", no_wrap=True)
        table.add_column("group", justify="right", no_wrap=True)
        table.add_column("observation", max_width=min(left, _OBSERVATION[-1]), no_wrap=True, overflow="ellipsis")
        for heading in ("reward", *headings):
            table.add_column(heading, justify="right", no_wrap=True)
        columns = [first["turn"], first["group"], observations, first["reward"], *map(schemes.__getitem__, headings)]
        for row in zip(*columns, strict=True):
            table.add_row(*row)
        yield table


def _fitting(columns: Mapping[str, Sequence[str]], width: int) -> Iterator[list[str]]:
    """The columns' headings in portions that fit into `width`; one alone may be wider."""
    portion: list[str] = []
    for heading in columns:
        if portion and sum(_width(name, columns[name]) for name in [*portion, heading]) > width:
            yield portion
            portion = []
        portion.append(heading)
    if portion:
        yield portion


def _width(heading: str, cells: Sequence[str]) -> int:
    return max(map(len, [*heading.split("\n"), *cells])) + _SEPARATION


def _heading(name: str) -> str:
    """A scheme's name, broken where it has an underscore so that its column is narrow."""
    lines = [""]
    for part in name.replace("_", "_ ").split():
        if lines[-1] and len(lines[-1] + part) > 10:
            lines.append("")
        lines[-1] += part
    return "\n".join(lines)


def _numbers(values: FloatArray) -> list[str]:
    """The numbers with the same number of decimals, at most three where that suffices to tell them from 0."""
    largest = float(np.abs(values).max(initial=0.0))
    if largest and not 0.01 <= largest < 1e6:
        return [f"{value:.2e}" for value in values.tolist()]
    decimals = next((d for d in range(3) if np.abs(values - values.round(d)).max(initial=0.0) < 1e-9), 3)
    return [f"{value:.{decimals}f}" for value in (values.round(decimals) + 0.0).tolist()]  # -0.0 + 0.0 is 0.0


def _pieces(batch: TurnBatch) -> list[str]:
    """The beginning of each turn's observation in one line; its state's number where observations are no texts."""
    if batch.observation_T is None:
        return [f"state {state}" for state in batch.state_T] if batch.state_T is not None else [""] * batch.n_turns
    longest = _OBSERVATION[-1] + 1  # one more, to be cut off visibly
    starts = (" ".join(text[: 10 * longest].split())[:longest] for text in batch.observation_T)
    return ["".join(c if c.isprintable() else "·" for c in start) for start in starts]


# What schemes are -----------------------------------------------------------------------------------------


def scheme_tables(schemes: Sequence[Scheme]) -> Iterator[Table]:
    """A table of the schemes of each kind, with parameters and their defaults.

    Below each need stands whether training provides it; "no" asks for a signal of one's own, or for a file.
    """
    from agentgym.trainers.signals.plan import provision  # which needs torch

    for family in families(schemes):
        table = _list(family, "scheme", "needs; in training?")
        for scheme in schemes:
            if scheme.family == family:
                needs = [f"{need}\n  {provision(need)}" for need in scheme.needs]
                _add(table, scheme, scheme.granularity, "\n".join(needs))
        yield table


def families(schemes: Sequence[Scheme]) -> list[str]:
    """The schemes' families, those with fewest needs first."""
    fewest: dict[str, int] = {}
    for scheme in schemes:
        fewest[scheme.family] = min(len(scheme.needs), fewest.get(scheme.family, len(scheme.needs)))
    return sorted(fewest, key=lambda family: (fewest[family], family))


def loss_table(losses: Sequence[Loss]) -> Table:
    """The losses, with the ratio and the aggregation of their papers."""
    table = _list("Losses and what is added to them, for any scheme", "loss", "ratio, mean")
    for loss in losses:
        _add(table, loss, loss.kind, f"{loss.ratio}\n{loss.aggregation}" if loss.kind == "policy" else "")
    return table


def _list(title: str, first: str, second: str) -> Table:
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for heading in (first, second):  # as wide as the longest name and the longest need, so that all tables look alike
        table.add_column(heading, width=22, overflow="fold")
    table.add_column("parameters and their defaults", overflow="fold")
    return table


def _add(table: Table, entry: Scheme | Loss, kind: str, middle: str) -> None:
    head = Text.assemble((entry.name, "bold"), f"\n{kind}\n", (entry.paper, "dim"))
    parameters = ", ".join(f"{p.name}={p.default}" for p in entry.parameters.values())
    table.add_row(head, Text(middle), Text(parameters), end_section=True)
