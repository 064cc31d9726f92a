"""How much guidance should the target get?"""

from __future__ import annotations

from counterflow.bench.engine import Condition, condition
from counterflow.bench.experiments import base
from counterflow.bench.experiments.base import Answers, Experiment
from counterflow.bench.report import plots
from counterflow.bench.report.page import Column, Section, Verdict

SCALES = (1.0, 2.0, 3.0, 5.0, 7.0)

TEXT = """
Classifier-free guidance of the target branch; the inversion has none. The paper edits at 2. At 1
there is no unconditional pass, and an edit costs a third less.
"""


def conditions(steps: int) -> dict[str, Condition]:
    return {str(g): condition("ftedit", steps=steps, guidance=g) for g in SCALES}


def verdict(answers: Answers) -> Verdict:
    success = answers.difference("5.0", "1.0", "success")
    background = answers.difference("5.0", "1.0", "PSNR")
    return Verdict(
        "Guidance of 5 raises edit success over none, and costs background.",
        base.all_of(
            base.above(success, margin=base.EQUAL["success"]),
            base.below(background, margin=base.EQUAL["PSNR"]),
        ),
        f"At 5 against 1: success {base.in_words(success)}, background PSNR "
        f"{base.in_words(background, 'dB')}.",
    )


def conclude(answers: Answers) -> Section:
    rows = base.rows(answers, {str(g): f"{g:g}" for g in SCALES}, base.EDITED)
    panels = base.panels(answers, [str(g) for g in SCALES])
    plot = plots.lines(list(SCALES), "guidance", panels)
    table = base.table(Column("guidance"), base.columns(base.EDITED), rows)
    return Section(EXPERIMENT.title, TEXT, table, plot, verdict(answers))


EXPERIMENT = Experiment("guidance", "Guidance", base.first, conditions, conclude, verdict)
