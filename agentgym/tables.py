"""Tables for the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from statistics import fmean
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Column, Table

from agentgym.agents.evaluation import mean_interval


def evaluation_tables(results: Sequence[dict[str, Any]], *, label: str) -> Iterator[Table]:
    """Tables of success rates for each environment, a row a result (`Evaluation.to_dict()`) headed by its `label`.

    Where there are several kinds of tasks, or partners that were drawn, further tables have the rates by kind and by
    partner. Of several agents with several partners a matrix says what each earns of each.
    """
    for env, of_env in groupby(results, key=lambda result: str(result["env"])):
        of_this = list(of_env)
        yield _table(env, of_this, label)
        if any(len(result["by_task"]) > 1 for result in of_this):
            yield _table_by(of_this, label, "by_task", "task type")
        if drawn := [result for result in of_this if len(result.get("by_partner", ())) > 1]:
            yield _table_by(drawn, label, "by_partner", "partner met")
        seated = [result for result in of_this if result.get("seat")]
        if label == "agent" and len({r["agent"] for r in seated}) * len({r["partner"] for r in seated}) > 1:
            yield cross_play_table(seated)


def _table(env: str, results: list[dict[str, Any]], label: str) -> Table:
    panels = sorted({f"{r['split']} from seed {r['seed']}, panel {r['panel_hash']}" for r in results})
    names = _named(results, label)
    table = Table(title=env, caption="; ".join(panels), box=SIMPLE_HEAD)
    for name in names:
        table.add_column(name, overflow="fold", min_width=min(11, max(len(str(r.get(name, ""))) for r in results)))
    if len(names) == 1:
        means = _means
    else:  # in 80 columns there is no room for all
        means = _reward_and_score if any(result["mean_score"] is not None for result in results) else _reward
    rate = _rate if len(names) == 1 else _short_rate
    for name in (*rate(results[0]), *means(results[0])):
        table.add_column(name, justify="right", no_wrap=True)
    for result in results:
        table.add_row(*_names(result, names), *rate(result).values(), *means(result).values())
    return table


def _table_by(results: list[dict[str, Any]], label: str, key: str, head: str) -> Table:
    names = [name for name in _named(results, label) if key != "by_partner" or name != "partner"]
    table = Table(Column(head, overflow="fold"), *(Column(name, overflow="fold") for name in names), box=SIMPLE_HEAD)
    rate = _rate if len(names) == 1 else _short_rate
    for name in rate(results[0]):
        table.add_column(name, justify="right", no_wrap=True)
    for kind in dict.fromkeys(kind for result in results for kind in result.get(key, ())):
        for result in results:
            if kind in result.get(key, ()):
                table.add_row(kind, *_names(result, names), *rate(result[key][kind]).values())
    return table


def cross_play_table(results: Sequence[dict[str, Any]]) -> Table:
    """What each agent (row) earns of each partner (column) on average over its seats, with Student's 95 % intervals.

    `results`: of one environment and one panel. An episode in one seat and that of the same task in another are one
    observation; tasks that failed in any seat are left out.
    """
    partners = list(dict.fromkeys(result["partner"] for result in results))
    table = Table(
        Column("agent \\ partner", overflow="fold"),
        *(Column(partner, overflow="fold", justify="right") for partner in partners),
        title="reward per episode ± 95 %",
        box=SIMPLE_HEAD,
    )
    for agent in dict.fromkeys(result["agent"] for result in results):
        cells = []
        for partner in partners:
            of_seats = [r["rewards"] for r in results if (r["agent"], r["partner"]) == (agent, partner)]
            tasks = [fmean(task) for task in zip(*of_seats, strict=True) if None not in task]
            low, high = mean_interval(tasks) or (float("nan"), float("nan"))
            cells.append(f"{fmean(tasks):.2f} ± {(high - low) / 2:.2f}" if tasks else "–")
        table.add_row(agent, *cells)
    return table


def _named(results: Sequence[dict[str, Any]], label: str) -> list[str]:
    """The columns that say whose result it is."""
    return [label, *(key for key in ("seat", "partner") if any(result.get(key) for result in results))]


def _names(result: dict[str, Any], names: Sequence[str]) -> list[str]:
    return [str(result.get(name, "")) for name in names]


def _rate(rate: dict[str, Any]) -> dict[str, str]:
    low, high = rate["ci95"]
    return {
        "episodes": str(rate["episodes"]),
        "success": f"{rate['success_rate']:.1%}",
        "95 % interval": f"{low:.1%} to {high:.1%}",
    }


def _short_rate(rate: dict[str, Any]) -> dict[str, str]:
    low, high = rate["ci95"]
    return {
        "tasks": str(rate["episodes"]),
        "success (95 %)": f"{rate['success_rate']:.1%} ({100 * low:.1f}–{100 * high:.1f})",
    }


def _means(result: dict[str, Any]) -> dict[str, str]:
    return {
        "turns": f"{result['mean_turns']:.1f}",
        "reward": f"{result['mean_reward']:.2f}",
        "invalid": f"{result['invalid_action_rate']:.1%}",
    }


def _reward(result: dict[str, Any]) -> dict[str, str]:
    return {"reward": f"{result['mean_reward']:.2f}"}


def _reward_and_score(result: dict[str, Any]) -> dict[str, str]:
    score = result["mean_score"]
    return _reward(result) | {"score": "–" if score is None else f"{score:.2f}"}
