"""What is told of edits as text: cost, changed words, what was not understood, how far to trust."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from counterflow.edit.editor import Edit, Editor, Inversion
from counterflow.methods.registry import changed
from counterflow.trust.expecting import Expecting


@dataclass(frozen=True)
class Inverted:
    """A picture that is ready for edits, with the model and the seed that made it so."""

    editor: Editor
    inversion: Inversion
    seed: int


@dataclass(frozen=True)
class Edited:
    """An edit, and what it was made from."""

    source: Inverted
    edit: Edit


def report(edits: Sequence[Edited], check: bool) -> str:
    """A paragraph for each picture and each of its edits.

    With `check`, where the model has a calibration, how far each is to be trusted: four forwards
    for a picture and one for each target.
    """
    groups = groupby(edits, key=lambda each: id(each.source.inversion))
    return "\n\n".join(text for _, group in groups for text in _paragraphs(list(group), check))


def _paragraphs(group: Sequence[Edited], check: bool) -> Iterator[str]:
    source, edits = group[0].source, [each.edit for each in group]
    yield "\n".join(_of_picture(source))
    method = edits[0].method
    settings = [f"{key}={value}" for key, value in changed(method.name, method).items()]
    title = ",".join([method.name, *settings])
    expecting = Expecting(source.editor, [each.target for each in edits], False, title, check)
    for n, edit in enumerate(edits):
        trust = expecting(source.inversion, n)
        told = [trust[key] for key in ("size", "sentence") if trust[key]]
        yield "\n".join([f"{title}: {edit.target}", *_of_edit(edit), *told])


def _of_picture(source: Inverted) -> Iterator[str]:
    inversion, backbone = source.inversion, source.editor.backbone
    width, height = inversion.size
    dtype = str(backbone.dtype).removeprefix("torch.")
    yield f"source: {inversion.prompt}"
    yield f"{backbone.identity}, {dtype} on {backbone.device}, at {width}x{height}"
    if inversion.trajectory is not None:
        residual = inversion.residual
        told = "" if residual is None else f", mean residual {residual:.3g}"
        yield f"inverted: {inversion.forwards} forwards, {inversion.seconds:.1f} s{told}"


def _of_edit(edit: Edit) -> Iterator[str]:
    words = ", ".join(edit.target[start:end] for start, end in edit.changed)
    yield f"{edit.forwards} forwards, {edit.seconds:.1f} s; changed words: {words or 'none'}"
    if edit.found is not None:
        share = float((edit.found >= 0.5).float().mean())
        yield f"region that the method found: {100 * share:.0f} % of the picture"
    for tokenizer, rest in edit.cut.items():
        yield f"too long for {tokenizer}; not seen: {rest}"
    if edit.unknown:
        yield f"never learned by the model: {', '.join(edit.unknown)}"
