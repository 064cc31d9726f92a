"""`torch.compile` under controls: the same results, and nothing compiled twice.

The backend is `aot_eager`: all of the compiler but the making of kernels, which takes minutes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch

from counterflow.backbones.hooks import compile_blocks
from counterflow.backbones.registry import load_adapter, load_backbone
from counterflow.bench.vital import bypassed
from counterflow.controls.attention import AttentionControl
from counterflow.controls.base import attach
from counterflow.edit.editor import Editor
from counterflow.errors import ModelError
from counterflow.toybox.render import render
from families import TINY
from tools import MOVING, SCENE, SOURCE, TARGETS, distance, inverted, noise

BACKEND = "aot_eager"
TOLERANCE = 1e-4
CONTROLS: list[dict[str, Any]] = [
    {},
    {"text_ratio": 0},
    {"attention_ratio": (0.3, 0.8), "attention_tokens": "both"},
]


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


def latents(editor: Editor, picture: Any, targets: list[str]) -> list[torch.Tensor]:
    """Of edits under every control in turn, the first target alone and then both."""
    inversion = editor.invert(picture, SOURCE, "ftedit", steps=4, iterations=1)
    return [
        edit.latent
        for options in CONTROLS
        for some in (targets[:1], targets)
        for edit in editor.edit_batch(inversion, some, **options)
    ]


@pytest.mark.parametrize("name", TINY)
def test_a_compiled_model_edits_alike_and_compiles_once(name: str) -> None:
    """Over steps, controls, numbers of targets and pictures of one size."""
    plain, compiled = both(name)
    first = render(SCENE)
    expected = latents(plain, first, list(TARGETS))
    for a, b in zip(expected, latents(compiled, first, list(TARGETS)), strict=True):
        assert distance(a, b) <= TOLERANCE
    assert distance(expected[0], expected[3]) > 100 * TOLERANCE  # the controls do something
    second = first.transpose(0)
    with compiling_nothing():
        found = latents(compiled, second, list(TARGETS))
    for a, b in zip(latents(plain, second, list(TARGETS)), found, strict=True):
        assert distance(a, b) <= TOLERANCE
