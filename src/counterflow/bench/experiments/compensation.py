"""What does velocity compensation change? (FTEdit, stage II.)"""

from __future__ import annotations

from counterflow.bench import plots
from counterflow.bench.experiments import base
from counterflow.bench.experiments.base import Answers, Experiment, Query
from counterflow.bench.page import Column, Section, Verdict
from counterflow.edit.settings import COMPENSATE, EditSettings, InvertSettings

EXACT = 1e-4
"""Largest error of any latent value, which have a spread of about one, that counts as rounding."""

TEXT = """
Compensation adds to the source branch's velocity what it lacks to reach the stored latents, so
that the source, which the target takes its features from, comes back exactly whatever the
inversion left. The paper compensates the source alone; here also both branches, and none.
"""


def queries(steps: int) -> dict[str, Query]:
    invert = InvertSettings(steps=steps)
    made = {each: Query(invert, EditSettings(compensate=each)) for each in COMPENSATE}
    made["with"] = Query(invert, compensated=True)
    made["without"] = Query(invert, compensated=False)
    return made


def conclude(answers: Answers) -> Section:
    largest = {
        label: max((v for v in answers.column(label, "largest") if v is not None), default=None)
        for label in ("with", "without")
    }
    shown = {"source": "source (the paper)", "both": "both branches", "none": "none"}
    edits = base.rows(answers, shown, base.EDITED)
    error = {"source": "with", "both": "with", "none": "without"}
    rows = [
        [name, _scientific(largest[error[label]]), *rest]
        for label, (name, *rest) in zip(shown, edits, strict=True)
    ]
    exact = None if largest["with"] is None else largest["with"] < EXACT
    change = answers.difference("source", "none", "success")
    verdict = Verdict(
        "Compensation makes the source exact and does not lower edit success.",
        base.all_of(exact, base.no_loss(change)),
        f"Largest error {_scientific(largest['with'])} with it and "
        f"{_scientific(largest['without'])} without; success {base.said(change)} by "
        f"compensating the source (a loss under {base.MARGIN:.2f} counts as none).",
    )
    plot = plots.bars(
        ["success", "kept"],
        [(shown[e], [answers.mean(e, "success"), answers.mean(e, "kept")]) for e in shown],
        "share",
        1,
    )
    columns = (
        Column(
            "source error",
            "largest absolute error of the source's latent, reconstructed without guidance",
        ),
        *base.EDITED,
    )
    made = base.table(Column("compensated"), columns, rows)
    return Section(EXPERIMENT.title, TEXT, made, plot, verdict)


def _scientific(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.0e}"


EXPERIMENT = Experiment("compensation", "Velocity compensation", base.more, queries, conclude)
