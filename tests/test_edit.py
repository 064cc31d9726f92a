"""The editor on two tiny models of random weights: exact where the method is exact."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from torch import Tensor

from counterflow.backbones.sd3 import SD3
from counterflow.controls.align import text_map
from counterflow.controls.attention import AttentionControl
from counterflow.controls.text import TextControl
from counterflow.edit.editor import Editor
from counterflow.errors import InputError
from counterflow.flow import Step
from counterflow.methods import shared
from counterflow.methods.registry import method
from counterflow.toybox.captions import caption
from counterflow.toybox.render import render
from counterflow.toybox.scene import sample
from tiny.sd3 import sd3 as tiny_pipeline
from tools import (
    LONG,
    SCENE,
    SOURCE,
    TARGETS,
    by_hand,
    distance,
    inverted,
    running,
)

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
    exact, drifted = editor.reconstruct(inversion), editor.reconstruct(inversion, compensate=False)
    stored = inversion.trajectory[-1]
    error, without = distance(exact.latent, stored), distance(drifted.latent, stored)
    record_property("uncompensated", without)
    event(f"uncompensated error 1e{math.floor(math.log10(without))}")
    assert (exact.latent_error, drifted.latent_error) == (error, without)
    assert error <= 1e-5
    assert without > 100 * error
    assert without > 1e-3 or (iterations > 1 and not average)


def test_every_stored_latent_is_recovered(editor: Editor) -> None:
    """Not the last alone; and a source that is not evaluated lies on the same latents."""
    inversion = inverted(editor, steps=9, iterations=0)
    stored = inversion.trajectory
    for ratio, evaluated in ((1.0, True), (0.0, False)):
        how = method("ftedit", steps=9, iterations=0, text_ratio=ratio)
        run = running(editor, inversion, how, TARGETS[:1])
        x, source, _ = how.start(run, stored)
        with run.attached(how.controls(run, stored), run.features):
            for k in stored.grid.toward_image():
                x, source = how.step(run, stored, x, source, stored.grid.step(k))
                assert torch.equal(source, stored[k + 1])
                assert run.forwards == (k + 1) * (3 if evaluated else 2)
        assert set(run.errors) == (set(range(9)) if evaluated else set())
        assert all(error <= 1e-5 for error in run.errors.values())


def test_residuals_are_those_of_the_inversions_own_guidance(editor: Editor) -> None:
    """`‖eps‖ / ‖v‖` at the stored latents; no edit at another guidance changes them."""
    inversion = inverted(editor, steps=5)
    stored, velocity = inversion.trajectory, editor.backbone.velocity
    expected = {}
    for k in stored.grid.toward_image():
        v = velocity(stored[k], stored.grid[k], inversion.conditioning)
        needed = (stored[k + 1] - stored[k]) / (stored.grid[k + 1] - stored.grid[k])
        expected[k] = float((needed - v).norm() / v.norm())
    editor.edit(inversion, TARGETS[0])
    assert inversion.residuals == pytest.approx(expected, rel=1e-3, abs=1e-6)
    assert inversion.residual == pytest.approx(sum(expected.values()) / 5, rel=1e-3)
    editor.edit(inversion, TARGETS[0], compensate="both", guidance=7)
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
        max_sequence_length=editor.backbone.length,
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
    for inverting, options, forwards in (
        ({"invert_guidance": 2.0}, {}, 8),
        ({}, {"compensate": "both", "guidance": 7}, 4),
        ({}, {"text_ratio": 0.5}, 2),
        ({}, {"text_ratio": 0}, 4),
    ):
        inversion = inverted(editor, steps=4, **inverting)
        editor.edit(inversion, TARGETS[0], **options)
        editor.check(inversion)
        assert len(inversion.residuals) == 4 and inversion.residual is not None
        assert inversion.latent_error is not None and inversion.latent_error <= 1e-5
        assert inversion.check_forwards == forwards
        editor.check(inversion)
        assert inversion.check_forwards == forwards


# Edits against loops written out by hand


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"text_ratio": 0.0}, {}),
        ({"text_ratio": 0.0, "compensate": "none"}, {}),
        ({"text_ratio": 0.0, "guidance": 5.5}, {"guidance": 5.5}),
        ({}, {"text": 8}),
        ({"text_padding": True}, {"text": 8, "padding": True}),
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
    got = editor.edit(inversion, TARGETS[0], **options)
    assert distance(got.latent, by_hand(editor, inversion, TARGETS[0], **expected)) <= 3e-6
    text, start = expected.get("text", 0), expected.get("start", 0)
    others = [{**expected, "text": max(text, start) + 1 if text < 8 else 7}]
    others.append({**expected, "values": max(expected.get("values", 0), start) + 1})
    for other in others:
        assert distance(got.latent, by_hand(editor, inversion, TARGETS[0], **other)) > 1e-5


@pytest.mark.parametrize("options", [{}, {"text_ratio": 0.0}, {"attention_ratio": 1.0}], ids=str)
def test_neutral_settings_give_the_source_back(editor: Editor, options: dict[str, Any]) -> None:
    """The source prompt as target, guidance 1, both branches compensated: the stored image. Without
    the target's compensation it is not.
    """
    inversion = inverted(editor)
    stored = inversion.trajectory[-1]
    neutral = editor.edit(inversion, SOURCE, guidance=1, compensate="both", **options)
    assert distance(neutral.latent, stored) <= 1e-5
    assert neutral.changed == () and neutral.image.size == inversion.picture.size
    drifted = editor.edit(inversion, SOURCE, guidance=1, **options)
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
    got = editor.edit(inversion, TARGETS[0], guidance=g, text_ratio=0.0, compensate="both")
    assert distance(got.latent, x) <= 2e-5


@pytest.mark.parametrize("skip", [0, 3, 6])
def test_skipping_shifts_no_window(
    editor: Editor, monkeypatch: pytest.MonkeyPatch, skip: int
) -> None:
    """Of ten steps, text ratio 0.5 is on in 0…4 and attention ratio 0.3 in 0…2, if not skipped."""
    on: dict[str, set[int]] = {"text": set(), "attention": set()}

    class Text(TextControl):
        def apply(self, site: Any, step: Step, *features: Any) -> Tensor:
            on["text"].add(step.index)
            return super().apply(site, step, *features)

    class Attention(AttentionControl):
        def apply(self, site: Any, step: Step, *features: Any) -> Tensor:
            on["attention"].add(step.index)
            return super().apply(site, step, *features)

    monkeypatch.setattr(shared, "TextControl", Text)
    monkeypatch.setattr(shared, "AttentionControl", Attention)
    inversion = inverted(editor, steps=10, iterations=0)
    editor.edit(inversion, TARGETS[0], text_ratio=0.5, attention_ratio=0.3, skip_steps=skip)
    assert on == {"text": set(range(skip, 5)), "attention": set(range(skip, 3))}
    assert {index for (_, index, _), _ in inversion.features.kept} == on["text"]


def test_controls_may_be_limited_to_blocks(editor: Editor) -> None:
    """All blocks named are all blocks; one block is less; no block is no control (and no cost)."""
    inversion = inverted(editor)
    editor.edit(inversion, TARGETS[0])  # so that later batches are alike: no source in them
    full = editor.edit(inversion, TARGETS[0]).latent
    assert torch.equal(editor.edit(inversion, TARGETS[0], text_blocks=(0, 1, 2)).latent, full)
    assert distance(editor.edit(inversion, TARGETS[0], text_blocks=(1,)).latent, full) > 1e-5
    none = editor.edit(inverted(editor), TARGETS[0], text_blocks=())
    assert none.forwards == 12
    assert torch.equal(none.latent, editor.edit(inversion, TARGETS[0], text_ratio=0.0).latent)


# Masks, sizes, prompts


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 999), share=st.sampled_from([0.0, 0.002, 0.02]))
def test_outside_the_mask_the_latent_is_the_stored_one(
    one: Editor, seed: int, share: float
) -> None:
    """Exactly, in every latent cell (16 pixels wide here) without a pixel of the mask."""
    pixels = np.random.default_rng(seed).random((128, 128)) < share
    inversion = inverted(one, steps=3, iterations=0)
    got, stored = (
        one.edit(inversion, TARGETS[0], mask=pixels).latent[0],
        inversion.trajectory[-1][0],
    )
    free = torch.from_numpy(pixels.reshape(8, 16, 8, 16).any((1, 3)))
    assert torch.equal(got[:, ~free], stored[:, ~free])
    assert ((got[:, free] - stored[:, free]).abs().amax(0) > 0).all()


def test_a_mask_of_everything_is_no_mask(editor: Editor) -> None:
    """And one of nothing gives the source."""
    inversion = inverted(editor)
    editor.edit(inversion, TARGETS[0])  # so that later batches are alike: no source in them
    free = editor.edit(inversion, TARGETS[0])
    whole = editor.edit(inversion, TARGETS[0], mask=np.ones((128, 128), bool))
    nothing = editor.edit(inversion, TARGETS[0], mask=np.zeros((128, 128), bool))
    assert torch.equal(whole.latent, free.latent)
    assert torch.equal(nothing.latent, inversion.trajectory[-1])
    assert distance(free.latent, nothing.latent) > 1e-3


@pytest.mark.parametrize("shape", [(64, 64), (128, 127), (128,), (128, 128, 3), (0, 0)], ids=str)
def test_a_mask_of_another_shape_is_refused(one: Editor, shape: tuple[int, ...]) -> None:
    """A mask is drawn at the picture's size; the message names both."""
    inversion = inverted(one, steps=2, iterations=0)
    with pytest.raises(InputError, match="128, 128"):
        one.edit(inversion, TARGETS[0], mask=np.ones(shape, bool))


