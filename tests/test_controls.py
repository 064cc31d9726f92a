"""Controls: what they change on one forward, and that nothing stays behind."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from counterflow.backbones.base import field_of
from counterflow.controls.align import text_map
from counterflow.controls.attention import AttentionControl
from counterflow.controls.base import RowMap, attach
from counterflow.controls.text import TextControl
from counterflow.edit.editor import Editor
from counterflow.edit.prompting import row_map
from counterflow.flow import Step
from tools import (
    SOURCE,
    TARGETS,
    distance,
    hooks,
    inverted,
    mapped,
    noise,
    watched,
)

# Controls on one forward


def test_a_text_control_between_equals_is_the_identity(editor: Editor) -> None:
    """Equal prompts and latents: the controlled forward is the plain one, bit for bit."""
    backbone, x, step = editor.backbone, noise(editor, 0), Step(0, 4, 0.8, "source", "edit")
    conditioning = backbone.embed(SOURCE)
    field = field_of(backbone, conditioning)
    rows = row_map(conditioning, conditioning, "token")
    assert rows.source == tuple(range(conditioning.length))
    plain = field(x, step)
    controls = [TextControl(), AttentionControl(1.0, ("q", "k", "v"), "both")]
    with attach(backbone, controls) as session:
        assert torch.equal(session.on(field)(x, step), plain)
        assert torch.equal(session.on(field, [rows])(x, step.on("target")), plain)


def one_of_each(
    editor: Editor, controls: list[Any], modules: dict[str, nn.Module]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[int | None], list[Tensor]]:
    """A source, a (two-row) target and a negative forward under controls.

    Returns what the modules gave before the controls and after them, each as three forwards, the
    row map, and how far each velocity is from that of the model without controls.
    """
    backbone, step = editor.backbone, Step(0, 4, 0.8, "source", "edit")
    a, b = backbone.embed(SOURCE), backbone.embed(TARGETS[0])
    rows = text_map(a.segments, b.segments, b.length)
    assert None in rows and any(i is not None and i != j for j, i in enumerate(rows))
    runs = [
        (field_of(backbone, a), noise(editor, 0), step),
        (field_of(backbone, b), noise(editor, 1, rows=2), step.on("target")),
        (field_of(backbone, editor.negative), noise(editor, 2), step.on("negative")),
    ]
    plain = [field(x, step) for field, x, step in runs]
    with watched(modules) as raw, attach(backbone, controls) as session, watched(modules) as seen:
        maps = [RowMap(tuple(rows))] * 2
        told = [session.on(runs[0][0]), session.on(runs[1][0], maps), runs[2][0]]
        out = [field(x, step) for field, (_, x, step) in zip(told, runs, strict=True)]
    n = len(modules)
    forwards = [[dict(all_[i * n : (i + 1) * n]) for i in range(3)] for all_ in (raw, seen)]
    assert [len(one) for both in forwards for one in both] == [n] * 6
    return *forwards, rows, [(u - v).abs().amax() for u, v in zip(out, plain, strict=True)]


def test_a_text_control_changes_the_mapped_rows_alone(editor: Editor) -> None:
    """Unchanged tokens get the source's modulated features from their own position in the source
    prompt, in every block and every row of the batch; edited tokens, the modulation's gates, the
    source pass and the negative pass keep their own.
    """
    blocks = editor.backbone.transformer.transformer_blocks
    modules = {str(i): block.norm1_context for i, block in enumerate(blocks)}
    raw, seen, rows, moved = one_of_each(editor, [TextControl()], modules)
    text = lambda output: output[0] if isinstance(output, tuple) else output
    for name in modules:
        source, target = text(raw[0][name]), text(raw[1][name])
        assert distance(mapped(target, source, rows), target) > 1e-3
        assert torch.equal(text(seen[1][name]), mapped(target, source, rows))
        for i in (0, 2):
            assert torch.equal(text(seen[i][name]), text(raw[i][name]))
        if isinstance(seen[1][name], tuple):
            pairs = zip(seen[1][name][1:], raw[1][name][1:], strict=True)
            assert all(torch.equal(after, before) for after, before in pairs)
    assert moved[0] == 0 and moved[1] > 1e-3 and moved[2] == 0


@pytest.mark.parametrize(
    ("parts", "tokens", "blocks"),
    [
        (("v",), "image", None),
        (("q", "k"), "text", None),
        (("q", "k", "v"), "both", (1,)),
    ],
    ids=["v-image", "qk-text", "qkv-both-block1"],
)
def test_an_attention_control_changes_its_features_alone(
    editor: Editor, parts: tuple[str, ...], tokens: str, blocks: tuple[int, ...] | None
) -> None:
    """Image features are the source's whole, text features row by row, for the chosen parts, tokens
    and blocks; all other projections (a second, image-only attention included) are untouched.
    """
    modules: dict[str, nn.Module] = {}
    for i, block in enumerate(editor.backbone.transformer.transformer_blocks):
        for part in "qkv":
            modules[f"{i} {part} image"] = getattr(block.attn, f"to_{part}")
            modules[f"{i} {part} text"] = getattr(block.attn, f"add_{part}_proj")
            if getattr(block, "attn2", None) is not None:
                modules[f"{i} {part} second"] = getattr(block.attn2, f"to_{part}")
    control = AttentionControl(1.0, parts, tokens, blocks)
    raw, seen, rows, moved = one_of_each(editor, [control], modules)
    for name in modules:
        i, part, stream = name.split()
        chosen = part in parts and tokens in (stream, "both") and (not blocks or int(i) in blocks)
        expected = raw[1][name]
        if chosen and stream == "image":
            expected = raw[0][name].expand_as(expected)
        elif chosen and stream == "text":
            expected = mapped(expected, raw[0][name], rows)
        assert torch.equal(seen[1][name], expected), name
        assert not chosen or stream == "second" or distance(expected, raw[1][name]) > 1e-3
        for k in (0, 2):
            assert torch.equal(seen[k][name], raw[k][name]), name
    assert moved[0] == 0 and moved[1] > 1e-4 and moved[2] == 0


# Nothing stays behind


class Broken(TextControl):
    """Fails where it should act."""

    def apply(self, *_: Any) -> Tensor:
        raise ZeroDivisionError


def test_attaching_leaves_no_trace(editor: Editor) -> None:
    """After `attach`, after a control's error in it and after a refused second `attach`, there is
    no hook, the output is bit-equal to before, and the model can be attached to again.
    """
    backbone, x, step = editor.backbone, noise(editor, 0), Step(0, 4, 0.8, "source", "edit")
    field = field_of(backbone, backbone.embed(SOURCE))
    rows = [RowMap(tuple(range(backbone.embed(SOURCE).length)))]
    before = field(x, step)
    assert hooks(backbone) == 0

    def clean() -> bool:
        return hooks(backbone) == 0 and torch.equal(field(x, step), before)

    with attach(backbone, [TextControl()]) as session:
        assert hooks(backbone) > 0
        session.on(field)(x, step)
    assert clean()

    with pytest.raises(ZeroDivisionError), attach(backbone, [Broken()]) as session:
        session.on(field)(x, step)
        session.on(field, rows)(x, step.on("target"))
    assert clean()

    with attach(backbone, [TextControl()]):
        count = hooks(backbone)
        with pytest.raises(RuntimeError, match="already"), attach(backbone, []):
            pass
        assert hooks(backbone) == count
        with pytest.raises(RuntimeError, match="already"), attach(backbone, [TextControl()]):
            pass
        assert hooks(backbone) == count
    assert clean()
    with attach(backbone, []):
        assert hooks(backbone) == 0
    assert clean()


@pytest.mark.parametrize("at", [1, 4, 9])
def test_an_edit_that_is_stopped_leaves_no_trace(editor: Editor, at: int) -> None:
    """A progress callback may raise at any forward: no hook is left, and the same inversion then
    makes the edit that a fresh one makes.
    """

    def stop(label: str, made: int, expected: int) -> None:
        if made == at:
            raise KeyboardInterrupt

    inversion = inverted(editor)
    with pytest.raises(KeyboardInterrupt):
        inversion.edit(TARGETS[0], progress=stop)
    assert hooks(editor.backbone) == 0
    again, fresh = inversion.edit(TARGETS[0]), inverted(editor).edit(TARGETS[0])
    assert distance(again.latent, fresh.latent) <= 1e-6
