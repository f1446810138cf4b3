"""Puts the report together: reads the run, draws the charts, fills the template."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from agentgym.agents.run_files import CONFIG, REPORT
from agentgym.config import command_line
from agentgym.report import charts, curves, formatting, health, viewer
from agentgym.report.comparison import comparisons
from agentgym.report.credited import CreditedStep, credited_step
from agentgym.report.run_data import Metrics, RunData, read_run

MAX_BYTES = 2_000_000

_LIMITS = (
    viewer.Limits(groups=3, episodes=8, turns=32, characters=1500),
    viewer.Limits(groups=2, episodes=6, turns=20, characters=600),
    viewer.Limits(groups=1, episodes=4, turns=12, characters=200),
)
"""From generous to strict; the first with which a report stays under `MAX_BYTES` is used."""

_MULTIPLES: tuple[tuple[str, str, dict[str, bool]], ...] = (
    ("reward", "reward per episode", {}),
    ("turns/mean", "turns per episode", {}),
    ("entropy", "entropy per token", {"from_zero": True}),
    ("grad_norm", "gradient norm", {"from_zero": True}),
    ("frac_reward_zero_std", "groups without spread", {"as_percent": True, "from_zero": True}),
    ("invalid_action_rate", "invalid actions", {"as_percent": True, "from_zero": True}),
    ("kl", "KL to the reference", {"from_zero": True}),
    ("exploitability", "exploitability, policy of the step", {"from_zero": True}),
    ("exploitability/average", "exploitability, average policy so far", {"from_zero": True}),
)

_LEARNED = ("/loss", "/explained_variance", "/accuracy")
"""How the metrics end that tell how a signal learns: `critic/value_T/loss`."""
_OF_GAMES = ("reward/seat=", "success_rate/seat=", "outcome/")
"""How the metrics begin that games have besides."""


@dataclass(frozen=True)
class Multiple:
    """One of the small charts."""

    title: str
    change: str
    """From the first to the last value, in words."""
    svg: Markup | None
    """None without a finite value."""


def write_report(run_dir: Path) -> Path:
    """Write `report.html` into a run directory, from whatever the run has left there so far.

    The file is self-contained: no network, no other files. Raises `ValueError` in one line, naming the file
    (and line) that is at fault: a configuration that is missing, or anything that cannot be read.
    """
    run = read_run(run_dir)
    files = run.trajectory_files
    shown = [files[-1], *files[:1]] if len(files) > 1 else files
    steps = [credited_step(step_files) for step_files in shown]
    page = _common(run, steps)
    template = _environment().get_template("report.html.jinja")
    for limits in _LIMITS:
        content = template.render(page, **_viewer(steps, limits)).encode("utf-8", "replace")
        if len(content) <= MAX_BYTES:
            break
    path = run_dir / REPORT
    path.write_bytes(content)
    return path


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for filter_ in (
        formatting.percent,
        formatting.interval,
        formatting.points,
        formatting.signed,
        formatting.number,
        formatting.duration,
    ):
        environment.filters[filter_.__name__] = filter_
    return environment


def _common(run: RunData, steps: list[CreditedStep]) -> dict[str, Any]:
    """Everything but the trajectory viewer."""
    metrics = run.metrics
    success = curves.success_curve(metrics)
    return {
        "run": run,
        "model": Path(str(run.config.get("model", "model"))).name,
        "scheme": run.config.get("credit", "an unnamed scheme"),
        "facts": _facts(run),
        "comparisons": comparisons(run.evaluations),
        "curve": success,
        "learning_curves": _learning_curves(run, success) if len(metrics) else [],
        "steps_per_point": curves.steps_per_point(len(metrics)),
        "window": curves.smoothing_window(len(success.step)) * curves.steps_per_point(len(metrics)),
        "multiples": _multiples(metrics) if len(metrics) else [],
        "phases": _phases(metrics) if len(metrics) else [],
        "checks": health.checks(metrics, run.config),
        "stop_reasons": health.stop_reasons(metrics),
        "errors": health.errors(e.trajectory for step in steps for e in step.episodes),
        "config_rows": [(key, _in_yaml(value)) for key, value in run.config.items()],
        "command": command(run),
    }


def _viewer(steps: list[CreditedStep], limits: viewer.Limits) -> dict[str, Any]:
    panels = [viewer.step_panels(step, limits) for step in steps]
    of_game = any(panel.dialogues for step in panels for panel in step.panels)
    return {"steps": panels, "scale": viewer.advantage_scale(panels), "limits": limits, "of_game": of_game}


def _facts(run: RunData) -> list[tuple[str, str]]:
    """The run in a few numbers."""
    metrics, config = run.metrics, run.config
    facts = [
        ("training steps", formatting.number(len(metrics))),
        ("episodes", formatting.number(metrics.total("episodes"))),
        ("tokens trained on", formatting.number(metrics.total("tokens/trained"))),
        ("time in training", formatting.duration(metrics.total("step_time"))),
    ]
    names = {
        "group_size": "group size",
        "learning_rate": "learning rate",
        "lora_r": "LoRA rank",
        "seed": "seed",
    }
    return facts + [(label, _in_yaml(config[key])) for key, label in names.items() if key in config]


def _learning_curves(run: RunData, success: curves.Curve) -> list[tuple[str, Markup]]:
    """For wide and for narrow screens: text would be unreadable in a chart that shrinks."""
    env_id = run.config.get("env_id")
    of_env = [e for e in run.evaluations if e.env == env_id] or run.evaluations
    if len({e.seat for e in of_env}) > 1:  # the curve is of all seats alike
        of_env = []
    return [(name, charts.learning_curve(success, of_env, wide=name == "wide")) for name in ("wide", "narrow")]


def _multiples(metrics: Metrics) -> list[Multiple]:
    found = []
    of_signals: list[tuple[str, str, dict[str, bool]]] = [
        (name, name.replace("/", ", ").replace("_", " "), {}) for name in metrics.names("") if name.endswith(_LEARNED)
    ]
    of_games = [
        (name, name.replace("/", ", ").replace("_", " ").replace("seat=", "as "), {"as_percent": "success" in name})
        for prefix in _OF_GAMES
        for name in metrics.names(prefix)
    ]
    for name, title, options in (*_MULTIPLES, *of_games, *of_signals):
        if name in metrics:
            measured = Metrics([row for row in metrics.rows if name in row])  # some metrics are of every n-th step
            curve = curves.metric_curve(measured, name)
            form = partial(formatting.percent, digits=0) if options.get("as_percent") else formatting.number
            svg = None if curve.is_empty else charts.small_multiple(name, curve, **options)
            found.append(Multiple(title, " → ".join(form(value) for value in curve.ends), svg))
    return found + _seconds(metrics)


def _seconds(metrics: Metrics) -> list[Multiple]:
    phases = {name: curves.metric_curve(metrics, name) for name in metrics.names("time/")}
    if not phases:
        return []
    total = curves.metric_curve(metrics, "step_time")
    change = " → ".join(formatting.number(value) for value in total.ends)
    return [Multiple("seconds per step", change, charts.stacked_seconds("seconds", phases))]


def _phases(metrics: Metrics) -> list[tuple[str, str, str]]:
    """For the legend: each phase's name, colour and share of the time."""
    names = metrics.names("time/")
    whole = sum(metrics.total(name) for name in names)
    return [
        (
            name.partition("/")[2],
            colour.css,
            formatting.percent(metrics.total(name) / whole if whole else 0, 0),
        )
        for name, colour in zip(names, charts.PHASES, strict=False)
    ]


def _in_yaml(value: object) -> str:
    """A value of the configuration on one line."""
    text: str = yaml.safe_dump(value, default_flow_style=True, width=float("inf"), allow_unicode=True)
    return text.removesuffix("\n").removesuffix("\n...")


def command(run: RunData) -> str:
    """The command line that does the run again, in a directory of its own."""
    directory = run.run_dir
    again = directory.with_name(f"{directory.name}-again") if directory.name else Path("again")
    words = [str(directory / CONFIG), "--output_dir", str(again)]
    for key in ("overwrite_output_dir", "resume_from_checkpoint"):
        if run.config.get(key):
            words += [f"--{key}", "false"]
    return command_line(words, processes=run.n_processes)
