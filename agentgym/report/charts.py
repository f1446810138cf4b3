"""Curves as inline SVG whose colours are the page's CSS variables, so that they follow its theme.

matplotlib draws with stand-in colours, one for each variable, which are replaced in the SVG text.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

import matplotlib
import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from agentgym.report.curves import Curve
from agentgym.report.run_data import StageEvaluation
from agentgym.trainers.arrays import FloatArray


class Colour(StrEnum):
    """Stand-ins for the page's colours; the name is the CSS variable's."""

    INK = "#010203"
    MUTED = "#010204"
    LINE = "#010205"
    ACCENT = "#010206"
    BEFORE = "#010207"
    PHASE_1 = "#010208"
    PHASE_2 = "#010209"
    PHASE_3 = "#01020a"
    PHASE_4 = "#01020b"
    PHASE_5 = "#01020c"
    PHASE_6 = "#01020d"
    PHASE_7 = "#01020e"
    PHASE_8 = "#01020f"

    @property
    def css(self) -> str:
        """The variable, for a style sheet."""
        return f"var(--{self.name.lower().replace('_', '-')})"


PHASES = tuple(colour for colour in Colour if colour.name.startswith("PHASE_"))
"""As many as phases are told apart: rollout, credit, update, and five signals."""

_PX = 1 / 72
"""An SVG of matplotlib's has 72 units an inch: one unit is one CSS pixel at the size it is drawn for."""
_FONT_SIZE = 11
_STYLE = {
    "svg.fonttype": "none",  # text stays text
    "text.usetex": False,
    "text.parse_math": False,
    "font.size": _FONT_SIZE,
}


def learning_curve(curve: Curve, evaluations: Sequence[StageEvaluation], *, wide: bool) -> Markup:
    """Success of the training episodes over the steps, with the evaluations as points with error bars."""
    name = f"learning-{wide}"
    with _style(name):
        figure, axes = _figure(*((1040, 330) if wide else (380, 260)))
        if not curve.is_empty:
            assert curve.low is not None and curve.high is not None
            axes.fill_between(curve.step, curve.low, curve.high, color=Colour.ACCENT, alpha=0.16, lw=0)
            axes.plot(curve.step, curve.raw, ".", color=Colour.ACCENT, alpha=0.35, ms=5)
            axes.plot(curve.step, curve.smooth, color=Colour.ACCENT, lw=2)
        for evaluation in evaluations:
            _error_bar(axes, evaluation)
        _limit_steps(axes, [*curve.step, *(evaluation.step for evaluation in evaluations)])
        axes.set_ylim(-0.02, 1.02)
        axes.set_yticks([0, 0.25, 0.5, 0.75, 1])
        _format_axes(axes, as_percent=True, n_steps=8 if wide else 4)
        return _svg(figure)


def small_multiple(name: str, curve: Curve, *, as_percent: bool = False, from_zero: bool = False) -> Markup:
    """One metric over the steps."""
    with _style(name):
        figure, axes = _figure(250, 130)
        marker = "o" if len(curve.step) == 1 else "none"
        axes.plot(curve.step, curve.raw, color=Colour.ACCENT, alpha=0.35, lw=1, marker=marker, ms=5)
        axes.plot(curve.step, curve.smooth, color=Colour.ACCENT, lw=1.75)
        _limit_steps(axes, curve.step)
        if from_zero:
            highest = float(np.nanmax(curve.raw, initial=0))
            axes.set_ylim(0, 1.08 * highest if highest > 0 else 1)
        axes.yaxis.set_major_locator(MaxNLocator(3))
        _format_axes(axes, as_percent=as_percent, n_steps=3)
        return _svg(figure)


def stacked_seconds(name: str, phases: Mapping[str, Curve]) -> Markup:
    """Seconds by phase, one on top of the other, one bar a point."""
    with _style(name):
        figure, axes = _figure(250, 130)
        base: FloatArray | None = None
        for colour, curve in zip(PHASES, phases.values(), strict=False):
            edges = _edges(curve.step)
            base = np.zeros_like(curve.step) if base is None else base
            top = base + np.nan_to_num(curve.raw)
            axes.stairs(top, edges, baseline=base, fill=True, color=colour, lw=0)
            base = top
        axes.yaxis.set_major_locator(MaxNLocator(3))
        axes.set_ylim(bottom=0)
        _format_axes(axes, as_percent=False, n_steps=3)
        return _svg(figure)


def _error_bar(axes: Any, evaluation: StageEvaluation) -> None:
    rate, (low, high) = evaluation.success_rate, evaluation.ci95
    if not np.isfinite(rate):
        return
    colour = Colour.BEFORE if evaluation.stage == "before" else Colour.INK
    bars = [[max(0.0, rate - low)], [max(0.0, high - rate)]]
    axes.errorbar([evaluation.step], [rate], yerr=bars, fmt="D", ms=6, lw=2, capsize=4, capthick=2, color=colour)


def _edges(step: FloatArray) -> FloatArray:
    """Where the bars of points at these steps begin, and the end."""
    if len(step) == 1:
        return np.array([step[0] - 0.5, step[0] + 0.5])
    between = (step[1:] + step[:-1]) / 2
    return np.array([2 * step[0] - between[0], *between, 2 * step[-1] - between[-1]])


def _limit_steps(axes: Any, steps: Sequence[float] | FloatArray) -> None:
    """Room at both ends, so that error bars and single points are whole."""
    first, last = (min(steps), max(steps)) if len(steps) else (0, 1)
    room = max(0.02 * (last - first), 0.4)
    axes.set_xlim(first - room, last + room)


def _figure(width: int, height: int) -> tuple[Figure, Any]:
    figure = Figure(figsize=(width * _PX, height * _PX))
    left, right, bottom, top = 44, 6, 22, 8
    box = (left / width, bottom / height, 1 - (left + right) / width, 1 - (bottom + top) / height)
    return figure, figure.add_axes(box)


def _format_axes(axes: Any, *, as_percent: bool, n_steps: int) -> None:
    axes.patch.set_visible(False)
    axes.figure.patch.set_visible(False)
    for side in ("left", "right", "top"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(Colour.LINE)
    axes.grid(axis="y", color=Colour.LINE, lw=1)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, labelsize=_FONT_SIZE, labelcolor=Colour.MUTED, pad=5)
    axes.xaxis.set_major_locator(MaxNLocator(n_steps, integer=True, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.yaxis.set_major_formatter(FuncFormatter(_percent_tick if as_percent else _number_tick))


def _percent_tick(value: float, _: int) -> str:
    return f"{100 * value:.3g} %"


def _number_tick(value: float, _: int) -> str:
    return f"{value:,.4g}"


def _style(name: str) -> Any:
    """matplotlib's settings while one chart is drawn. The name keeps the ids of charts apart."""
    return matplotlib.rc_context({**_STYLE, "svg.hashsalt": name})


def _svg(figure: Figure) -> Markup:
    """The figure as an `<svg>` element for an HTML page."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>|<style.*?</style>", "", text, flags=re.DOTALL)
    text = re.sub(r' (?:width|height)="[\d.]+pt"', "", text, count=2)
    text = re.sub(r'<g id="[^"]*"', "<g", text)
    for colour in Colour:
        text = text.replace(colour.value, colour.css)
    return Markup(re.sub(r"\n\s*", "\n", text))
