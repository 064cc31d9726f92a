"""What does the text control in the adaptive LayerNorm keep? (FTEdit, section 3.)"""

from __future__ import annotations

from counterflow.bench.engine import Condition, condition
from counterflow.bench.experiments import base
from counterflow.bench.experiments.base import Answers, Experiment
from counterflow.bench.report import plots
from counterflow.bench.report.page import Column, Row, Section, Table, Verdict

TEXT = """
In every block and step the text features of words that both prompts share are replaced by those
of the source branch; words that changed keep their own. The paper finds that this keeps what was
not named while edits succeed as before. Each case is edited with the control in all steps and
without it; all else is equal.
"""


def conditions(steps: int) -> dict[str, Condition]:
    return {
        "on": condition("ftedit", steps=steps),
        "off": condition("ftedit", steps=steps, text_ratio=0.0),
    }


def verdict(answers: Answers) -> Verdict:
    kept = answers.difference("on", "off", "kept")
    background = answers.difference("on", "off", "PSNR")
    success = answers.difference("on", "off", "success")
    return Verdict(
        "The text control raises the preservation of what was not named, at equal edit success.",
        base.all_of(
            base.above(background, margin=base.EQUAL["PSNR"]),
            base.no_loss(kept),
            base.no_loss(success),
        ),
        f"With the control: background PSNR {base.in_words(background, 'dB')}, other attributes "
        f"kept {base.in_words(kept, digits=3)}, success {base.in_words(success)} (a loss under "
        f"{base.MARGIN:.2f} counts as equal).",
    )


def conclude(answers: Answers) -> Section:
    names = [*answers.categories, "all"]
    rows: list[Row] = []
    for name in names:
        kind = None if name == "all" else name
        row = [answers.average(label, "success", kind) for label in ("on", "off")]
        row += [answers.average(label, "PSNR", kind) for label in ("on", "off")]
        rows.append([name, *row, answers.difference("on", "off", "PSNR", kind)])
    header = [
        Column("kind of edit"),
        base.column("success", "success, on"),
        base.column("success", "success, off", ""),
        base.column("PSNR", "background PSNR, on, dB"),
        base.column("PSNR", "background PSNR, off, dB", ""),
        Column("difference", "on less off, case by case; bold where it excludes 0", None, 2, True),
    ]
    plot = plots.bars(
        names,
        [
            (label, [answers.average(label, "success", None if n == "all" else n) for n in names])
            for label in ("on", "off")
        ],
        "success",
        1,
    )
    return Section(EXPERIMENT.title, TEXT, Table(header, rows, base.NOTES), plot, verdict(answers))


EXPERIMENT = Experiment("text", "Text control on and off", base.more, conditions, conclude, verdict)
