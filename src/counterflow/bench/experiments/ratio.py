"""In how many steps should the text control be on? (FTEdit's `ly` ratio.)"""

from __future__ import annotations

from counterflow.bench.engine import Condition, condition
from counterflow.bench.experiments import base
from counterflow.bench.experiments.base import Answers, Experiment
from counterflow.bench.report import plots
from counterflow.bench.report.page import Column, Section, Verdict

RATIOS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)

TEXT = """
The share of steps, from the noise end, in which the text control is on. The paper keeps it on in
all of them. Early steps decide what is where, late ones how it looks.
"""


def conditions(steps: int) -> dict[str, Condition]:
    return {str(r): condition("ftedit", steps=steps, text_ratio=r) for r in RATIOS}


def verdict(answers: Answers) -> Verdict:
    background = answers.difference("1.0", "0.2", "PSNR")
    success = answers.difference("1.0", "0.2", "success")
    return Verdict(
        "Control in all steps preserves more of the picture than in the first fifth.",
        base.above(background, margin=base.EQUAL["PSNR"]),
        f"In all steps against the first fifth: background PSNR {base.in_words(background, 'dB')}, "
        f"success {base.in_words(success)}.",
    )


def conclude(answers: Answers) -> Section:
    rows = base.rows(answers, {str(r): f"{r:.1f}" for r in RATIOS}, base.EDITED)
    panels = base.panels(answers, [str(r) for r in RATIOS])
    plot = plots.lines(list(RATIOS), "share of steps with the control", panels)
    table = base.table(Column("ratio"), base.columns(base.EDITED), rows)
    return Section(EXPERIMENT.title, TEXT, table, plot, verdict(answers))


EXPERIMENT = Experiment(
    "ratio", "Share of steps with the text control", base.first, conditions, conclude, verdict
)
