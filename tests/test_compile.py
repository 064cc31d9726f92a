"""`torch.compile` under controls: the same results, and nothing compiled twice.

The backend is `aot_eager`: all of the compiler but the making of kernels, which takes minutes.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from PIL import Image

from counterflow.backbones.hooks import compile_blocks, is_compiled
from counterflow.backbones.opening import load_adapter
from counterflow.bench.vital import bypassed
from counterflow.controls.attention import AttentionControl
from counterflow.controls.base import attach
from counterflow.edit.editor import Editor
from counterflow.errors import ModelError
from counterflow.toybox.render import render
from tiny import TINY
from tools import SCENE, SOURCE, TARGETS, distance, noise

BACKEND = "aot_eager"
TOLERANCE = 1e-4
CONTROLS: list[dict[str, Any]] = [
    {"text_ratio": 0},
    {"text_ratio": 0.5, "attention_ratio": (0.5, 1), "attention_tokens": "both"},
]
"""Without any; with one after the other."""
logging.getLogger("torch.__trace").handlers.clear()  # tests would keep all that the compiler tells


@contextmanager
def compiling_nothing() -> Iterator[None]:
    """Inside, compiling is an error, or another graph."""
    counted = torch._dynamo.utils.counters["stats"]
    before = counted["unique_graphs"]
    with torch._dynamo.config.patch(error_on_recompile=True):
        yield
    assert counted["unique_graphs"] == before


def latents(editor: Editor, picture: Any) -> list[torch.Tensor]:
    """Of edits without control and with, in turn, and by `paired`, which asks in other batches."""
    own = editor.edit(editor.invert(picture, SOURCE, "paired", steps=2), TARGETS[0])
    inversion = editor.invert(picture, SOURCE, "ftedit", steps=2, iterations=1)
    made = [editor.edit(inversion, TARGETS[0], **options) for options in CONTROLS * 2]
    return [each.latent for each in (*made, own)]


@pytest.mark.parametrize("name", ["sd3.5-medium", "flux-dev"])
def test_a_compiled_model_edits_alike_and_compiles_once(name: str) -> None:
    """Over steps, controls, pictures of one size, numbers of targets; blocks can be passed by."""
    torch._dynamo.reset()
    backbone = load_adapter(TINY[name].build(), name)
    backbone.area = 64 * 64
    editor = Editor(backbone)
    picture = render(SCENE)
    another = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    x, prompt = noise(editor, 0), editor.embed(SOURCE)

    def passed() -> torch.Tensor:
        with bypassed(backbone.blocks()[0]):
            return backbone.velocity(x, 0.5, prompt)

    expected = [*latents(editor, picture), *latents(editor, another), passed()]
    whole = backbone.velocity(x, 0.5, prompt)
    for a, b in ((0, 1), (0, len(CONTROLS * 2) + 1)):  # controls and pictures make a difference
        assert distance(expected[a], expected[b]) > 10 * TOLERANCE
    assert distance(expected[-1], whole) > 10 * TOLERANCE

    compile_blocks(backbone, BACKEND)
    found = latents(editor, picture)
    with compiling_nothing():
        found += [*latents(editor, another), passed()]
        inversion = editor.invert(another, TARGETS[1], "ftedit", steps=3, iterations=0)
        editor.edit_batch(inversion, TARGETS)
        with pytest.raises(ZeroDivisionError), attach(backbone, [AttentionControl(1.0)]):
            raise ZeroDivisionError  # the control is gone nonetheless
        assert distance(backbone.velocity(x, 0.5, prompt), whole) <= TOLERANCE
    for a, b in zip(expected, found, strict=True):
        assert distance(a, b) <= TOLERANCE


def test_without_a_compiler_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is compiled, in one line, as a model that cannot be had."""

    def failing(*_: Any) -> Any:
        raise RuntimeError("no working C++ compiler\nand more")

    editor = Editor(load_adapter(TINY["sd3"].build(), "sd3"))
    torch._dynamo.reset()
    with pytest.raises(ModelError, match=r"C\+\+ compiler: .*no working C\+\+ compiler$"):
        compile_blocks(editor.backbone, failing)
    assert all(not is_compiled(block.module) for block in editor.backbone.blocks())
