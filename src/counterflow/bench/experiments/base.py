"""What an experiment is: conditions that cases are put under, and what their figures show."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from counterflow.bench.engine import Condition, Figures
from counterflow.bench.figures import averaged, label
from counterflow.bench.report import plots
from counterflow.bench.report.page import Column, Row, Section, Table, Verdict
from counterflow.bench.sets.cases import Case
from counterflow.bench.stats import Interval, paired_difference

MARGIN = 0.05
"""A share of edits that counts as no loss: "equal success" means less than this below."""
EQUAL = {"success": MARGIN, "PSNR": 0.25, "latent": 0.02}
"""Differences of figures that count as none: so a claim of one can be decided against."""
NOTES = ("In brackets: 95 % intervals, by bootstrap over cases.",)
FEWEST = 10
"""Cases, or pairs of them, without which nothing is decided."""


@dataclass(frozen=True)
class Experiment:
    """Conditions by label, the cases that they are for, and a section made of the figures."""

    name: str
    title: str
    choose: Callable[[Sequence[Case], int], list[Case]]
    """Of the benchmark's cases in turn, those for a sample size."""
    conditions: Callable[[int], dict[str, Condition]]
    """Given the number of steps."""
    conclude: Callable[[Answers], Section]
    verdict: Callable[[Answers], Verdict]
    """The section's, by itself."""


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

    def average(self, label: str, figure: str, category: str | None = None) -> Interval:
        """Its mean over cases, or its median where it is declared so."""
        return averaged(figure, self.column(label, figure, category))

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


def needed(experiment: Experiment, answers: Answers) -> int | None:
    """How many of the cases, in tens, spread evenly, decide as all of them do.

    The fewest from which the verdict stays the same; None where all of them decide nothing.
    """
    final = experiment.verdict(answers).holds
    if final is None:
        return None
    least = len(answers.cases)
    for count in range((least - 1) // 10 * 10, 0, -10):
        part = replace(answers, cases=_part(answers.cases, count))
        if experiment.verdict(part).holds is not final:
            break
        least = count
    return least


def _part(cases: Sequence[Case], count: int) -> list[Case]:
    """So many cases, evenly spread: an experiment's may be of one kind after the other."""
    return [cases[n * len(cases) // count] for n in range(count)]


def first(cases: Sequence[Case], count: int) -> list[Case]:
    """The first cases, which are of all kinds in turn."""
    return list(cases[:count])


def more(cases: Sequence[Case], count: int) -> list[Case]:
    """Two and a half times as many, where a small difference, or none, is to be shown."""
    return first(cases, count * 5 // 2)


def above(interval: Interval, bound: float = 0.0, margin: float = 0.0) -> bool | None:
    """Whether the mean lies above a bound: None where the interval is too wide, or of too few.

    It does not where the whole interval is less than a `margin` above: that counts as equal.
    """
    if interval.low is None or interval.high is None or interval.count < FEWEST:
        return None
    return True if interval.low > bound else False if interval.high < bound + margin else None


def below(interval: Interval, bound: float = 0.0, margin: float = 0.0) -> bool | None:
    """Whether the mean lies below a bound; it does not where all is less than a `margin` below."""
    return above(interval.mirrored, -bound, margin)


def no_loss(interval: Interval) -> bool | None:
    """Whether a difference of shares of edits excludes a loss of `MARGIN`.

    Where every pair agrees the bootstrap has no width; then the exact bound of a share that was
    never seen in n pairs, 1 - 0.05^(1/n), is the loss that may be.
    """
    small = above(interval, -MARGIN)
    if small and interval.low == interval.high and interval.estimate == 0:
        return True if 1 - 0.05 ** (1 / interval.count) < MARGIN else None
    return small


def all_of(*parts: bool | None) -> bool | None:
    """A claim of several parts: one that fails fails it, one that is open leaves it open."""
    return False if False in parts else None if None in parts else True


def in_words(interval: Interval, unit: str = "", digits: int = 2) -> str:
    """An interval in words: "+0.42 dB [+0.10, +0.80]"."""
    if interval.estimate is None:
        return "not measured"
    text = f"{interval.estimate:+.{digits}f}{f' {unit}' if unit else ''}"
    if interval.low is None or interval.high is None:
        return text
    return f"{text} [{interval.low:+.{digits}f}, {interval.high:+.{digits}f}]"


EDITED = ("success", "kept", "PSNR", "distance")
"""The figures of edits that experiments show."""
DIGITS = {"kept": 3, "PSNR": 2}


def heading(figure: str) -> str:
    """A figure's heading in an experiment: `PSNR` is the background's."""
    return "background PSNR, dB" if figure == "PSNR" else label(figure)


def column(figure: str, name: str = "", meaning: str | None = None) -> Column:
    """A figure's column, with as many digits as differences between conditions need."""
    return Column.of(figure, name or heading(figure), meaning, DIGITS.get(figure))


def columns(figures: Sequence[str]) -> list[Column]:
    """A column for each figure."""
    return [column(figure) for figure in figures]


def rows(answers: Answers, titles: Mapping[str, str], figures: Sequence[str]) -> list[Row]:
    """A row for each label, under its title, with the average of each figure."""
    return [
        [title, *(answers.average(name, figure) for figure in figures)]
        for name, title in titles.items()
    ]


def table(first: Column, others: Sequence[Column], cells: Sequence[Row]) -> Table:
    """A table whose first column names the rows."""
    return Table([first, *others], cells, NOTES)


def panels(answers: Answers, labels: Sequence[str]) -> list[plots.Panel]:
    """What edits under these labels keep and achieve, for a plot of lines."""
    return [
        (heading(figure), [("", [answers.average(each, figure) for each in labels])])
        for figure in ("PSNR", "success")
    ]
