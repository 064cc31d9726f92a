"""Plots as SVG text to stand inside a page: equal data gives equal text, on light and on dark.

Words and axes take the page's own colour; the colours of data are of middle lightness. Nothing of
what is plotted is read as markup, neither as SVG nor as a formula between dollar signs.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from counterflow.bench.stats import Interval

COLOURS = ("#3b82c4", "#e08a2e", "#3aa17e", "#b765b0", "#c9524a", "#7f8894", "#8a7a2f", "#5f6fd0")
MARKERS = "osD^vPX*"
SCALE = 1.45
"""Pixels of a page to a point of a plot, at most."""
INK = "#010203"
"""Stands for the page's colour of text: no colour of data is so dark."""

STYLE: Any = {  # matplotlib types every key by name
    "svg.hashsalt": "counterflow",
    "svg.fonttype": "path",
    "text.parse_math": False,
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.6,
    "axes.axisbelow": True,
    "xtick.color": INK,
    "ytick.color": INK,
    "text.color": INK,
    "legend.frameon": False,
    "grid.color": INK,
    "grid.alpha": 0.13,
    "grid.linewidth": 0.6,
}


@dataclass(frozen=True)
class Point:
    """A named point with an interval in both directions."""

    label: str
    x: Interval
    y: Interval


def scatter(points: Sequence[Point], x_label: str, y_label: str) -> str:
    """Points with their intervals as crosses. A point without both means is left out."""
    with mpl.rc_context(STYLE):
        figure, axes = _axes(7.6, 4.2)
        axes.grid(True)
        for i, point in enumerate(points):
            if point.x.estimate is None or point.y.estimate is None:
                continue
            axes.errorbar(
                [point.x.estimate],
                [point.y.estimate],
                xerr=_reach([point.x]),
                yerr=_reach([point.y]),
                fmt=MARKERS[i % len(MARKERS)],
                color=_colour(i),
                label=point.label,
                markersize=7,
                elinewidth=1.4,
            )
        axes.set(xlabel=x_label, ylabel=y_label)
        axes.margins(0.12)
        _legend(figure, len(points))
        return svg(figure, f"{y_label} against {x_label}")


def bars(
    groups: Sequence[str],
    series: Sequence[tuple[str, Sequence[Interval]]],
    label: str,
    top: float | None = None,
) -> str:
    """For each group a bar of each series, with its interval; no bar where there is no mean."""
    with mpl.rc_context(STYLE):
        figure, axes = _axes(9.6, 3.6)
        axes.grid(True, axis="y")
        width = 0.82 / max(1, len(series))
        for i, (name, intervals) in enumerate(series):
            where = np.arange(len(groups)) + (i - (len(series) - 1) / 2) * width
            means = [np.nan if it.estimate is None else it.estimate for it in intervals]
            axes.bar(where, means, width * 0.9, color=_colour(i), label=name)
            reach = _reach(intervals)
            axes.errorbar(where, means, reach, fmt="none", elinewidth=0.9, ecolor=INK, alpha=0.75)
        axes.set_xticks(range(len(groups)), [name.replace(" ", "\n") for name in groups])
        axes.tick_params(axis="x", length=0)
        axes.set_ylabel(label)
        axes.set_ylim(0, top)
        _legend(figure, len(series))
        return svg(figure, f"{label} by group")


Panel = tuple[str, Sequence[tuple[str, Sequence[Interval]]]]
"""A label, and series of intervals by name."""


