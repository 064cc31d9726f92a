"""What the page says, as HTML: whatever a visitor wrote is escaped here."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from html import escape
from textwrap import shorten
from typing import Any

from counterflow.app.task import Task
from counterflow.controls.align import changed_words, word_spans
from counterflow.prompts import unknown_words
from counterflow.trust.report import UNKNOWN

Spans = Iterable[tuple[int, int]]

NOT_CALIBRATED = (
    "No calibration is known for this model, so no chance of success can be told; "
    "<code>counterflow calibrate</code> makes one."
)


def words(source: str, targets: Sequence[str], known: Collection[str] | None) -> str:
    """Source and targets, with the words marked that go, that come, and that nobody learned."""
    if not source.strip() or not targets:
        return '<p class="cf-hint">Words that both sentences share stay; write both to see.</p>'
    gone = set.intersection(*[set(changed_words(target, source)) for target in targets])
    rows = [("source", sentence(source, gone, "del", known))]
    for target in targets:
        told = sentence(target, changed_words(source, target), "ins", known)
        rows.append(("target", told))
    lines = "".join(f'<p><span class="cf-tag">{tag}</span> {text}</p>' for tag, text in rows)
    return f'<div class="cf-words">{lines}{_notes(source, targets, known)}</div>'


def _notes(source: str, targets: Sequence[str], known: Collection[str] | None) -> str:
    same = any(target.split() == source.split() for target in targets)
    said = "A target equals the source: it asks for no change."
    return unknown((source, *targets), known) + (f'<p class="cf-warn">{said}</p>' if same else "")


def unknown(sentences: Sequence[str], known: Collection[str] | None) -> str:
    """A line that names the words which the model never learned; empty if there are none."""
    new = dict.fromkeys(w for each in sentences for w in unknown_words(each, known))
    if not new:
        return ""
    listed = ", ".join(f"<b>{escape(word)}</b>" for word in new)
    return f'<p class="cf-warn">This model never learned {listed}: take other words.</p>'


def sentence(text: str, marked: Spans, tag: str, known: Collection[str] | None = None) -> str:
    """A sentence whose `marked` words have an HTML tag, and those that nobody learned a class."""
    spans, parts, at = set(marked), [], 0
    for start, stop in word_spans(text):
        word = escape(text[start:stop])
        if unknown_words(text[start:stop], known):
            word = f'<span class="cf-unknown" title="never learned by this model">{word}</span>'
        if (start, stop) in spans:
            word = f"<{tag}>{word}</{tag}>"
        parts += [escape(text[at:start]), word]
        at = stop
    return "".join([*parts, escape(text[at:])])


def brief(source: str, target: str, most: int = 40) -> str:
    """The words of a target that its source lacks, as plain text; the target where it lacks none.

    It is cut to `most` letters.
    """
    new = " ".join(target[start:stop] for start, stop in changed_words(source, target))
    return shorten(new or target, most, placeholder="…")


def status(task: Task, doing: str = "") -> str:
    """How far a running task is."""
    share = round(100 * task.clock.share)
    left = "" if task.clock.left is None else f", about {_seconds(task.clock.left)} left"
    said = escape(doing or task.label.capitalize() or "Starting")
    return (
        f'<div class="cf-status"><span>{said}{left}</span><div class="cf-bar" role="progressbar" '
        f'aria-label="progress" aria-valuenow="{share}" aria-valuemin="0" aria-valuemax="100">'
        f'<div style="width:{share}%"></div></div></div>'
    )


def note(text: str) -> str:
    """A plain sentence of the page."""
    return f'<div class="cf-status" role="status"><span>{escape(text)}</span></div>' if text else ""


def wrong(text: str) -> str:
    """Why something could not be done."""
    return f'<div class="cf-status cf-wrong" role="alert"><span>{escape(text)}</span></div>'


def notes(text: str, warning: str) -> str:
    """A sentence, and under it what is wrong; either may be empty."""
    return note(text) + (wrong(warning) if warning else "")


def about(text: str) -> str:
    """A method, in a sentence or two."""
    return f'<p class="cf-hint">{escape(text)}</p>'


def report(facts: dict[str, Any], source: str, target: str) -> str:
    """What is told of a result: what to expect of it, what it cost, how exact the inversion is."""
    trust = str(facts.get("sentence", ""))
    lines = [NOT_CALIBRATED if trust == UNKNOWN else escape(trust)]
    lines += [escape(str(facts[name])) for name in ("size", "cut", "inverted") if facts.get(name)]
    rows = [("method", facts["method"]), ("forwards", facts["forwards"])]
    rows += [("time", _seconds(facts["seconds"])), ("seed", facts["seed"])]
    if facts.get("mask"):
        rows.append(("mask", facts["mask"]))
    said = "".join(f"<p>{line}</p>" for line in lines if line)
    cells = "".join(f"<div><dt>{k}</dt><dd>{escape(str(v))}</dd></div>" for k, v in rows)
    words = sentence(target, changed_words(source, target), "ins")
    return f'<div class="cf-report cf-words"><p>{words}</p>{said}<dl>{cells}</dl></div>'


def inverted(steps: int, forwards: int, residual: float | None, error: float | None) -> str:
    """How exact an inversion is, in a sentence or two; `steps` 0 where nothing was inverted."""
    if not steps:
        return "This method inverts nothing: it starts from the picture itself."
    said = f"The picture was inverted to noise in {steps} steps ({forwards} forwards)."
    if residual is not None:
        how = "well" if residual < 0.01 else "fairly" if residual < 0.05 else "badly"
        said += f" Each step fits the model {how}: it is off by {residual:.1%} on average."
    if error is not None:
        exact = error < 1e-3
        said += " The way back gives the source " + ("exactly." if exact else "only roughly.")
    return said


def _seconds(seconds: float) -> str:
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
