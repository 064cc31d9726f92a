"""Controls: what they change on one forward, and that nothing stays behind."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from counterflow.backbones.base import stacked
from counterflow.controls.align import text_map
from counterflow.controls.attention import AttentionControl
from counterflow.controls.base import Part, attach
from counterflow.controls.rows import RowMap, row_map
from counterflow.controls.text import TextControl
from counterflow.edit.editor import Editor
from counterflow.flow import Branch, Step
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

HERE = Step(0, 4, 0.8)
BRANCHES: tuple[Branch, ...] = ("source", "target", "negative")
together_or_apart = pytest.mark.parametrize("together", [True, False], ids=["together", "apart"])

# Controls on one forward


@together_or_apart
def test_a_text_control_between_equals_is_the_identity(editor: Editor, together: bool) -> None:
    """Equal prompts and latents: the controlled forward is the plain one, bit for bit."""
    backbone, x = editor.backbone, noise(editor, 0)
    conditioning = backbone.embed(SOURCE)
    rows = row_map(conditioning, conditioning)
    assert rows.source == tuple(range(conditioning.length))
    source = Part("source", slice(0, 1), HERE)
    x, forwards = (torch.cat([x, x]), 1) if together else (x, 2)
    plain = backbone.velocity(x, HERE.sigma, conditioning)
    controls = [TextControl(), AttentionControl(1.0, ("q", "k", "v"), "both")]
    parts = [[source, Part("target", slice(1, 2), HERE, [rows])]]
    if not together:
        parts = [[source], [Part("target", slice(0, 1), HERE, [rows])]]
    with attach(backbone, controls) as session:
        for n in range(forwards):
            with session.running(HERE, parts[n]):
                assert torch.equal(backbone.velocity(x, HERE.sigma, conditioning), plain)


def one_of_each(
    editor: Editor, controls: list[Any], modules: dict[str, nn.Module], together: bool
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[int | None], list[Tensor]]:
    """A source row, two target rows and a negative row under controls, in one forward or three.

    Returns what the modules gave before the controls and after them, each by branch, the row map,
    and how far each branch's velocity is from that of the model without controls.
    """
    backbone = editor.backbone
    a, b = backbone.embed(SOURCE), backbone.embed(TARGETS[0])
    rows = text_map(a.segments, b.segments, b.length)
    assert None in rows and any(i is not None and i != j for j, i in enumerate(rows))
    xs = [noise(editor, 0), noise(editor, 1, rows=2), noise(editor, 2)]
    prompts, maps = [[a], [b, b], [editor.negative]], [[], [RowMap(tuple(rows))] * 2, []]
    places = [slice(0, 1), slice(1, 3), slice(3, 4)]
    if together:
        parts = [Part(*each) for each in zip(BRANCHES, places, [HERE] * 3, maps, strict=True)]
        runs = [(torch.cat(xs), stacked([c for each in prompts for c in each]), parts)]
    else:
        runs = [
            (x, stacked(c), [Part(branch, slice(0, len(x)), HERE, each)])
            for x, c, branch, each in zip(xs, prompts, BRANCHES, maps, strict=True)
        ]
    plain = [backbone.velocity(x, HERE.sigma, c) for x, c, _ in runs]
    with watched(modules) as raw, attach(backbone, controls) as session, watched(modules) as seen:
        out = []
        for x, c, parts in runs:
            with session.running(HERE, parts):
                out.append(backbone.velocity(x, HERE.sigma, c))

    def by_branch(outputs: list[tuple[str, Any]]) -> list[dict[str, Any]]:
        assert len(outputs) == len(runs) * len(modules)
        made = [dict(outputs[i : i + len(modules)]) for i in range(0, len(outputs), len(modules))]
        if not together:
            return made
        return [{name: rows_of(each, at) for name, each in made[0].items()} for at in places]

    moved = (torch.cat(out) - torch.cat(plain)).abs()
    return by_branch(raw), by_branch(seen), rows, [moved[at].amax() for at in places]


def rows_of(output: Any, at: slice) -> Any:
    """Some rows of a module's output."""
    return tuple(each[at] for each in output) if isinstance(output, tuple) else output[at]


