"""The editor on two tiny models of random weights: exact where the method is exact."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor, nn

from conftest import tiny_pipeline
from counterflow.backbones.base import field_of
from counterflow.backbones.sd3 import SD3
from counterflow.controls.align import text_map
from counterflow.controls.attention import AttentionControl
from counterflow.controls.base import attach
from counterflow.controls.text import TextControl
from counterflow.edit import inversion as editing
from counterflow.edit.branches import SourceBranch
from counterflow.edit.editor import Editor
from counterflow.edit.inversion import Inversion
from counterflow.edit.settings import EditSettings, InvertSettings
from counterflow.errors import InputError, NumericsError
from counterflow.flow import Step
from counterflow.toybox.captions import caption
from counterflow.toybox.render import render
from counterflow.toybox.scene import sample

SCENE = sample(3)
SOURCE = caption(SCENE)
TARGETS = [
    f"look, {caption(SCENE.but(kind='frog', color='pink'))}",  # so that every token moves
    caption(SCENE.but(arms="up" if SCENE.arms == "down" else "down")),
]
LONG = " ".join(f"{SOURCE} and" for _ in range(8))


@pytest.fixture(scope="module", params=["tiny", "tiny_medium"])
def editor(request: pytest.FixtureRequest) -> Editor:
    """Both models in turn; every test here leaves them as they were."""
    return Editor(request.getfixturevalue(request.param))


@pytest.fixture(scope="module")
def one(tiny: Any) -> Editor:
    """One model, where which it is cannot matter."""
    return Editor(tiny)


def inverted(editor: Editor, steps: int = 6, iterations: int = 1, **options: Any) -> Inversion:
    return editor.invert(render(SCENE), SOURCE, steps=steps, iterations=iterations, **options)


def noise(editor: Editor, seed: int, rows: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, *editor.backbone.latent_shape((64, 64)), generator=generator)


def distance(a: Tensor, b: Tensor) -> float:
    return (a - b).abs().max().item()


def hooks(backbone: Any) -> int:
    """Forward hooks and pre-hooks anywhere in the model. (Transformers keeps some of its own in the
    text encoders.)
    """
    return sum(
        len(module._forward_hooks) + len(module._forward_pre_hooks)
        for model in (backbone.transformer, backbone.vae)
        for module in model.modules()
    )


@contextmanager
def watched(modules: dict[str, nn.Module]) -> Iterator[list[tuple[str, Any]]]:
    """Outputs of modules, in the order of their calls, as they are when our hook comes."""
    seen: list[tuple[str, Any]] = []
    handles = [
        module.register_forward_hook(
            lambda _module, _inputs, output, name=name: seen.append((name, output))
        )
        for name, module in modules.items()
    ]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def poisoned(parameter: Tensor) -> Iterator[None]:
    """NaN in one parameter, for a while."""
    before = parameter.data.clone()
    parameter.data.fill_(math.nan)
    try:
        yield
    finally:
        parameter.data.copy_(before)


# Stage II


@settings(
    max_examples=20,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],  # it only takes notes
)
@given(
    steps=st.integers(1, 12),
    iterations=st.integers(0, 3),
    average=st.booleans(),
    scene=st.integers(0, 999),
)
def test_a_compensated_reconstruction_is_exact(
    editor: Editor,
    record_property: Callable[..., None],
    steps: int,
    iterations: int,
    average: bool,
    scene: int,
) -> None:
    """To 1e-5 for any N, I, averaging and scene. Without compensation the error is over a hundred
    times as large, and over 1e-3 but for last iterates that have nearly converged (I > 1).
    """
    inversion = editor.invert(
        render(sample(scene)),
        caption(sample(scene)),
        steps=steps,
        iterations=iterations,
        average=average,
    )
    exact, drifted = inversion.reconstruct(), inversion.reconstruct(compensate=False)
    stored = inversion.trajectory[-1]
    error, without = distance(exact.latent, stored), distance(drifted.latent, stored)
    record_property("uncompensated", without)
    event(f"uncompensated error 1e{math.floor(math.log10(without))}")
    assert (exact.latent_error, drifted.latent_error) == (error, without)
    assert error <= 1e-5
    assert without > 100 * error
    assert without > 1e-3 or (iterations > 1 and not average)


def test_every_stored_latent_is_recovered(editor: Editor) -> None:
    """Not the last alone; and a branch that is not evaluated lies on the same latents."""
    inversion = inverted(editor, steps=9, iterations=0)
    stored, field = inversion.trajectory, field_of(editor.backbone, inversion.conditioning)
    evaluated = SourceBranch(stored, field, True, stored[0], {})
    known = SourceBranch(stored, field, True, stored[0], {})
    for k in stored.grid.toward_image():
        step = Step(k, stored.grid.steps, stored.grid[k], "source", "edit")
        assert evaluated.step(step, evaluate=True) is not None
        assert known.step(step, evaluate=False) is None
        assert evaluated.landed is not None
        assert distance(evaluated.landed, stored[k + 1]) <= 1e-5
        assert torch.equal(known.x, stored[k + 1]) and torch.equal(evaluated.x, known.x)


def test_residuals_are_those_of_the_inversions_own_guidance(editor: Editor) -> None:
    """`‖eps‖ / ‖v‖` at the stored latents; no edit at another guidance changes them."""
    inversion = inverted(editor, steps=5)
    stored, velocity = inversion.trajectory, editor.backbone.velocity
    expected = {}
    for k in stored.grid.toward_image():
        v = velocity(stored[k], stored.grid[k], inversion.conditioning)
        needed = (stored[k + 1] - stored[k]) / (stored.grid[k + 1] - stored.grid[k])
        expected[k] = float((needed - v).norm() / v.norm())
    inversion.edit(TARGETS[0])
    assert inversion.residuals == pytest.approx(expected, rel=1e-3, abs=1e-6)
    assert inversion.residual == pytest.approx(sum(expected.values()) / 5, rel=1e-3)
    inversion.edit(TARGETS[0], compensate="both", guidance=7)
    assert inversion.residuals == pytest.approx(expected, rel=1e-3, abs=1e-6)


# Agreement with the model's own pipeline


@pytest.mark.parametrize("guidance", [1.0, 3.5])
@pytest.mark.parametrize("size", [(64, 64), (64, 96), (112, 48)], ids=str)
def test_generation_is_the_pipelines_own(
    editor: Editor, guidance: float, size: tuple[int, int]
) -> None:
    """From the same seed diffusers' pipeline ends at the same latents, square or not."""
    expected = editor.backbone.pipeline(
        SOURCE,
        width=size[0],
        height=size[1],
        num_inference_steps=7,
        guidance_scale=guidance,
        max_sequence_length=editor.backbone.t5_length,
        generator=torch.Generator().manual_seed(5),
        output_type="latent",
    ).images
    picture, made = editor.generate(SOURCE, steps=7, guidance=guidance, seed=5, size=size)
    assert picture.size == size and made[-1].shape == expected.shape
    assert distance(made[-1], expected) <= 1e-4
    assert distance(made[-1], made[0]) > 0.1


