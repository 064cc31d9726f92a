"""What does velocity compensation change? (FTEdit, stage II.)"""

from __future__ import annotations

from counterflow.bench.engine import Condition, condition
from counterflow.bench.experiments import base
from counterflow.bench.experiments.base import Answers, Experiment
from counterflow.bench.report import plots
from counterflow.bench.report.page import Column, Section, Verdict

BRANCHES = ("source", "both", "none")
"""Branches with velocity compensation."""
EXACT = 1e-4
"""Largest error of any latent value, which have a spread of about one, that counts as rounding."""

TEXT = """
Compensation adds to the source branch's velocity what it lacks to reach the stored latents, so
that the source, which the target takes its features from, comes back exactly whatever the
inversion left. The paper compensates the source alone; here also both branches, and none.
"""


def conditions(steps: int) -> dict[str, Condition]:
    edits = {each: condition("ftedit", steps=steps, compensate=each) for each in BRANCHES}
    return edits | {
        "with": condition("ftedit", True, steps=steps),
        "without": condition("ftedit", False, steps=steps),
    }


def errors(answers: Answers) -> dict[str, float | None]:
    """The largest error of any picture, with compensation and without."""
    return {
        label: max((v for v in answers.column(label, "largest") if v is not None), default=None)
        for label in ("with", "without")
    }


def verdict(answers: Answers) -> Verdict:
    largest = errors(answers)
    exact = None if largest["with"] is None else largest["with"] < EXACT
    change = answers.difference("source", "none", "success")
    return Verdict(
        "Compensation makes the source exact and does not lower edit success.",
        base.all_of(exact, base.no_loss(change)),
        f"Largest error {_scientific(largest['with'])} with it and "
        f"{_scientific(largest['without'])} without; success {base.in_words(change)} by "
        f"compensating the source (a loss under {base.MARGIN:.2f} counts as none).",
    )


def conclude(answers: Answers) -> Section:
    largest = errors(answers)
    titles = {"source": "source (the paper)", "both": "both branches", "none": "none"}
    edits = base.rows(answers, titles, base.EDITED)
    error = {"source": "with", "both": "with", "none": "without"}
    rows = [
        [name, _scientific(largest[error[label]]), *rest]
        for label, (name, *rest) in zip(titles, edits, strict=True)
    ]
    plot = plots.bars(
        ["success", "kept"],
        [(titles[e], [answers.average(e, "success"), answers.average(e, "kept")]) for e in titles],
        "share",
        1,
    )
    columns = (
        base.column("largest", "source error"),
        *base.columns(base.EDITED),
    )
    table = base.table(Column("compensated"), columns, rows)
    return Section(EXPERIMENT.title, TEXT, table, plot, verdict(answers))


def _scientific(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.0e}"


EXPERIMENT = Experiment(
    "compensation", "Velocity compensation", base.more, conditions, conclude, verdict
)