@together_or_apart
def test_a_text_control_changes_the_mapped_rows_alone(editor: Editor, together: bool) -> None:
    """Unchanged tokens get the source's modulated features from their own position in the source
    prompt, in every block and every row of the batch; edited tokens, the modulation's gates, the
    source pass and the negative pass keep their own.
    """
    blocks = editor.backbone.transformer.transformer_blocks
    modules = {str(i): block.norm1_context for i, block in enumerate(blocks)}
    raw, seen, rows, moved = one_of_each(editor, [TextControl(padding=True)], modules, together)
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
        (("v",), "all", None),
    ],
    ids=["v-image", "qk-text", "qkv-both-block1", "v-all"],
)
@together_or_apart
def test_an_attention_control_changes_its_features_alone(
    editor: Editor,
    parts: tuple[str, ...],
    tokens: str,
    blocks: tuple[int, ...] | None,
    together: bool,
) -> None:
    """Image features are the source's whole, text features row by row or all, for the chosen
    parts, tokens and blocks; all other projections (a second, image-only attention included) are
    untouched.
    """
    modules: dict[str, nn.Module] = {}
    for i, block in enumerate(editor.backbone.transformer.transformer_blocks):
        for part in "qkv":
            modules[f"{i} {part} image"] = getattr(block.attn, f"to_{part}")
            modules[f"{i} {part} text"] = getattr(block.attn, f"add_{part}_proj")
            if getattr(block, "attn2", None) is not None:
                modules[f"{i} {part} second"] = getattr(block.attn2, f"to_{part}")
    control = AttentionControl(1.0, parts, tokens, blocks)
    raw, seen, rows, moved = one_of_each(editor, [control], modules, together)
    for name in modules:
        i, part, stream = name.split()
        chosen = (
            stream != "second"
            and part in parts
            and tokens in (stream, "both", "all")
            and (not blocks or int(i) in blocks)
        )
        expected = raw[1][name]
        if chosen and (stream == "image" or tokens == "all"):
            expected = raw[0][name].expand_as(expected)
        elif chosen and stream == "text":
            expected = mapped(expected, raw[0][name], rows)
        assert torch.equal(seen[1][name], expected), name
        assert not chosen or distance(expected, raw[1][name]) > 1e-3
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
    backbone, x = editor.backbone, noise(editor, 0)
    conditioning = backbone.embed(SOURCE)
    maps = [RowMap(tuple(range(conditioning.length)))]
    parts = [Part("source", slice(0, 1), HERE), Part("target", slice(1, 2), HERE, maps)]

    def velocity(x: Tensor) -> Tensor:
        return backbone.velocity(x, HERE.sigma, conditioning)

    before = velocity(x)
    assert hooks(backbone) == 0

    def clean() -> bool:
        return hooks(backbone) == 0 and torch.equal(velocity(x), before)

    with attach(backbone, [TextControl()]) as session:
        assert hooks(backbone) > 0
        with session.running(HERE, parts[:1]):
            velocity(x)
        assert torch.equal(velocity(x), before), "between forwards nothing acts"
    assert clean()

    with (
        pytest.raises(ZeroDivisionError),
        attach(backbone, [Broken()]) as session,
        session.running(HERE, parts),
    ):
        velocity(torch.cat([x, x]))
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


@pytest.mark.parametrize("at", [1, 3, 6])
def test_an_edit_that_is_stopped_leaves_no_trace(editor: Editor, at: int) -> None:
    """A progress callback may raise after any step: no hook is left, and the same inversion then
    makes the edit that a fresh one makes.
    """

    def stop(label: str, made: int, expected: int) -> None:
        if made == at:
            raise KeyboardInterrupt

    inversion = inverted(editor)
    with pytest.raises(KeyboardInterrupt):
        editor.edit(inversion, TARGETS[0], progress=stop)
    assert hooks(editor.backbone) == 0
    again, fresh = editor.edit(inversion, TARGETS[0]), editor.edit(inverted(editor), TARGETS[0])
    assert distance(again.latent, fresh.latent) <= 1e-6
