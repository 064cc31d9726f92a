"""How many fixed-point iterations does an inversion need? (FTEdit, stage I and its ablation.)"""

from __future__ import annotations

from counterflow.bench.engine import Condition, condition
from counterflow.bench.experiments import base
from counterflow.bench.experiments.base import Answers, Experiment
from counterflow.bench.report import plots
from counterflow.bench.report.page import Column, Section, Verdict

COUNTS = range(6)

TEXT = """
An inversion asks for the noisier latent from which one step of generation leads to the known one.
Euler inversion (0 iterations) evaluates the velocity at the known latent in its place; each
fixed-point iteration evaluates it again where the last one led, and the step is taken with the
mean of all evaluations. The paper finds three enough, and reports background PSNR of 20.78, 26.98
and 27.51 dB for 0, 1 and 3 iterations on 150 pictures with SD3.5.

The left columns reconstruct without compensation, so that the inversion's own error shows; the
right ones are full edits at the paper's settings.
"""


def conditions(steps: int) -> dict[str, Condition]:
    by_label = {}
    for count in COUNTS:
        by_label[f"reconstruct {count}"] = condition("ftedit", False, steps=steps, iterations=count)
        by_label[f"edit {count}"] = condition("ftedit", steps=steps, iterations=count)
    return by_label


def verdict(answers: Answers) -> Verdict:
    error = answers.difference("reconstruct 3", "reconstruct 0", "latent")
    background = answers.difference("edit 3", "edit 0", "PSNR")
    return Verdict(
        "Fixed-point iteration lowers the reconstruction error and raises background PSNR at "
        "equal steps.",
        base.all_of(
            base.below(error, margin=base.EQUAL["latent"]),
            base.above(background, margin=base.EQUAL["PSNR"]),
        ),
        f"Three iterations against none: relative latent error {base.in_words(error, digits=3)}, "
        f"background PSNR of edits {base.in_words(background, 'dB')}.",
    )


def conclude(answers: Answers) -> Section:
    errors = {n: answers.average(f"reconstruct {n}", "latent") for n in COUNTS}
    trips = {n: answers.average(f"reconstruct {n}", "reconstruction PSNR") for n in COUNTS}
    edits = base.rows(answers, {f"edit {n}": str(n) for n in COUNTS}, base.EDITED)
    rows = [
        [name, answers.steps * (n + 1), errors[n], trips[n], *rest]
        for n, (name, *rest) in zip(COUNTS, edits, strict=True)
    ]
    cost = base.column("forwards", meaning="Evaluations of the network for the inversion.")
    columns = (cost, *base.columns(("latent", "reconstruction PSNR", *base.EDITED)))
    plot = plots.lines(
        list(COUNTS),
        "iterations",
        [
            ("latent error", [("", list(errors.values()))]),
            *base.panels(answers, [f"edit {n}" for n in COUNTS]),
        ],
    )
    table = base.table(Column("iterations"), columns, rows)
    return Section(EXPERIMENT.title, TEXT, table, plot, verdict(answers))


EXPERIMENT = Experiment(
    "iterations", "Fixed-point iterations", base.first, conditions, conclude, verdict
)
