"""What could be reached in a game of two seats whose payoffs are known: Pareto frontier, best total, Nash's product."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import inf

Payoffs = tuple[float, float]
"""What each seat gains over having no deal, in natural units."""


@dataclass(frozen=True, slots=True)
class References:
    """What the outcomes of a task are held against. `best_…` and `nash` look at what is a loss to nobody."""

    frontier: Sequence[Payoffs]
    """The outcomes that no other dominates, by rising payoff of the first seat."""
    best_own: Payoffs
    """The most that each seat can gain."""
    best_total: float
    """The most that both can gain together (of all outcomes)."""
    best_minimum: float
    """The most that the seat with less can gain (Rawls' optimum)."""
    best_product: float
    """The best product of gains (Nash, 1950)."""
    nash: Payoffs
    """Of each seat the least that it gains at a point of the best product."""

    @classmethod
    def of(cls, outcomes: Iterable[Payoffs]) -> References:
        """The references of a task from the payoffs of all its outcomes; no deal, (0, 0), is always one more."""
        frontier = pareto_frontier({(0, 0), *outcomes})
        gains = [point for point in frontier if min(point) >= 0]
        product = max(a * b for a, b in gains)
        nash = [point for point in gains if point[0] * point[1] == product]
        return cls(
            frontier=frontier,
            best_own=(max(a for a, _ in gains), max(b for _, b in gains)),
            best_total=max(a + b for a, b in frontier),
            best_minimum=max(map(min, gains)),
            best_product=product,
            nash=(min(a for a, _ in nash), min(b for _, b in nash)),
        )

    def nearest_better(self, payoffs: Payoffs) -> Payoffs | None:
        """Of the outcomes that dominate `payoffs` the nearest, by the sum of both seats' differences; None: Pareto."""
        nearest = None
        for i in range(bisect_left(self.frontier, (payoffs[0], -inf)), len(self.frontier)):
            point = self.frontier[i]
            if point[1] < payoffs[1]:
                break  # along the frontier the second payoff only falls
            if point != payoffs and (nearest is None or sum(point) < sum(nearest)):
                nearest = point
        return nearest


def share_lost(payoff: float, better: float) -> float:
    """How much of what a seat would have at a `better` outcome it lost, from 0 to 1."""
    if better <= 0:
        return float(better > payoff)
    return min(1.0, (better - payoff) / better)


def pareto_frontier(points: Iterable[Payoffs]) -> tuple[Payoffs, ...]:
    """The points that no other dominates, by rising first payoff."""
    frontier: list[Payoffs] = []
    best = -inf
    for point in sorted(points, reverse=True):
        if point[1] > best:
            frontier.append(point)
            best = point[1]
    return tuple(reversed(frontier))