def test_a_long_tokenizer_gives_the_pipelines_default_call() -> None:
    """Where the tokenizer allows 256 tokens, as released SD3's does, nothing has to be said."""
    pipeline = tiny_pipeline()
    pipeline.tokenizer_3.model_max_length = 512
    seed = torch.Generator().manual_seed(5)
    expected = pipeline(SOURCE, num_inference_steps=4, generator=seed, output_type="latent").images
    _, made = Editor(SD3(pipeline)).generate(SOURCE, steps=4, guidance=7.0, seed=5)
    assert distance(made[-1], expected) <= 1e-4


def test_check_measures_whatever_edits_left_open(editor: Editor) -> None:
    """Every residual and the latent error, even after edits at another guidance or in a window."""
    for inverting, options in (
        ({"guidance": 2.0}, {}),
        ({}, {"compensate": "both", "guidance": 7}),
        ({}, {"text_ratio": 0.5}),
        ({}, {"text_ratio": 0}),
    ):
        inversion = inverted(editor, steps=4, **inverting)
        inversion.edit(TARGETS[0], **options)
        inversion.check()
        assert len(inversion.residuals) == 4 and inversion.residual is not None
        assert inversion.latent_error is not None and inversion.latent_error <= 1e-5
        assert inversion.check_forwards == 4 * (2 if inverting else 1)
        inversion.check()
        assert inversion.check_forwards == 4 * (2 if inverting else 1)


