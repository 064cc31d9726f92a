"""How many steps does an edit need?"""

from __future__ import annotations

from counterflow.bench import plots
from counterflow.bench.experiments import base
from counterflow.bench.experiments.base import Answers, Experiment, Query
from counterflow.bench.page import Column, Section, Verdict
from counterflow.edit.settings import EditSettings, InvertSettings

COUNTS = (5, 10, 20, 30)

TEXT = """
Steps of the grid, for inversion and edit alike, with three fixed-point iterations and guidance 2.
The paper uses 30.
"""


def queries(steps: int) -> dict[str, Query]:
    return {str(n): Query(InvertSettings(steps=n), EditSettings()) for n in COUNTS}


def conclude(answers: Answers) -> Section:
    edits = base.rows(answers, {str(n): str(n) for n in COUNTS}, base.EDITED)
    rows = [[name, 4 * n + 3 * n, *rest] for n, (name, *rest) in zip(COUNTS, edits, strict=True)]
    background = answers.difference("30", "10", "PSNR")
    success = answers.difference("30", "10", "success")
    verdict = Verdict(
        "Thirty steps preserve more of the picture than ten.",
        base.above(background),
        f"At 30 against 10: background PSNR {base.said(background, 'dB')}, success "
        f"{base.said(success)}.",
    )
    panels = base.panels(answers, [str(n) for n in COUNTS])
    plot = plots.lines(list(COUNTS), "steps", panels)
    cost = Column("forwards", "network evaluations, inversion and edit", "lower", 0)
    made = base.table(Column("steps"), (cost, *base.EDITED), rows)
    return Section(EXPERIMENT.title, TEXT, made, plot, verdict)


EXPERIMENT = Experiment("steps", "Steps", base.first, queries, conclude)
