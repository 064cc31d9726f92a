"""What does the text control in the adaptive LayerNorm keep? (FTEdit, section 3.)"""

from __future__ import annotations

from counterflow.bench import plots
from counterflow.bench.experiments import base
from counterflow.bench.experiments.base import Answers, Experiment, Query
from counterflow.bench.page import Column, Row, Section, Table, Verdict
from counterflow.edit.settings import EditSettings, InvertSettings

TEXT = """
In every block and step the text features of words that both prompts share are replaced by those
of the source branch; words that changed keep their own. The paper finds that this keeps what was
not named while edits succeed as before. Each case is edited with the control in all steps and
without it; all else is equal.
"""


def queries(steps: int) -> dict[str, Query]:
    invert = InvertSettings(steps=steps)
    return {
        "on": Query(invert, EditSettings()),
        "off": Query(invert, EditSettings(text_ratio=0.0)),
    }


def conclude(answers: Answers) -> Section:
    kept = answers.difference("on", "off", "kept")
    background = answers.difference("on", "off", "PSNR")
    success = answers.difference("on", "off", "success")
    verdict = Verdict(
        "The text control raises the preservation of what was not named, at equal edit success.",
        base.all_of(base.above(background), base.no_loss(kept), base.no_loss(success)),
        f"With the control: background PSNR {base.said(background, 'dB')}, other attributes kept "
        f"{base.said(kept, digits=3)}, success {base.said(success)} (a loss under "
        f"{base.MARGIN:.2f} counts as equal).",
    )
    names = [*answers.categories, "all"]
    rows: list[Row] = []
    for name in names:
        kind = None if name == "all" else name
        row = [answers.mean(label, "success", kind) for label in ("on", "off")]
        row += [answers.mean(label, "PSNR", kind) for label in ("on", "off")]
        rows.append([name, *row, answers.difference("on", "off", "PSNR", kind)])
    header = [
        Column("kind of edit"),
        Column("success, on", base.SUCCESS.meaning, "higher"),
        Column("success, off", "", "higher"),
        Column("background PSNR, on", base.BACKGROUND.meaning, "higher"),
        Column("background PSNR, off", "", "higher"),
        Column("difference", "on less off, case by case; bold where it excludes 0", None, 2, True),
    ]
    plot = plots.bars(
        names,
        [
            (label, [answers.mean(label, "success", None if n == "all" else n) for n in names])
            for label in ("on", "off")
        ],
        "success",
        1,
    )
    return Section(EXPERIMENT.title, TEXT, Table(header, rows, base.NOTES), plot, verdict)


EXPERIMENT = Experiment("text", "Text control on and off", base.more, queries, conclude)
