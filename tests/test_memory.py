"""Where memory runs out: once more with less, and then a typed error that leaves nothing behind."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch

from counterflow.bench.engine import Attempt, Engine, condition
from counterflow.bench.sets.cases import rendered
from counterflow.bench.sets.toypie import scene_edits
from counterflow.edit.editor import Editor
from counterflow.errors import ModelError, OutOfMemory
from counterflow.toybox.render import render
from tools import SCENE, SOURCE, TARGETS, distance, hooks

ERRORS: dict[str, Callable[[], Exception]] = {
    "cuda": lambda: torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB. GPU 0"),
    "cpu": lambda: RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 9"),
    "python": MemoryError,
}
HOW = {"steps": 3, "iterations": 1}


class Full:
    """A model's velocity, as it is with memory for so many samples at once."""

    def __init__(self, editor: Editor, monkeypatch: pytest.MonkeyPatch) -> None:
        self.most, self.error, self.held = 99, ERRORS["cuda"], []
        self.asked: list[int] = []
        velocity = editor.backbone.velocity

        def bounded(x: torch.Tensor, sigma: float, conditioning: Any) -> torch.Tensor:
            self.asked.append(len(x))
            tensor = torch.zeros(1000)
            self.held.append(weakref.ref(tensor))
            if len(x) > self.most:
                raise self.error()
            return velocity(x, sigma, conditioning) + 0 * tensor[0]

        monkeypatch.setattr(editor.backbone, "velocity", bounded)


@pytest.fixture
def full(one: Editor, monkeypatch: pytest.MonkeyPatch) -> Full:
    return Full(one, monkeypatch)


@pytest.mark.fault("21")
@pytest.mark.parametrize("name", ERRORS)
def test_it_is_made_again_row_by_row(one: Editor, full: Full, name: str) -> None:
    """The picture is the same but for rounding, and the editor is as it was."""
    inversion = one.invert(render(SCENE), SOURCE, "ftedit", **HOW)
    before = one.edit_batch(inversion, TARGETS)
    full.most, full.error, full.asked = 1, ERRORS[name], []
    inversion.forget()
    with pytest.warns(UserWarning, match="made again, one sample at a time"):
        after = one.edit_batch(inversion, TARGETS)
    assert full.asked[0] > 1 and set(full.asked[1:]) == {1}
    for a, b in zip(before, after, strict=True):
        assert distance(a.latent, b.latent) <= 1e-4
    assert one.rows == 8 and hooks(one.backbone) == 0


OPERATIONS: dict[str, Callable[[Editor, Any], object]] = {
    "invert": lambda editor, _: editor.invert(render(SCENE), SOURCE, "ftedit", **HOW),
    "edit": lambda editor, inversion: editor.edit(inversion, TARGETS[0]),
    "reconstruct": lambda editor, inversion: editor.reconstruct(inversion),
    "mask": lambda editor, inversion: editor.auto_mask(inversion, TARGETS[0]),
    "generate": lambda editor, _: editor.generate(SOURCE, steps=2),
}


@pytest.mark.fault("21")
@pytest.mark.filterwarnings("ignore:.*made again")
@pytest.mark.parametrize("name", OPERATIONS)
def test_then_it_fails_and_memory_is_free(one: Editor, full: Full, name: str) -> None:
    """Tried twice; no tensor of the attempts lives on, and the next operation works."""
    inversion = one.invert(render(SCENE), SOURCE, "ftedit", **HOW)
    full.most, full.asked, full.held = 0, [], []
    with pytest.raises(OutOfMemory, match="one sample at a time") as error:
        OPERATIONS[name](one, inversion)
    assert isinstance(error.value, ModelError) and len(full.asked) == 2
    del error
    gc.collect()
    assert [each() for each in full.held] == [None, None]
    assert one.rows == 8 and hooks(one.backbone) == 0
    full.most = 99
    OPERATIONS[name](one, inversion)


def test_another_error_is_not_taken_for_it(one: Editor, full: Full) -> None:
    full.most, full.error = 0, lambda: RuntimeError("expected a tensor")
    with pytest.raises(RuntimeError, match="expected a tensor"):
        one.generate(SOURCE, steps=1)
    assert len(full.asked) == 1


@pytest.mark.fault("21")
@pytest.mark.filterwarnings("ignore:.*made again")
def test_a_benchmark_goes_on(one: Editor, full: Full) -> None:
    """The item for which memory did not suffice fails alone."""
    case = rendered(next(iter(scene_edits(1, 0))))
    made = []
    for full.most in (0, 99):
        made += Engine(one).run((Attempt(case, condition("euler", steps=3)),))
    bad, good = made
    assert bad.error is not None and "out of memory" in bad.error and bad.picture is None
    assert good.error is None and good.picture is not None
