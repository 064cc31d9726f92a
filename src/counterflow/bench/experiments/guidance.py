"""How much guidance should the target get?"""

from __future__ import annotations

from counterflow.bench import plots
from counterflow.bench.experiments import base
from counterflow.bench.experiments.base import Answers, Experiment, Query
from counterflow.bench.page import Column, Section, Verdict
from counterflow.edit.settings import EditSettings, InvertSettings

SCALES = (1.0, 2.0, 3.0, 5.0, 7.0)

TEXT = """
Classifier-free guidance of the target branch; the inversion has none. The paper edits at 2. At 1
there is no unconditional pass, and an edit costs a third less.
"""


def queries(steps: int) -> dict[str, Query]:
    invert = InvertSettings(steps=steps)
    return {str(g): Query(invert, EditSettings(guidance=g)) for g in SCALES}


def conclude(answers: Answers) -> Section:
    rows = base.rows(answers, {str(g): f"{g:g}" for g in SCALES}, base.EDITED)
    success = answers.difference("5.0", "1.0", "success")
    background = answers.difference("5.0", "1.0", "PSNR")
    verdict = Verdict(
        "Guidance of 5 raises edit success over none, and costs background.",
        base.all_of(base.above(success), base.below(background)),
        f"At 5 against 1: success {base.said(success)}, background PSNR "
        f"{base.said(background, 'dB')}.",
    )
    panels = base.panels(answers, [str(g) for g in SCALES])
    plot = plots.lines(list(SCALES), "guidance", panels)
    made = base.table(Column("guidance"), base.EDITED, rows)
    return Section(EXPERIMENT.title, TEXT, made, plot, verdict)


EXPERIMENT = Experiment("guidance", "Guidance", base.first, queries, conclude)