# Controls on one forward


def test_a_text_control_between_equals_is_the_identity(editor: Editor) -> None:
    """Equal prompts and latents: the controlled forward is the plain one, bit for bit."""
    backbone, x, step = editor.backbone, noise(editor, 0), Step(0, 4, 0.8, "source", "edit")
    conditioning = backbone.embed(SOURCE)
    field = field_of(backbone, conditioning)
    rows = text_map(conditioning.segments, conditioning.segments, conditioning.length)
    assert rows == list(range(conditioning.length))
    plain = field(x, step)
    controls = [TextControl(), AttentionControl(1.0, ("q", "k", "v"), "both")]
    with attach(backbone, controls) as session:
        assert torch.equal(session.on(field)(x, step), plain)
        assert torch.equal(session.on(field, rows)(x, step.on("target")), plain)


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
        told = [session.on(runs[0][0]), session.on(runs[1][0], rows), runs[2][0]]
        out = [field(x, step) for field, (_, x, step) in zip(told, runs, strict=True)]
    n = len(modules)
    forwards = [[dict(all_[i * n : (i + 1) * n]) for i in range(3)] for all_ in (raw, seen)]
    assert [len(one) for both in forwards for one in both] == [n] * 6
    return *forwards, rows, [(u - v).abs().amax() for u, v in zip(out, plain, strict=True)]


def mapped(target: Tensor, source: Tensor, rows: list[int | None]) -> Tensor:
    """Row by row, the source's where there is one."""
    return torch.stack(
        [target[:, j] if i is None else source[[0] * len(target), i] for j, i in enumerate(rows)], 1
    )


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
    rows = range(backbone.embed(SOURCE).length)
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


# Cost


class Meter:
    """A progress callback that keeps what it was told."""

    def __init__(self) -> None:
        self.told: list[tuple[int, int]] = []

    def __call__(self, label: str, made: int, expected: int) -> None:
        self.told.append((made, expected))

    def agrees(self, forwards: int) -> bool:
        """One call a forward, and the last one says that all are made."""
        return [made for made, _ in self.told] == list(range(1, forwards + 1)) and (
            self.told[-1] == (forwards, forwards)
        )


@pytest.mark.parametrize(("guidance", "cost"), [(1, 18), (2, 36)])
def test_an_inversion_costs(editor: Editor, guidance: float, cost: int) -> None:
    """N (I + 1) forwards, twice that with guidance; a reconstruction a third (I + 1) of it."""
    meter = Meter()
    inversion = inverted(editor, iterations=2, guidance=guidance, progress=meter)
    assert inversion.forwards == cost and meter.agrees(cost)
    meter = Meter()
    made = inversion.reconstruct(progress=meter)
    assert made.forwards == cost // 3 and meter.agrees(cost // 3)
    assert made.latent_error <= 1e-5


@pytest.mark.parametrize(
    ("options", "first", "second"),
    [
        ({"guidance": 2}, 18, 12),
        ({"guidance": 1}, 12, 6),
        ({"guidance": 2, "attention_ratio": 0.5}, 18, 12),
        ({"guidance": 2, "text_ratio": 0.5}, 15, 12),
        ({"guidance": 2, "text_ratio": 0, "attention_ratio": 0.34}, 14, 12),
        ({"guidance": 2, "text_ratio": 0}, 12, 12),
        ({"guidance": 2, "compensate": "both"}, 24, 24),
        ({"guidance": 1, "compensate": "both"}, 12, 12),
        ({"guidance": 2, "compensate": "none"}, 24, 24),
        ({"guidance": 2, "skip_steps": 2}, 12, 8),
        ({"guidance": 2, "skip_steps": 2, "text_ratio": 0.5}, 9, 8),
        ({"guidance": 2, "skip_steps": 2, "compensate": "both"}, 16, 16),
    ],
    ids=str,
)
def test_an_edit_costs(editor: Editor, options: dict[str, Any], first: int, second: int) -> None:
    """The target's passes, and the source's where its features (or compensation) are not known."""
    inversion = inverted(editor)
    for target, cost in zip(TARGETS, (first, second), strict=True):
        meter = Meter()
        assert inversion.edit(target, progress=meter, **options).forwards == cost
        assert meter.agrees(cost)


