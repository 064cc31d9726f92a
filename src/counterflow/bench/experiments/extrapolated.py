"""Does an extrapolated guess spare most of stage I's evaluations? (Ours, docs/decisions/0027.)"""

from __future__ import annotations

from counterflow.bench.engine import Condition, condition
from counterflow.bench.experiments import base
from counterflow.bench.experiments.base import Answers, Experiment
from counterflow.bench.report import plots
from counterflow.bench.report.page import Column, Section, Verdict

TITLES = {"paper": "three iterations, averaged (the paper)", "extrapolated": "extrapolated"}
FIGURES = ("residual", "worst residual")

TEXT = """
The paper's three iterations begin each step at the known latent, and evaluate the velocity four
times. Its change from step to step is nearly a line, so the two steps before tell where the next
one leads, and one evaluation there is enough; only the first steps iterate. The residual is what
velocity compensation has to add, as a share of the velocity. No edit is made.
"""


def conditions(steps: int) -> dict[str, Condition]:
    return {
        "paper": condition("ftedit", True, steps=steps),
        "extrapolated": condition("ftedit", True, steps=steps, solver="extrapolated"),
    }


def verdict(answers: Answers) -> Verdict:
    parts = {each: answers.difference("extrapolated", "paper", each) for each in FIGURES}
    mean, worst = parts.values()
    return Verdict(
        "An extrapolated guess leaves a smaller residual than three iterations, on the mean of the "
        "steps and in the worst.",
        base.all_of(base.below(mean), base.below(worst)),
        f"Residual {base.in_words(mean, digits=4)}, worst step {base.in_words(worst, digits=4)}.",
    )


def conclude(answers: Answers) -> Section:
    plot = plots.bars(
        list(FIGURES),
        [(TITLES[each], [answers.average(each, f) for f in FIGURES]) for each in TITLES],
        "residual",
    )
    cost = base.column("forwards", meaning="Evaluations of the network for the inversion.")
    columns = (cost, *base.columns(FIGURES))
    rows = base.rows(answers, TITLES, ("forwards", *FIGURES))
    table = base.table(Column("inversion"), columns, rows)
    return Section(EXPERIMENT.title, TEXT, table, plot, verdict(answers))


EXPERIMENT = Experiment(
    "extrapolated", "Extrapolated stage I", base.first, conditions, conclude, verdict
)
