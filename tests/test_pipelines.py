"""What the pipelines of families share."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from counterflow.backbones.base import stacked
from counterflow.edit.editor import Editor
from tools import SOURCE, TARGETS, noise


def children(model: torch.nn.Module) -> dict[str, int]:
    return {name: id(module) for name, module in model.named_modules()}


def test_what_is_computed_once_changes_no_velocity(editor: Editor) -> None:
    """To the bit, whatever changes from one forward to the next: time, prompts, rows, latents."""
    backbone: Any = editor.backbone
    first, second = (backbone.embed(prompt) for prompt in (SOURCE, TARGETS[0]))
    both = stacked([first, second])
    asked = [
        (noise(editor, seed, rows), sigma, prompts)
        for seed, (rows, prompts) in enumerate([(1, first), (1, second), (2, both), (2, first)])
        for sigma in (0.9, 0.5)
        for _ in range(2)
    ] * 2
    plain = [backbone.velocity(*each) for each in asked]
    before = children(backbone.transformer)
    with backbone.steady():
        steady = [backbone.velocity(*each) for each in asked]
        assert children(backbone.transformer) != before
    assert all(torch.equal(a, b) for a, b in zip(plain, steady, strict=True))
    assert children(backbone.transformer) == before
    assert torch.equal(backbone.velocity(*asked[0]), plain[0])


def test_modules_are_run_once_for_a_time_and_a_prompt(editor: Editor) -> None:
    backbone: Any = editor.backbone
    calls: list[int] = []
    linear = backbone.transformer.transformer_blocks[0].norm1.linear
    handle = linear.register_forward_hook(lambda *_: calls.append(1))
    prompt = backbone.embed(SOURCE)
    try:
        with backbone.steady():
            for sigma in (0.9, 0.9, 0.9, 0.5, 0.5):
                backbone.velocity(noise(editor, 1), sigma, prompt)
    finally:
        handle.remove()
    assert len(calls) == 2


def test_modules_are_back_after_an_error(editor: Editor) -> None:
    backbone: Any = editor.backbone
    before = children(backbone.transformer)
    with pytest.raises(RuntimeError, match="in the middle"), backbone.steady():
        raise RuntimeError("in the middle")
    assert children(backbone.transformer) == before
