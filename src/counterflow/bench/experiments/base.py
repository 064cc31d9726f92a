"""What an experiment is: questions put to every case, and what their answers amount to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from counterflow.bench import plots
from counterflow.bench.cases import Case
from counterflow.bench.engine import Figures
from counterflow.bench.page import Column, Row, Section, Table
from counterflow.bench.stats import Interval, mean_interval, paired_difference
from counterflow.edit.settings import EditSettings, InvertSettings

MARGIN = 0.05
"""A share of edits that counts as no loss: "equal success" means less than this below."""
NOTES = ("In brackets: 95 % intervals, by bootstrap over cases.",)
FEWEST = 10
"""Cases, or pairs of them, without which nothing is decided."""


@dataclass(frozen=True)
class Query:
    """An edit of a case, or with `edit` None a reconstruction of it, compensated or not."""

    invert: InvertSettings
    edit: EditSettings | None = None
    compensated: bool | None = None


@dataclass(frozen=True)
class Experiment:
    """Queries by label, the cases they are put to, and a section made of the answers."""

    name: str
    title: str
    choose: Callable[[Sequence[Case], int], list[Case]]
    """Of the benchmark's cases in turn, those for a sample size."""
    queries: Callable[[int], dict[str, Query]]
    """Given the number of steps."""
    conclude: Callable[[Answers], Section]


@dataclass(frozen=True)
class Answers:
    """The figures of each case and label."""

    cases: Sequence[Case]
    figures: Mapping[tuple[str, str], Figures]
    """By case and label."""
    steps: int

    def column(self, label: str, figure: str, category: str | None = None) -> list[float | None]:
        """A figure of every case, or of those of a category; None where there is none."""
        return [
            self.figures.get((case.name, label), {}).get(figure)
            for case in self.cases
            if category in (None, case.category)
        ]

    def mean(self, label: str, figure: str, category: str | None = None) -> Interval:
        """Its mean over cases."""
        return mean_interval(self.column(label, figure, category))

    def difference(
        self, label: str, other: str, figure: str, category: str | None = None
    ) -> Interval:
        """How much higher a figure is under one label than under another, case by case."""
        return paired_difference(
            self.column(label, figure, category), self.column(other, figure, category)
        )

    @property
    def categories(self) -> list[str]:
        """The kinds of edit, in the cases' order."""
        return list(dict.fromkeys(case.category for case in self.cases))


def first(cases: Sequence[Case], count: int) -> list[Case]:
    """The first cases, which are of all kinds in turn."""
    return list(cases[:count])


def more(cases: Sequence[Case], count: int) -> list[Case]:
    """Two and a half times as many, where a small difference, or none, is to be shown."""
    return first(cases, count * 5 // 2)


def above(interval: Interval, bound: float = 0.0) -> bool | None:
    """Whether the mean lies above a bound: None where the interval holds it, or is of too few."""
    if interval.low is None or interval.high is None or interval.count < FEWEST:
        return None
    return True if interval.low > bound else False if interval.high < bound else None


def below(interval: Interval, bound: float = 0.0) -> bool | None:
    """Whether the mean lies below a bound."""
    found = above(interval, bound)
    return None if found is None else not found


def no_loss(interval: Interval) -> bool | None:
    """Whether a difference of shares of edits excludes a loss of `MARGIN`.

    Where every pair agrees the bootstrap has no width; then the exact bound of a share that was
    never seen in n pairs, 1 - 0.05^(1/n), is the loss that may be.
    """
    found = above(interval, -MARGIN)
    if found and interval.low == interval.high and interval.mean == 0:
        return True if 1 - 0.05 ** (1 / interval.count) < MARGIN else None
    return found


def all_of(*parts: bool | None) -> bool | None:
    """A claim of several parts: one that fails fails it, one that is open leaves it open."""
    return False if False in parts else None if None in parts else True


def said(interval: Interval, unit: str = "", digits: int = 2) -> str:
    """An interval in words: "+0.42 dB [+0.10, +0.80]"."""
    if interval.mean is None:
        return "not measured"
    text = f"{interval.mean:+.{digits}f}{f' {unit}' if unit else ''}"
    if interval.low is None or interval.high is None:
        return text
    return f"{text} [{interval.low:+.{digits}f}, {interval.high:+.{digits}f}]"


SUCCESS = Column("success", "share of edits whose every named change the judge sees", "higher")
KEPT = Column("kept", "share of all else that it reads as before", "higher", 3)
BACKGROUND = Column(
    "background PSNR", "likeness to the source outside the true mask, in dB", "higher", 2
)
DISTANCE = Column(
    "distance",
    "squared distance to the true edited picture inside the mask, as a share of the source's own",
    "lower",
)
EDITED = (SUCCESS, KEPT, BACKGROUND, DISTANCE)
NAMES = {"background PSNR": "PSNR"}
"""Columns that have another name as a figure."""


def rows(answers: Answers, labels: Mapping[str, str], columns: Sequence[Column]) -> list[Row]:
    """A row for each label, named as given, with the mean of each column's figure."""
    return [
        [shown, *(answers.mean(label, NAMES.get(c.name, c.name)) for c in columns)]
        for label, shown in labels.items()
    ]


def table(name: Column, columns: Sequence[Column], made: Sequence[Row]) -> Table:
    """A table whose first column names the rows."""
    return Table([name, *columns], made, NOTES)


def panels(answers: Answers, labels: Sequence[str]) -> list[plots.Panel]:
    """What edits under these labels keep and achieve, for a plot of lines."""
    shown = (("background PSNR, dB", "PSNR"), ("success", "success"))
    return [
        (name, [("", [answers.mean(label, figure) for label in labels])]) for name, figure in shown
    ]
