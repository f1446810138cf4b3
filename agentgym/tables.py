"""Tables for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.table import Table


def evaluation_table(results: Sequence[dict[str, Any]], *, label: str) -> Table:
    """Success rates with intervals, one row a result (`Evaluation.to_dict()`), headed by its key `label`."""
    panels = {result["panel_hash"] for result in results}
    caption = f"95 % Wilson intervals; panel {', '.join(sorted(panels))}"
    table = Table(title="success on held-out tasks", caption=caption)
    table.add_column(label)
    table.add_column("environment")
    table.add_column("tasks")
    for name in ("episodes", "success", "95 % interval", "turns", "reward", "invalid actions"):
        table.add_column(name, justify="right")
    for result in results:
        row = (result[label], result["env"], f"{result['split']}, seed {result['seed']}")
        table.add_row(*row, *_numbers(result))
        if len(result["by_task"]) > 1:
            for task, rate in result["by_task"].items():
                table.add_row("", f"  {task}", "", *_rate(rate), style="dim")
    return table


def _rate(rate: dict[str, Any]) -> tuple[str, str, str]:
    low, high = rate["ci95"]
    return str(rate["episodes"]), f"{rate['success_rate']:.1%}", f"{low:.1%} to {high:.1%}"


def _numbers(result: dict[str, Any]) -> tuple[str, ...]:
    return (
        *_rate(result),
        f"{result['mean_turns']:.1f}",
        f"{result['mean_reward']:.2f}",
        f"{result['invalid_action_rate']:.1%}",
    )
