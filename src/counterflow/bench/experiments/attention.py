"""What does attention injection cost edits that move things? (FTEdit's attention ratio.)"""

from __future__ import annotations

from collections.abc import Sequence

from counterflow.bench.engine import Condition, condition
from counterflow.bench.experiments import base
from counterflow.bench.experiments.base import Answers, Experiment
from counterflow.bench.report import plots
from counterflow.bench.report.page import Column, Row, Section, Table, Verdict
from counterflow.bench.sets.cases import Case
from counterflow.bench.stats import Interval, difference_of_differences, paired_difference

RATIOS = (0.0, 0.1, 0.2, 0.4, 0.7, 1.0)
POSE = "change pose"
OTHER = "all other kinds"

TEXT = """
In the first share of the steps the attention values of image and text tokens come from the source
branch, beside the text control. The paper finds that beyond about 20 % this blocks edits that are
not rigid, for it carries wanted and unwanted features alike. Some of the cases here change a pose,
the others are of all other kinds.
"""


def choose(cases: Sequence[Case], count: int) -> list[Case]:
    """Three quarters of the sample size in pose edits, as far as there are, and in others."""
    size = max(1, count * 3 // 4)
    pose = [case for case in cases if case.category == POSE]
    others = [case for case in cases if case.category != POSE]
    return pose[:size] + others[:size]


def conditions(steps: int) -> dict[str, Condition]:
    return {
        str(r): condition("ftedit", steps=steps, attention_ratio=r, attention_tokens="both")
        for r in RATIOS
    }


def parts(answers: Answers) -> tuple[Answers, Answers]:
    """Those of pose edits, and of the others."""
    pose, others = (
        Answers([c for c in answers.cases if (c.category == POSE) == is_pose], answers.figures, 0)
        for is_pose in (True, False)
    )
    return pose, others


def verdict(answers: Answers) -> Verdict:
    pose, others = parts(answers)
    beyond = [str(r) for r in RATIOS if r > 0.2]
    columns = [_average(part, beyond) for part in (pose, others)]
    before = [part.column("0.2", "success") for part in (pose, others)]
    excess = difference_of_differences(before[0], columns[0], before[1], columns[1])
    return Verdict(
        "Attention ratios above 20 % lower the success of pose edits more than of others.",
        base.all_of(
            base.above(_loss(pose, beyond), margin=base.EQUAL["success"]),
            base.above(excess, margin=base.EQUAL["success"]),
        ),
        f"Success lost from 20 % to the mean of 40, 70 and 100 %: by pose edits "
        f"{base.in_words(_loss(pose, beyond))}, by others {base.in_words(_loss(others, beyond))}; "
        f"pose loses {base.in_words(excess)} more.",
    )


def conclude(answers: Answers) -> Section:
    pose, others = parts(answers)
    both = [(part, figure) for figure in ("success", "PSNR") for part in (pose, others)]
    rows: list[Row] = [
        [f"{r:.1f}", *(part.average(str(r), figure) for part, figure in both)] for r in RATIOS
    ]
    header = [
        Column("ratio"),
        base.column("success", "success, pose"),
        base.column("success", "success, others", ""),
        base.column("PSNR", "background PSNR, pose, dB"),
        base.column("PSNR", "background PSNR, others, dB", ""),
    ]
    panels = [
        (
            name,
            [
                (kind, [part.average(str(r), figure) for r in RATIOS])
                for kind, part in ((POSE, pose), (OTHER, others))
            ],
        )
        for name, figure in (("success", "success"), ("background PSNR, dB", "PSNR"))
    ]
    plot = plots.lines(list(RATIOS), "share of steps with injection", panels)
    return Section(EXPERIMENT.title, TEXT, Table(header, rows, base.NOTES), plot, verdict(answers))


def _average(part: Answers, labels: Sequence[str]) -> list[float | None]:
    """Each case's mean success over several labels; None where one lacks it."""
    columns = [part.column(label, "success") for label in labels]
    return [
        None if any(v is None for v in values) else sum(v or 0.0 for v in values) / len(values)
        for values in zip(*columns, strict=True)
    ]


def _loss(part: Answers, beyond: Sequence[str]) -> Interval:
    return paired_difference(part.column("0.2", "success"), _average(part, beyond))


EXPERIMENT = Experiment(
    "attention", "Attention injection and pose", choose, conditions, conclude, verdict
)