def test_the_papers_settings_cost_what_the_mathematics_needs(editor: Editor) -> None:
    """N = 30, I = 3: 120 to invert, 90 for the first target, 60 for each further one."""
    inversion = editor.invert(render(SCENE), SOURCE)
    assert inversion.settings == InvertSettings(steps=30, iterations=3, average=True, guidance=1)
    costs = [inversion.forwards, *(inversion.edit(target).forwards for target in TARGETS)]
    assert costs == [120, 90, 60]


def test_features_that_are_kept_change_no_result(editor: Editor) -> None:
    """A second target is what it would have been as the first, and features beyond the budget are
    computed again.
    """
    options = {"attention_ratio": 0.4, "attention_tokens": "both"}
    alone = inverted(editor).edit(TARGETS[1], **options)
    inversion = inverted(editor)
    inversion.edit(TARGETS[0])
    assert torch.equal(inversion.edit(TARGETS[1], **options).latent, alone.latent)
    poor = inverted(editor)
    poor.features.budget = 0
    for _ in range(2):
        again = poor.edit(TARGETS[1], **options)
        assert again.forwards == alone.forwards == 18 and torch.equal(again.latent, alone.latent)


# Edits against loops written out by hand


def by_hand(
    inversion: Inversion,
    target: str,
    guidance: float = 2.0,
    text: int = 0,
    values: int = 0,
    start: int = 0,
) -> Tensor:
    """The method's page as a plain loop: text features of the source in steps before `text`, image
    values before `values`, the source on its stored latents, Euler from `start`.
    """
    backbone, stored = inversion.backbone, inversion.trajectory
    conditioning = backbone.embed(target)
    rows = text_map(inversion.conditioning.segments, conditioning.segments, conditioning.length)
    blocks = backbone.transformer.transformer_blocks
    x = stored[start]
    for k in range(start, stored.grid.steps):
        s, s_next = stored.grid[k], stored.grid[k + 1]
        modules: dict[str, nn.Module] = {}
        for i, block in enumerate(blocks):
            if k < text:
                modules[f"text {i}"] = block.norm1_context
            if k < values:
                modules[f"value {i}"] = block.attn.to_v
        with watched(modules) as outputs:
            backbone.velocity(stored[k], s, inversion.conditioning)
        source = dict(outputs)

        def replace(name: str, out: Any, source: dict[str, Any] = source) -> Any:
            if name.startswith("value"):
                return source[name]
            if isinstance(out, tuple):
                return mapped(out[0], source[name][0], rows), *out[1:]
            return mapped(out, source[name], rows)

        u = backbone.velocity(x, s, inversion.negative)
        handles = [
            module.register_forward_hook(lambda _m, _i, out, name=name: replace(name, out))
            for name, module in modules.items()
        ]
        c = backbone.velocity(x, s, conditioning)
        for handle in handles:
            handle.remove()
        x = x + (s_next - s) * (u + guidance * (c - u))
    return x


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"text_ratio": 0.0}, {}),
        ({"text_ratio": 0.0, "compensate": "none"}, {}),
        ({"text_ratio": 0.0, "guidance": 5.5}, {"guidance": 5.5}),
        ({}, {"text": 8}),
        ({"text_ratio": 0.5}, {"text": 4}),
        ({"text_ratio": 0.0, "attention_ratio": 0.25}, {"values": 2}),
        ({"attention_ratio": 0.15, "guidance": 3}, {"text": 8, "values": 1, "guidance": 3}),
        ({"skip_steps": 2}, {"text": 8, "start": 2}),
        (
            {"skip_steps": 2, "text_ratio": 0.5, "attention_ratio": 0.375},
            {"text": 4, "values": 3, "start": 2},
        ),
    ],
    ids=str,
)
def test_an_edit_is_the_loop_of_the_method(
    editor: Editor, options: dict[str, Any], expected: dict[str, Any]
) -> None:
    """From the stored noise, or stored latent `n` when `n` steps are skipped, which shifts no
    window. Without controls it is plain Euler, whether the source is compensated or not. A window
    that is a step longer or shorter shows.
    """
    inversion = inverted(editor, steps=8)
    got = inversion.edit(TARGETS[0], **options)
    assert distance(got.latent, by_hand(inversion, TARGETS[0], **expected)) <= 3e-6
    text, start = expected.get("text", 0), expected.get("start", 0)
    others = [{**expected, "text": max(text, start) + 1 if text < 8 else 7}]
    others.append({**expected, "values": max(expected.get("values", 0), start) + 1})
    for other in others:
        assert distance(got.latent, by_hand(inversion, TARGETS[0], **other)) > 1e-5


