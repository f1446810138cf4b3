"""Tables for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table


def evaluation_table(results: Sequence[dict[str, Any]], *, label: str) -> Table:
    """Success rates with intervals, one row a result (`Evaluation.to_dict()`), headed by its key `label`."""
    panels = {result["panel_hash"] for result in results}
    caption = f"95 % Wilson intervals; panel {', '.join(sorted(panels))}"
    names = {result["env"] for result in results}
    table = Table(title=f"success rate in {', '.join(sorted(names))}", caption=caption, box=SIMPLE_HEAD)
    table.add_column(label, overflow="fold")
    if len(names) > 1:
        table.add_column("environment", overflow="fold")
    table.add_column("split")
    for name in ("episodes", "success", "95 % interval", "turns", "reward", "invalid"):
        table.add_column(name, justify="right", no_wrap=True)
    for result in results:
        env = (result["env"],) if len(names) > 1 else ()
        table.add_row(result[label], *env, result["split"], *_numbers(result))
        if len(result["by_task"]) > 1:
            for task, rate in result["by_task"].items():
                table.add_row(f"  {task}", *("" for _ in env), "", *_rate(rate), style="dim")
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
