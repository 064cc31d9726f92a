"""How many steps does an edit need?"""

from __future__ import annotations

from counterflow.bench.engine import Condition, condition
from counterflow.bench.experiments import base
from counterflow.bench.experiments.base import Answers, Experiment
from counterflow.bench.report import plots
from counterflow.bench.report.page import Column, Section, Verdict

COUNTS = (5, 10, 20, 30)

TEXT = """
Steps of the grid, for inversion and edit alike, with three fixed-point iterations and guidance 2.
The paper uses 30.
"""


def conditions(steps: int) -> dict[str, Condition]:
    return {str(n): condition("ftedit", steps=n) for n in COUNTS}


def verdict(answers: Answers) -> Verdict:
    background = answers.difference("30", "10", "PSNR")
    success = answers.difference("30", "10", "success")
    return Verdict(
        "Thirty steps preserve more of the picture than ten.",
        base.above(background, margin=base.EQUAL["PSNR"]),
        f"At 30 against 10: background PSNR {base.in_words(background, 'dB')}, success "
        f"{base.in_words(success)}.",
    )


def conclude(answers: Answers) -> Section:
    edits = base.rows(answers, {str(n): str(n) for n in COUNTS}, base.EDITED)
    rows = [[name, 4 * n + 3 * n, *rest] for n, (name, *rest) in zip(COUNTS, edits, strict=True)]
    panels = base.panels(answers, [str(n) for n in COUNTS])
    plot = plots.lines(list(COUNTS), "steps", panels)
    columns = (base.column("forwards"), *base.columns(base.EDITED))
    table = base.table(Column("steps"), columns, rows)
    return Section(EXPERIMENT.title, TEXT, table, plot, verdict(answers))


EXPERIMENT = Experiment("steps", "Steps", base.first, conditions, conclude, verdict)