@pytest.mark.parametrize("options", [{}, {"text_ratio": 0.0}, {"attention_ratio": 1.0}], ids=str)
def test_neutral_settings_give_the_source_back(editor: Editor, options: dict[str, Any]) -> None:
    """The source prompt as target, guidance 1, both branches compensated: the stored image. Without
    the target's compensation it is not.
    """
    inversion = inverted(editor)
    stored = inversion.trajectory[-1]
    neutral = inversion.edit(SOURCE, guidance=1, compensate="both", **options)
    assert distance(neutral.latent, stored) <= 1e-5
    assert neutral.changed == () and neutral.image.size == inversion.picture.size
    drifted = inversion.edit(SOURCE, guidance=1, **options)
    assert distance(drifted.latent, stored) > 1e-3


def test_compensating_both_adds_the_sources_eps(editor: Editor) -> None:
    """With no control, `x_tgt` gets `v(x_tgt, target) + eps[k]`, all under the edit's guidance."""
    inversion = inverted(editor, steps=5)
    backbone, stored, g = editor.backbone, inversion.trajectory, 2.5
    conditioning = backbone.embed(TARGETS[0])
    x = stored[0]
    for k in range(5):
        s, s_next = stored.grid[k], stored.grid[k + 1]

        def v(x: Tensor, c: Any, s: float = s) -> Tensor:
            u = backbone.velocity(x, s, editor.negative)
            return u + g * (backbone.velocity(x, s, c) - u)

        eps = (stored[k + 1] - stored[k]) / (s_next - s) - v(stored[k], inversion.conditioning)
        x = x + (s_next - s) * (v(x, conditioning) + eps)
    got = inversion.edit(TARGETS[0], guidance=g, text_ratio=0.0, compensate="both")
    assert distance(got.latent, x) <= 2e-5


@pytest.mark.parametrize("skip", [0, 3, 6])
def test_skipping_shifts_no_window(
    editor: Editor, monkeypatch: pytest.MonkeyPatch, skip: int
) -> None:
    """Of ten steps, text ratio 0.5 is on in 0…4 and attention ratio 0.3 in 0…2, if not skipped."""
    on: dict[str, set[int]] = {"text": set(), "attention": set()}

    class Text(TextControl):
        def wants(self, site: Any, step: Step) -> bool:
            wanted = super().wants(site, step)
            if wanted and step.branch == "target":
                on["text"].add(step.index)
            return wanted

    class Attention(AttentionControl):
        def wants(self, site: Any, step: Step) -> bool:
            wanted = super().wants(site, step)
            if wanted and step.branch == "target":
                on["attention"].add(step.index)
            return wanted

    monkeypatch.setattr(editing, "TextControl", Text)
    monkeypatch.setattr(editing, "AttentionControl", Attention)
    inversion = inverted(editor, steps=10, iterations=0)
    inversion.edit(TARGETS[0], text_ratio=0.5, attention_ratio=0.3, skip_steps=skip)
    assert on == {"text": set(range(skip, 5)), "attention": set(range(skip, 3))}
    assert {index for index, _ in inversion.features.kept} == on["text"]