def lines(xs: Sequence[float], x_label: str, panels: Sequence[Panel]) -> str:
    """Beside one another, each panel's series over the same values, with their intervals."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(3.3 * len(panels) + 1.0, 3.0), layout="constrained")
        FigureCanvasSVG(figure)
        for axes, (label, series) in zip(
            figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True
        ):
            axes.grid(True)
            for i, (name, intervals) in enumerate(series):
                means = [np.nan if it.estimate is None else it.estimate for it in intervals]
                axes.errorbar(
                    xs,
                    means,
                    yerr=_reach(intervals),
                    marker=MARKERS[i % len(MARKERS)],
                    color=_colour(i),
                    label=name or None,
                    markersize=5,
                    elinewidth=1.2,
                )
            axes.set(xlabel=x_label, ylabel=label)
            axes.margins(y=0.15)
            if len(series) > 1:
                axes.legend()
        return svg(figure, f"{', '.join(label for label, _ in panels)} against {x_label}")


def rows(names: Sequence[str], intervals: Sequence[Interval], label: str) -> str:
    """A horizontal bar for each name, the first on top, with its mean written beside it."""
    with mpl.rc_context(STYLE):
        figure, axes = _axes(7.6, 0.7 + 0.36 * len(names))
        axes.grid(True, axis="x")
        means = [np.nan if it.estimate is None else it.estimate for it in intervals]
        colours = [_colour(i) for i in range(len(names))]
        drawn_bars = axes.barh(range(len(names)), means, 0.62, color=colours)
        written = ["" if it.estimate is None else f"{it.estimate:.4g}" for it in intervals]
        axes.bar_label(drawn_bars, written, padding=5)
        axes.set_yticks(range(len(names)), list(names))
        axes.tick_params(axis="y", length=0)
        axes.invert_yaxis()
        axes.margins(x=0.1)
        axes.set_xlabel(label)
        return svg(figure, label)


@dataclass(frozen=True)
class Priced:
    """A named value with its interval, and what it costs."""

    label: str
    cost: float
    value: Interval
    best: bool
    """Whether it lies on the front."""


def fronts(panels: Sequence[tuple[str, Sequence[Priced]]]) -> str:
    """Values over costs, a panel for each; the front as steps, its points named in full ink.

    What has the same name is joined by a line and, but for the front, named at its dearest.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.6, 4.4 * len(panels)), layout="constrained")
        FigureCanvasSVG(figure)
        drawn = figure.subplots(len(panels), 1, squeeze=False)[:, 0]
        for axes, (name, points) in zip(drawn, panels, strict=True):
            axes.grid(True)
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
            axes.xaxis.set_minor_formatter(lambda value, _: f"{value:g}")
            there = [p for p in points if p.value.estimate is not None]
            named = {point.label: point for point in sorted(there, key=lambda p: p.cost)}
            for label in named:
                own = sorted((p.cost, p.value.estimate) for p in there if p.label == label)
                axes.plot(*zip(*own, strict=True), color=COLOURS[5], linewidth=0.6, alpha=0.5)
            for point in there:
                shade = COLOURS[1] if point.best else COLOURS[5]
                axes.errorbar(
                    [point.cost],
                    [point.value.estimate],
                    yerr=_reach([point.value]),
                    fmt="o",
                    color=shade,
                    markersize=5 if point.best else 3.5,
                    elinewidth=0.8,
                )
                if not point.best and named[point.label] is not point:
                    continue
                axes.annotate(
                    point.label,
                    (point.cost, point.value.estimate or 0.0),
                    xytext=(4, 3),
                    textcoords="offset points",
                    fontsize=8 if point.best else 6.5,
                    alpha=1 if point.best else 0.75,
                )
            line = sorted((p.cost, p.value.estimate) for p in there if p.best)
            if line:
                end = max(p.cost for p in there)
                xs, ys = [*(x for x, _ in line), end], [*(y for _, y in line), line[-1][1]]
                axes.step(xs, ys, where="post", color=COLOURS[1], linewidth=1)
            axes.set(xlabel="forwards per edit", ylabel=name)
            axes.margins(0.08)
        return svg(figure, f"{', '.join(label for label, _ in panels)} over forwards")


def svg(figure: Figure, title: str) -> str:
    """A figure as one SVG element that scales with the page; `title` is read to who cannot see."""
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(buffer, format="svg", transparent=True, bbox_inches="tight", metadata=nothing)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    box = re.search(r'viewBox="0 0 ([\d.]+) [^"]*"', text)
    if box is None:
        raise RuntimeError("matplotlib drew an SVG without a viewBox")
    size = f'{box[0]} style="max-width: {float(box[1]) * SCALE:.0f}px"'
    space = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    head = f'<svg {size} {space} role="img" aria-label="{escape(title)}">'
    text = head + text[text.index(">") + 1 :].strip()
    text = text.replace(INK, "currentColor")
    # Several drawings share a page, and each numbers its parts from 1.
    own = re.sub(r"\W+", "-", title.lower())
    return re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{own}-", text)


def alone(drawn: str) -> str:
    """An SVG element of `svg` as a file of its own: dark ink on white, whatever page shows it."""
    head, _, rest = drawn.partition(">")
    return f'{head} color="#222222"><rect width="100%" height="100%" fill="#ffffff"/>{rest}\n'


def _axes(width: float, height: float) -> tuple[Figure, Axes]:
    """An empty figure of so many inches. It needs no pyplot, so there is no global state."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasSVG(figure)
    return figure, figure.subplots()


def _legend(figure: Figure, count: int) -> None:
    if count > 1:
        figure.legend(loc="outside upper left", ncols=min(4, count))


def _reach(intervals: Sequence[Interval]) -> Any:
    """How far bounds lie below and above the means, `[2, n]`; 0 where there are none."""
    return np.transpose(
        [
            (0.0, 0.0)
            if it.estimate is None or it.low is None or it.high is None
            else (max(0.0, it.estimate - it.low), max(0.0, it.high - it.estimate))
            for it in intervals
        ]
    )


def _colour(number: int) -> str:
    return COLOURS[number % len(COLOURS)]
