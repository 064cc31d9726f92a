"""The documents are kept true: their code runs, and what is generated is up to date."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from counterflow.edit.editor import Editor
from counterflow.methods import registry
from counterflow.methods.registry import Entry
from counterflow.toybox.render import render
from tools import SCENE, SOURCE, TARGETS, distance

DOCS = Path(__file__).parents[1] / "docs"


def blocks(page: str, language: str = "python") -> list[str]:
    text = (DOCS / page).read_text("utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def test_the_method_of_the_guide_works(one: Editor, monkeypatch: pytest.MonkeyPatch) -> None:
    code, outside, line = blocks("adding-a-method.md")
    lines = [each for each in code[code.index("@dataclass") :].splitlines() if each.strip()]
    assert len(lines) <= 12, "it is called small"
    module: dict[str, object] = {}
    exec(f"{code}\n{outside}", module)
    entry = eval(f"{{{line.strip()}}}", {"Entry": Entry})["renoise"]
    monkeypatch.setattr(Entry, "load", lambda self: module["Renoise"])
    monkeypatch.setitem(registry.METHODS, "renoise", entry)

    texts = {"strength": "0.5", "steps": "6"}
    method = registry.variant("renoise", texts).method
    inversion = one.invert(render(SCENE), SOURCE, method)
    assert inversion.trajectory is None and inversion.forwards == 0
    made = one.edit(inversion, TARGETS[0])
    assert made.forwards == 3 * 2

    mask = np.zeros(inversion.picture.size[::-1], bool)
    mask[:32] = True
    masked = one.edit(inversion, TARGETS[0], mask=mask, exact_background=True)
    assert (np.asarray(masked.image)[32:] == np.asarray(inversion.picture)[32:]).all()


def test_a_method_without_an_outside_takes_no_mask(one: Editor) -> None:
    (code, _, _) = blocks("adding-a-method.md")
    module: dict[str, object] = {}
    exec(code, module)
    method = module["Renoise"](steps=4)  # type: ignore[operator]
    inversion = one.invert(render(SCENE), SOURCE, method)
    with pytest.raises(registry.InputError, match="renoise takes no mask"):
        one.edit(inversion, TARGETS[0], mask=np.ones(inversion.picture.size[::-1], bool))


def test_the_page_of_methods_is_what_the_program_says(run: object) -> None:
    code, out, _ = run("methods", "--markdown")  # type: ignore[operator]
    assert code == 0
    assert out == (DOCS / "methods.md").read_text("utf-8"), "counterflow methods --markdown"


def test_the_adapter_of_the_guide_works(tiny: Any) -> None:
    """It draws what the pipeline draws, and edits under the paper's control."""
    (code,) = blocks("adding-a-model.md")
    made: dict[str, Any] = {}
    exec(code, made)
    editor = Editor(made["Plain"](tiny.pipeline))
    ours, theirs = (
        each.generate(SOURCE, steps=3, guidance=2.5, size=(64, 48))[1][-1]
        for each in (editor, Editor(tiny))
    )
    assert distance(ours, theirs) <= 1e-6
    editor.backbone.area = 64 * 64
    inversion = editor.invert(render(SCENE), SOURCE, "ftedit", steps=2, iterations=1)
    assert editor.reconstruct(inversion).latent_error <= 1e-5
    assert distance(editor.edit(inversion, TARGETS[0]).latent, inversion.image) > 1e-3