def test_controls_may_be_limited_to_blocks(editor: Editor) -> None:
    """All blocks named are all blocks; one block is less; no block is no control (and no cost)."""
    inversion = inverted(editor)
    full = inversion.edit(TARGETS[0]).latent
    assert torch.equal(inversion.edit(TARGETS[0], text_blocks=(0, 1, 2)).latent, full)
    assert distance(inversion.edit(TARGETS[0], text_blocks=(1,)).latent, full) > 1e-5
    none = inverted(editor).edit(TARGETS[0], text_blocks=())
    assert none.forwards == 12
    assert torch.equal(none.latent, inversion.edit(TARGETS[0], text_ratio=0.0).latent)


# Masks, sizes, prompts


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 999), share=st.sampled_from([0.0, 0.002, 0.02]))
def test_outside_the_mask_the_latent_is_the_stored_one(
    one: Editor, seed: int, share: float
) -> None:
    """Exactly, in every latent cell (16 pixels wide here) without a pixel of the mask."""
    pixels = np.random.default_rng(seed).random((128, 128)) < share
    inversion = inverted(one, steps=3, iterations=0)
    got, stored = inversion.edit(TARGETS[0], mask=pixels).latent[0], inversion.trajectory[-1][0]
    free = torch.from_numpy(pixels.reshape(8, 16, 8, 16).any((1, 3)))
    assert torch.equal(got[:, ~free], stored[:, ~free])
    assert ((got[:, free] - stored[:, free]).abs().amax(0) > 0).all()


def test_a_mask_of_everything_is_no_mask(editor: Editor) -> None:
    """And one of nothing gives the source."""
    inversion = inverted(editor)
    free = inversion.edit(TARGETS[0])
    whole = inversion.edit(TARGETS[0], mask=np.ones((128, 128), bool))
    nothing = inversion.edit(TARGETS[0], mask=np.zeros((128, 128), bool))
    assert torch.equal(whole.latent, free.latent)
    assert torch.equal(nothing.latent, inversion.trajectory[-1])
    assert distance(free.latent, nothing.latent) > 1e-3


@pytest.mark.parametrize("shape", [(64, 64), (128, 127), (128,), (128, 128, 3), (0, 0)], ids=str)
def test_a_mask_of_another_shape_is_refused(one: Editor, shape: tuple[int, ...]) -> None:
    """A mask is drawn at the picture's size; the message names both."""
    inversion = inverted(one, steps=2, iterations=0)
    with pytest.raises(InputError, match="128, 128"):
        inversion.edit(TARGETS[0], mask=np.ones(shape, bool))


