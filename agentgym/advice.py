"""What a run's metrics say that its user must hear: that most of what is played teaches nothing, or is lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping

_ABOVE_A_HALF = {
    "groups/without_spread": (
        "{share:.0%} of the groups have no difference of reward, so that a scheme that compares siblings learns "
        "nothing from them: take easier or harder tasks, more episodes a group, or group_filter: spread"
    ),
    "episodes/lost": (
        "the environment failed {share:.0%} of the episodes twice; they are in no rate and not learned from: the "
        "warnings say why"
    ),
}
"""The metric, a share → what is said when it is above a half."""


class Advice:
    """Says so when a share first passes a half, and at the end where it was above in most steps."""

    def __init__(self, say: Callable[[str], None], *, group_size: int):
        """Groups of one have no spread, and nothing is said of that: whoever makes them compares no siblings."""
        self._say = say
        self._words = {k: v for k, v in _ABOVE_A_HALF.items() if group_size > 1 or k != "groups/without_spread"}
        self._steps = 0
        self._above: Counter[str] = Counter()

    def hear(self, metrics: Mapping[str, float]) -> None:
        """Take in the metrics of a step."""
        self._steps += 1
        for name, words in self._words.items():
            if metrics[name] > 0.5:
                self._above[name] += 1
                if self._above[name] == 1:
                    self._say(f"step {metrics['step']:.0f}: {words.format(share=metrics[name])}")

    def conclude(self) -> None:
        """Say what was so in most steps."""
        for name, steps in self._above.items():
            if steps > self._steps / 2 and self._steps > 1:
                self._say(f"in {steps} of {self._steps} steps {name} was above a half: little can have been learned")