@pytest.mark.parametrize("size", [(150, 60), (61, 97), (64, 96)], ids=str)
def test_pictures_keep_their_size(one: Editor, size: tuple[int, int]) -> None:
    """Square or not, whatever the size worked at; a mask fits them, and both results do."""
    inversion = one.invert(render(SCENE).resize(size), SOURCE, steps=3, iterations=0)
    wide, high = inversion.size
    assert wide % 16 == high % 16 == 0 and 0.6 < wide / high / (size[0] / size[1]) < 1.6
    assert inversion.trajectory[0].shape == (1, 4, high // 8, wide // 8)
    mask = np.zeros(size[::-1], bool)
    mask[:, : size[0] // 3] = True
    edit = one.edit(inversion, TARGETS[0], mask=mask)
    assert edit.image.size == one.reconstruct(inversion).image.size == size
    same = (edit.latent == inversion.trajectory[-1]).all(1)[0].all(0)
    assert same.any() and not same.all() and list(same) == sorted(same)


def test_a_prompt_that_is_cut_is_reported_and_works(editor: Editor) -> None:
    """By each tokenizer, and what it reports is the prompt's own end; nothing for a short one."""
    inversion = editor.invert(render(SCENE), LONG, steps=3, iterations=0)
    assert set(inversion.conditioning.cut) == {"clip_l", "clip_g", "t5"}
    edits = [
        editor.edit(inversion, LONG.replace(SCENE.kind, "frog")),
        editor.edit(inversion, SOURCE),
    ]
    assert set(edits[0].cut) == {"clip_l", "clip_g", "t5"} and edits[1].cut == {}
    for prompt, cut in [(LONG, inversion.conditioning.cut), (edits[0].target, edits[0].cut)]:
        assert all(end and prompt.endswith(end) and end != prompt for end in cut.values())
    assert all(torch.isfinite(edit.latent).all() for edit in edits)
    assert distance(edits[0].latent, edits[1].latent) > 1e-4
    assert editor.reconstruct(inversion).latent_error <= 1e-5


def test_an_empty_prompt_works(one: Editor) -> None:
    """As source, as target and as both."""
    inversion = one.invert(render(SCENE), "", steps=3, iterations=0)
    assert one.edit(inversion, "").changed == ()
    assert one.edit(inversion, SOURCE).changed != ()
    assert one.edit(inverted(one, steps=3), "").changed == ()


def test_padding_is_held_on_demand(editor: Editor) -> None:
    """It matters where the control is on, and nowhere else."""
    inversion = inverted(editor, steps=3, iterations=0)
    target = TARGETS[0]
    free, held = (
        editor.edit(inversion, target, text_padding=each).latent for each in (False, True)
    )
    assert distance(free, held) > 1e-6
    off = [
        editor.edit(inversion, target, text_ratio=0, text_padding=p).latent for p in (False, True)
    ]
    assert torch.equal(*off)


def test_word_level_maps_no_more_rows_than_token_level(editor: Editor) -> None:
    """An edited word shares pieces with the old one, which only the token level keeps."""
    source, target = "a happy cat on the grass", "a happily cats on the grass"
    a, b = editor.backbone.embed(source), editor.backbone.embed(target)
    token = text_map(a.segments, b.segments, b.length)
    word = text_map(a.segments, b.segments, b.length, "word", (source, target))
    assert all(i is None or i == j for i, j in zip(word, token, strict=True))
    assert sum(i is not None for i in word) < sum(i is not None for i in token)
    inversion = editor.invert(render(SCENE), source, steps=3, iterations=0)
    edits = [editor.edit(inversion, target, text_level=level).latent for level in ("word", "token")]
    assert distance(*edits) > 1e-6
    inversion = inverted(editor, steps=3, iterations=0)
    same = [editor.edit(inversion, SOURCE, text_level=level).latent for level in ("word", "token")]
    assert torch.equal(*same)
