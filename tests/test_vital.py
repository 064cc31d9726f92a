"""How much each block decides, and the bypass that tells it."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch

from counterflow.bench import vital
from counterflow.edit.editor import Editor
from counterflow.errors import InputError, ModelError
from counterflow.metrics import dinov2
from counterflow.metrics.pixels import ssim
from tools import SOURCE, Run, distance, hooks, noise, refused


def test_a_bypassed_block_adds_nothing(editor: Editor) -> None:
    """As with its gates closed, in the first, a middle and the last block; then it is back."""
    backbone, x = editor.backbone, noise(editor, 1)
    prompt = backbone.embed(SOURCE)
    usual = backbone.velocity(x, 0.7, prompt)
    for number, block in enumerate(backbone.blocks()):
        assert block.module is backbone.transformer.transformer_blocks[number]
        with vital.bypassed(block):
            made = backbone.velocity(x, 0.7, prompt)
        assert distance(made, closed(editor, number, x, prompt)) <= 1e-6
        assert distance(made, usual) > 1e-5
    assert torch.equal(backbone.velocity(x, 0.7, prompt), usual) and hooks(backbone) == 0


def closed(editor: Editor, number: int, x: torch.Tensor, prompt: Any) -> torch.Tensor:
    """The velocity where a block is not among the blocks at all."""
    blocks = editor.backbone.transformer.transformer_blocks
    out = blocks[number]
    if number + 1 == len(blocks):  # the text stream ends there, whatever it is
        rest = torch.nn.ModuleList(list(blocks)[:-1])
    else:
        rest = torch.nn.ModuleList([block for block in blocks if block is not out])
    editor.backbone.transformer.transformer_blocks = rest
    try:
        return editor.backbone.velocity(x, 0.7, prompt)
    finally:
        editor.backbone.transformer.transformer_blocks = blocks


def test_vitality_is_what_is_lost_without_a_block(
    one: Editor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1 less the mean likeness of pictures of the same prompts and seeds."""
    monkeypatch.setattr(dinov2, "load", missing)
    asked = vital.prompts(2, 5)
    assert len(set(asked)) == 2 and asked[1:] == vital.prompts(1, 6)
    told: list[tuple[int, int]] = []
    found = vital.vitality(one, asked, 2, 1.0, 3, lambda _, *made: told.append(made))
    assert told == [(n, 8) for n in range(1, 9)] and found.likeness == "SSIM"
    with vital.bypassed(one.backbone.blocks()[1]):
        without = [one.generate(asked[n], 2, 1.0, 3 + n)[0] for n in (0, 1)]
    whole = [one.generate(asked[n], 2, 1.0, 3 + n)[0] for n in (0, 1)]
    pairs = zip(map(np.asarray, whole), map(np.asarray, without), strict=True)
    assert found.values[1] == pytest.approx(1 - np.mean([ssim(a, b) for a, b in pairs]))
    with pytest.raises(InputError, match="one prompt or more"):
        vital.vitality(one, [])


def missing(*_: Any) -> Any:
    raise ModelError("absent")


def test_vital_blocks_stand_out() -> None:
    """Above the mean by half a standard deviation."""
    found = vital.Vitality((0.1, 0.9, 0.2, 0.6), "SSIM")
    assert found.threshold == pytest.approx(0.45 + 0.5 * np.std([0.1, 0.9, 0.2, 0.6]))
    assert found.vital == (1,)
    assert vital.Vitality((0.5, 0.5), "SSIM").vital == ()


def test_dinov2_tells_pictures_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Equal ones have 1; it is preferred where its weights are, and never downloaded."""
    from transformers import Dinov2Config, Dinov2Model

    torch.manual_seed(0)
    config = Dinov2Config(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, image_size=28, patch_size=14
    )
    network = dinov2.DinoV2(Dinov2Model(config))
    a, b = (np.random.default_rng(n).integers(0, 256, (40, 30, 3), np.uint8) for n in (1, 2))
    assert network.similarity(a, a) == pytest.approx(1)
    assert -1 <= network.similarity(a, b) < 1
    monkeypatch.setattr(dinov2, "load", lambda: network)
    assert vital.likeness()[0] == "DINOv2"
    monkeypatch.undo()
    with pytest.raises(ModelError, match="hf download facebook/dinov2-base"):
        dinov2.load("/nowhere/at/all")


def test_the_command_prints_a_table_or_json(run: Run, model: str) -> None:
    """With what the pictures were compared by, and the setting to give."""
    words = ["vital-blocks", "--model", model, "--prompts", "1", "--steps", "2"]
    code, said, _ = run(*words)
    assert code == 0 and "0.5 standard deviations" in said and "blocks=" in said
    code, said, _ = run(*words, "--json")
    told = json.loads(said)
    assert code == 0 and len(told["vitality"]) == 3 and told["prompts"] == 1
    assert told["vital"] == [n for n, v in enumerate(told["vitality"]) if v > told["threshold"]]
    refused(run("vital-blocks", "--prompts", "0"), 2, "--prompts")
    refused(run("vital-blocks", "--steps", "0"), 2, "steps")
