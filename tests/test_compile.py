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
from counterflow.backbones.registry import load_adapter
from counterflow.bench.vital import bypassed
from counterflow.controls.attention import AttentionControl
from counterflow.controls.base import attach
from counterflow.edit.editor import Editor
from counterflow.errors import ModelError
from counterflow.toybox.render import render
from families import TINY
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


def both(name: str) -> tuple[Editor, Editor]:
    """A family's tiny model, plain and compiled."""
    torch._dynamo.reset()
    editors = []
    for _ in range(2):
        backbone = load_adapter(TINY[name].build(), name)
        backbone.area = 64 * 64
        editors.append(Editor(backbone))
    compile_blocks(editors[1].backbone, BACKEND)
    return editors[0], editors[1]


def latents(editor: Editor, picture: Any) -> list[torch.Tensor]:
    """Of edits without control and with, in turn."""
    inversion = editor.invert(picture, SOURCE, "ftedit", steps=2, iterations=1)
    return [editor.edit(inversion, TARGETS[0], **options).latent for options in CONTROLS * 2]


@pytest.mark.parametrize("name", ["sd3.5-medium", "flux-dev"])
def test_a_compiled_model_edits_alike_and_compiles_once(name: str) -> None:
    """Over steps, controls and pictures of one size."""
    plain, compiled = both(name)
    picture = render(SCENE)
    expected = latents(plain, picture)
    assert distance(expected[0], expected[1]) > 10 * TOLERANCE  # the controls do something
    for a, b in zip(expected, latents(compiled, picture), strict=True):
        assert distance(a, b) <= TOLERANCE
    another = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    with compiling_nothing():
        found = latents(compiled, another)
        compiled.edit_batch(
            compiled.invert(another, TARGETS[1], "ftedit", steps=3, iterations=0), TARGETS
        )
    for a, b in zip(latents(plain, another), found, strict=True):
        assert distance(a, b) <= TOLERANCE
    assert distance(found[0], expected[0]) > 10 * TOLERANCE

    x, prompt = noise(plain, 0), plain.embed(SOURCE)
    whole = plain.backbone.velocity(x, 0.5, prompt)
    for editor in (plain, compiled):
        with bypassed(editor.backbone.blocks()[0]):
            without = editor.backbone.velocity(x, 0.5, prompt)
        assert distance(without, whole) > 10 * TOLERANCE
    assert distance(compiled.backbone.velocity(x, 0.5, prompt), whole) <= TOLERANCE
    with pytest.raises(ZeroDivisionError), attach(compiled.backbone, [AttentionControl(1.0)]):
        raise ZeroDivisionError  # the control is gone nonetheless
    assert distance(compiled.backbone.velocity(x, 0.5, prompt), whole) <= TOLERANCE


def test_without_a_compiler_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is compiled, in one line, as a model that cannot be had."""

    def failing(*_: Any) -> Any:
        raise RuntimeError("no working C++ compiler\nand more")

    editor = Editor(load_adapter(TINY["sd3"].build(), "sd3"))
    torch._dynamo.reset()
    with pytest.raises(ModelError, match=r"C\+\+ compiler: .*no working C\+\+ compiler$"):
        compile_blocks(editor.backbone, failing)
    assert all(not is_compiled(block.module) for block in editor.backbone.blocks())
