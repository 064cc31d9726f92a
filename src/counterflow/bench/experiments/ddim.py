"""Is Euler inversion more sensitive than DDIM's? (FTEdit, section 2.1.)"""

from __future__ import annotations

from counterflow.bench.engine import Condition, condition
from counterflow.bench.experiments import base
from counterflow.bench.experiments.base import Answers, Experiment
from counterflow.bench.report import plots
from counterflow.bench.report.page import Column, Row, Section, Verdict

COUNTS = (10, 20, 40)
TITLES = {"euler": "Euler", "ddim": "DDIM"}
FIGURES = ("latent", "reconstruction PSNR")

TEXT = """
Both inversions evaluate the network at a latent of the wrong noise level. Euler's takes the
flow's latent as it is; DDIM's takes it rescaled to the path of equal signal-to-noise ratio on
which diffusion models live. By an exact change of variables one network serves both, and between
the same noise levels both sample alike, so all that differs is the inversion. The paper holds
Euler's to be the more sensitive one.

Each picture is inverted without iterations and generated again without compensation.
"""


def conditions(steps: int) -> dict[str, Condition]:
    return {
        f"{solver} {n}": condition("ftedit", False, steps=n, iterations=0, solver=solver)
        for n in COUNTS
        for solver in TITLES
    }


def verdict(answers: Answers) -> Verdict:
    differences = {n: answers.difference(f"euler {n}", f"ddim {n}", "latent") for n in COUNTS}
    each = "; ".join(f"{n} steps {base.in_words(d, digits=3)}" for n, d in differences.items())
    return Verdict(
        "At equal steps, Euler inversion is more sensitive to the mismatch than DDIM inversion.",
        base.all_of(*(base.above(d, margin=base.EQUAL["latent"]) for d in differences.values())),
        f"Relative latent error of the round trip, Euler less DDIM: {each}.",
    )


def conclude(answers: Answers) -> Section:
    columns = [
        base.column(figure, f"{base.heading(figure)}, {title}", None if title == "Euler" else "")
        for figure in FIGURES
        for title in TITLES.values()
    ]
    columns.append(Column("difference", "of the errors, Euler less DDIM", None, 3, True))
    rows: list[Row] = []
    for n in COUNTS:
        means = [answers.average(f"{s} {n}", f) for f in FIGURES for s in TITLES]
        rows.append([str(n), *means, answers.difference(f"euler {n}", f"ddim {n}", "latent")])
    series = [(TITLES[s], [answers.average(f"{s} {n}", "latent") for n in COUNTS]) for s in TITLES]
    plot = plots.lines(list(COUNTS), "steps", [("latent error", series)])
    return Section(
        EXPERIMENT.title, TEXT, base.table(Column("steps"), columns, rows), plot, verdict(answers)
    )


EXPERIMENT = Experiment("ddim", "Euler against DDIM", base.first, conditions, conclude, verdict)
