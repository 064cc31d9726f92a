"""How does FTEdit stand beside the methods before it? (FTEdit, section 4.1.)"""

from __future__ import annotations

from counterflow.bench.engine import Condition, condition
from counterflow.bench.experiments import base
from counterflow.bench.experiments.base import Answers, Experiment
from counterflow.bench.report import plots
from counterflow.bench.report.page import Column, Row, Section, Table, Verdict
from counterflow.bench.stats import Interval

OWN = "ftedit"
OTHERS = ("sdedit", "euler", "ddim", "rf-inversion", "rf-solver", "flowedit")

TEXT = """
Each method at its published settings, whatever the number of steps of the other experiments. The
paper reports that FTEdit keeps more of the background than all of those before it, at edits that
agree with their prompts as well. A difference in background PSNR under 0.25 dB counts as none, and
so does a loss of success under 0.05.
"""


def conditions(steps: int) -> dict[str, Condition]:
    return {name: condition(name) for name in (OWN, *OTHERS)}


def less_others(answers: Answers, figure: str) -> dict[str, Interval]:
    """FTEdit's figure less that of each other method."""
    return {name: answers.difference(OWN, name, figure) for name in OTHERS}


def verdict(answers: Answers) -> Verdict:
    background, success = (less_others(answers, figure) for figure in ("PSNR", "success"))
    return Verdict(
        "FTEdit keeps more of the background than the methods before it, at no loss of success.",
        base.all_of(
            *(base.above(d, margin=base.EQUAL["PSNR"]) for d in background.values()),
            *(base.no_loss(d) for d in success.values()),
        ),
        "FTEdit less each: "
        + "; ".join(
            f"{name} {base.in_words(background[name], 'dB')}, success "
            f"{base.in_words(success[name])}"
            for name in OTHERS
        )
        + ".",
    )


def conclude(answers: Answers) -> Section:
    background, success = (less_others(answers, figure) for figure in ("PSNR", "success"))
    titles = {name: name for name in (OWN, *OTHERS)}
    made = base.rows(answers, titles, (*base.EDITED, "forwards"))
    rows: list[Row] = [
        [*row, background.get(str(row[0])), success.get(str(row[0]))] for row in made
    ]
    header = [
        Column("method"),
        *base.columns((*base.EDITED, "forwards")),
        Column("background, FTEdit less it", "Case by case, in dB.", None, 2, True),
        Column("success, FTEdit less it", "Case by case.", None, 2, True),
    ]
    points = [
        plots.Point(name, *(answers.average(name, figure) for figure in ("PSNR", "success")))
        for name in titles
    ]
    plot = plots.scatter(points, base.heading("PSNR"), "success")
    return Section(EXPERIMENT.title, TEXT, Table(header, rows, base.NOTES), plot, verdict(answers))


EXPERIMENT = Experiment("comparison", "Methods before it", base.more, conditions, conclude, verdict)