@pytest.mark.parametrize("size", [(150, 60), (61, 97), (64, 96)], ids=str)
def test_pictures_keep_their_size(one: Editor, size: tuple[int, int]) -> None:
    """Square or not, whatever the size worked at; a mask fits them, and both results do."""
    inversion = one.invert(render(SCENE).resize(size), SOURCE, steps=3, iterations=0)
    wide, high = inversion.size
    assert wide % 16 == high % 16 == 0 and 0.6 < wide / high / (size[0] / size[1]) < 1.6
    assert inversion.trajectory[0].shape == (1, 4, high // 8, wide // 8)
    mask = np.zeros(size[::-1], bool)
    mask[:, : size[0] // 3] = True
    edit = inversion.edit(TARGETS[0], mask=mask)
    assert edit.image.size == inversion.reconstruct().image.size == size
    same = (edit.latent == inversion.trajectory[-1]).all(1)[0].all(0)
    assert same.any() and not same.all() and list(same) == sorted(same)


def test_a_prompt_that_is_cut_is_reported_and_works(editor: Editor) -> None:
    """By each tokenizer, and what it reports is the prompt's own end; nothing for a short one."""
    inversion = editor.invert(render(SCENE), LONG, steps=3, iterations=0)
    assert set(inversion.conditioning.cut) == {"clip_l", "clip_g", "t5"}
    edits = [inversion.edit(LONG.replace(SCENE.kind, "frog")), inversion.edit(SOURCE)]
    assert set(edits[0].cut) == {"clip_l", "clip_g", "t5"} and edits[1].cut == {}
    for prompt, cut in [(LONG, inversion.conditioning.cut), (edits[0].target, edits[0].cut)]:
        assert all(end and prompt.endswith(end) and end != prompt for end in cut.values())
    assert all(torch.isfinite(edit.latent).all() for edit in edits)
    assert distance(edits[0].latent, edits[1].latent) > 1e-4
    assert inversion.reconstruct().latent_error <= 1e-5


def test_an_empty_prompt_works(one: Editor) -> None:
    """As source, as target and as both."""
    inversion = one.invert(render(SCENE), "", steps=3, iterations=0)
    assert inversion.edit("").changed == ()
    assert inversion.edit(SOURCE).changed != ()
    assert inverted(one, steps=3).edit("").changed == ()


def test_word_level_maps_no_more_rows_than_token_level(editor: Editor) -> None:
    """An edited word shares pieces with the old one, which only the token level keeps."""
    source, target = "a happy cat on the grass", "a happily cats on the grass"
    a, b = editor.backbone.embed(source), editor.backbone.embed(target)
    token = text_map(a.segments, b.segments, b.length)
    word = text_map(a.segments, b.segments, b.length, "word", (source, target))
    assert all(i is None or i == j for i, j in zip(word, token, strict=True))
    assert sum(i is not None for i in word) < sum(i is not None for i in token)
    inversion = editor.invert(render(SCENE), source, steps=3, iterations=0)
    edits = [inversion.edit(target, text_level=level).latent for level in ("word", "token")]
    assert distance(*edits) > 1e-6
    inversion = inverted(editor, steps=3, iterations=0)
    same = [inversion.edit(SOURCE, text_level=level).latent for level in ("word", "token")]
    assert torch.equal(*same)


# Bad numbers and bad settings


def test_weights_that_are_nan_are_named_not_drawn(editor: Editor) -> None:
    """Inverting, editing, reconstructing and generating all stop, and all work again after."""
    inversion = inverted(editor, steps=3)
    before = inverted(editor, steps=3).edit(TARGETS[0]).latent
    with poisoned(editor.backbone.transformer.proj_out.bias):
        for broken in (
            lambda: inverted(editor, steps=3),
            lambda: inversion.edit(TARGETS[0]),
            lambda: inversion.edit(TARGETS[0], mask=np.ones((128, 128), bool)),
            lambda: inversion.reconstruct(),
            lambda: inversion.reconstruct(compensate=False),
            lambda: editor.generate(SOURCE, steps=2),
        ):
            with pytest.raises(NumericsError):
                broken()
            assert hooks(editor.backbone) == 0
    assert torch.equal(inverted(editor, steps=3).edit(TARGETS[0]).latent, before)
    assert torch.equal(inversion.edit(TARGETS[0]).latent, before), "nothing broken was kept"
    assert all(math.isfinite(r) for r in inversion.residuals.values())


def test_latents_that_are_nan_are_named_not_drawn(editor: Editor) -> None:
    """From the encoder an inversion stops; from the decoder an edit does."""
    vae = editor.backbone.vae
    inversion = inverted(editor, steps=2)
    with poisoned(vae.encoder.conv_out.bias), pytest.raises(NumericsError):
        inverted(editor, steps=2)
    with poisoned(vae.decoder.conv_out.bias), pytest.raises(NumericsError):
        inversion.edit(TARGETS[0])


@pytest.mark.parametrize(
    "options",
    [
        {"guidance": math.nan},
        {"guidance": math.inf},
        {"guidance": -1},
        {"text_ratio": 1.01},
        {"text_ratio": -0.01},
        {"text_ratio": math.nan},
        {"attention_ratio": 2},
        {"skip_steps": 6},
        {"skip_steps": 7},
        {"skip_steps": -1},
        {"compensate": "target"},
        {"text_level": "letter"},
        {"attention_tokens": "none"},
        {"attention_parts": ("o",)},
        {"text_blocks": (3,)},
        {"attention_blocks": (0, 9)},
        {"text_blocks": (-1,)},
    ],
    ids=str,
)
def test_bad_edit_settings_are_refused(one: Editor, options: dict[str, Any]) -> None:
    """With InputError, before any forward is made."""
    inversion, meter = inverted(one, iterations=0), Meter()
    with pytest.raises(InputError):
        inversion.edit(TARGETS[0], progress=meter, **options)
    assert meter.told == [] and hooks(one.backbone) == 0


@pytest.mark.parametrize(
    "options",
    [
        {"steps": 0},
        {"steps": -3},
        {"iterations": -1},
        {"guidance": math.nan},
        {"guidance": 101},
        {"window": (0, 2)},
        {"window": (1, 0)},
        {"window": (-1, 1)},
    ],
    ids=str,
)
def test_bad_inversion_settings_are_refused(one: Editor, options: dict[str, Any]) -> None:
    """With InputError, before any forward is made (here I = 1)."""
    meter = Meter()
    with pytest.raises(InputError):
        one.invert(
            render(SCENE), SOURCE, **{"steps": 3, "iterations": 1, **options}, progress=meter
        )
    assert meter.told == []


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (EditSettings, {"guidance": "2"}),
        (EditSettings, {"guidance": None}),
        (EditSettings, {"attention_ratio": True}),
        (EditSettings, {"skip_steps": 1.5}),
        (InvertSettings, {"steps": 2.0}),
        (InvertSettings, {"steps": True}),
        (InvertSettings, {"iterations": "3"}),
        (InvertSettings, {"average": "no"}),
        (InvertSettings, {"window": (0.0, 1.0)}),
        (InvertSettings, {"window": (0, 1, 2)}),
        (InvertSettings, {"window": 3}),
        (EditSettings, {"attention_parts": "v"}),
        (EditSettings, {"attention_parts": None}),
        (EditSettings, {"attention_parts": ()}),
        (EditSettings, {"text_blocks": ("1",)}),
        (EditSettings, {"text_blocks": 3}),
        (EditSettings, {"text_blocks": (0.5,)}),
    ],
    ids=str,
)
def test_settings_of_another_type_are_refused(kind: Any, options: dict[str, Any]) -> None:
    """By InputError, or before it by the annotations, where pytest checks them (TypeError)."""
    with pytest.raises((InputError, TypeError)):
        kind(**options)


@pytest.mark.parametrize("size", [(60, 64), (64, 0), (-16, 64), (64, 72), (64, 272)], ids=str)
def test_a_size_that_the_model_cannot_make_is_refused(one: Editor, size: tuple[int, int]) -> None:
    """Sides are multiples of 16 pixels up to 256 here."""
    with pytest.raises(InputError, match="16"):
        one.generate(SOURCE, steps=2, size=size)


@pytest.mark.parametrize("options", [{"steps": 0}, {"guidance": math.nan}, {"seed": -1}], ids=str)
def test_bad_generation_is_refused(one: Editor, options: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        one.generate(SOURCE, **{"steps": 2, **options})


def test_one_pixel_of_a_mask_opens_its_cell(one: Editor) -> None:
    """However small the mask is beside the picture, what it holds may change."""
    picture = render(SCENE, 512)
    mask = np.zeros((512, 512), bool)
    mask[100, 300] = True
    inversion = one.invert(picture, SOURCE, steps=2, iterations=0)
    made = inversion.edit(TARGETS[0], mask=mask)
    changed = (made.latent != inversion.trajectory[-1]).any(1)[0]
    assert changed.nonzero().tolist() == [[100 // 64, 300 // 64]]


def test_settings_survive_json() -> None:
    """`from_dict` reads what `to_dict` wrote, and refuses a name it does not know."""
    for made in (EditSettings(text_blocks=(0, 2)), InvertSettings(window=(1, 2))):
        assert type(made).from_dict(made.to_dict()) == made
        with pytest.raises(InputError, match="colour"):
            type(made).from_dict({"colour": 1})


def test_a_picture_may_be_of_any_mode(one: Editor) -> None:
    """Grey and palette pictures are inverted as their RGB."""
    grey = render(SCENE).convert("L")
    for picture in (grey, grey.convert("P")):
        got = one.invert(picture, SOURCE, steps=2, iterations=0)
        same = one.invert(picture.convert("RGB"), SOURCE, steps=2, iterations=0)
        assert torch.equal(got.trajectory.latents, same.trajectory.latents)
        assert isinstance(got.edit(SOURCE).image, Image.Image)
