"""Bad numbers and bad settings are refused by name."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from counterflow.edit.editor import Editor
from counterflow.errors import InputError, NumericsError
from counterflow.methods.ftedit import FTEdit
from counterflow.toybox.render import render
from tools import (
    SCENE,
    SOURCE,
    TARGETS,
    Meter,
    hooks,
    inverted,
    poisoned,
)


@pytest.mark.fault("22")
def test_weights_that_are_nan_are_named_not_drawn(editor: Editor) -> None:
    """Inverting, editing, reconstructing and generating all stop, and all work again after."""
    inversion = inverted(editor, steps=3)
    before = editor.edit(inverted(editor, steps=3), TARGETS[0]).latent
    with poisoned(editor.backbone.transformer.proj_out.bias):
        for broken in (
            lambda: inverted(editor, steps=3),
            lambda: editor.edit(inversion, TARGETS[0]),
            lambda: editor.edit(inversion, TARGETS[0], mask=np.ones((128, 128), bool)),
            lambda: editor.reconstruct(inversion),
            lambda: editor.reconstruct(inversion, compensate=False),
            lambda: editor.generate(SOURCE, steps=2),
        ):
            with pytest.raises(NumericsError):
                broken()
            assert hooks(editor.backbone) == 0
    assert torch.equal(editor.edit(inverted(editor, steps=3), TARGETS[0]).latent, before)
    assert torch.equal(editor.edit(inversion, TARGETS[0]).latent, before), "nothing broken was kept"
    assert all(math.isfinite(r) for r in inversion.residuals.values())


@pytest.mark.fault("22")
def test_latents_that_are_nan_are_named_not_drawn(editor: Editor) -> None:
    """From the encoder an inversion stops; from the decoder an edit does."""
    vae = editor.backbone.vae
    inversion = inverted(editor, steps=2)
    other = render(SCENE.but(color="yellow"))  # the last picture is not encoded again
    with poisoned(vae.encoder.conv_out.bias), pytest.raises(NumericsError):
        editor.invert(other, SOURCE, steps=2)
    with poisoned(vae.decoder.conv_out.bias), pytest.raises(NumericsError):
        editor.edit(inversion, TARGETS[0])


@pytest.mark.fault("17")
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
        one.edit(inversion, TARGETS[0], progress=meter, **options)
    assert meter.told == [] and hooks(one.backbone) == 0


@pytest.mark.parametrize(
    "options",
    [
        {"steps": 0},
        {"steps": -3},
        {"iterations": -1},
        {"invert_guidance": math.nan},
        {"invert_guidance": 101},
        {"average_span": (0, 2)},
        {"average_span": (1, 0)},
        {"average_span": (-1, 1)},
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
    "options",
    [
        {"guidance": "2"},
        {"guidance": None},
        {"attention_ratio": True},
        {"skip_steps": 1.5},
        {"steps": 2.0},
        {"steps": True},
        {"iterations": "3"},
        {"average": "no"},
        {"average_span": (0.0, 1.0)},
        {"average_span": (0, 1, 2)},
        {"average_span": 3},
        {"attention_parts": "v"},
        {"attention_parts": None},
        {"attention_parts": ()},
        {"text_blocks": ("1",)},
        {"text_blocks": 3},
        {"text_blocks": (0.5,)},
    ],
    ids=str,
)
def test_settings_of_another_type_are_refused(options: dict[str, Any]) -> None:
    """By InputError, or before it by the annotations, where pytest checks them (TypeError)."""
    with pytest.raises((InputError, TypeError)):
        FTEdit(**options)


@pytest.mark.parametrize("size", [(60, 64), (64, 0), (-16, 64), (64, 72), (64, 272)], ids=str)
def test_a_size_that_the_model_cannot_make_is_refused(one: Editor, size: tuple[int, int]) -> None:
    """Sides are multiples of 16 pixels up to 256 here."""
    with pytest.raises(InputError, match="16"):
        one.generate(SOURCE, steps=2, size=size)


@pytest.mark.parametrize(
    "options", [{"steps": 0}, {"guidance": math.nan}, {"seed": -1}, {"solver": "heun"}], ids=str
)
def test_bad_generation_is_refused(one: Editor, options: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        one.generate(SOURCE, **{"steps": 2, **options})


def test_one_pixel_of_a_mask_opens_its_cell(one: Editor) -> None:
    """However small the mask is beside the picture, what it holds may change."""
    picture = render(SCENE, 512)
    mask = np.zeros((512, 512), bool)
    mask[100, 300] = True
    inversion = one.invert(picture, SOURCE, steps=2, iterations=0)
    made = one.edit(inversion, TARGETS[0], mask=mask)
    changed = (made.latent != inversion.trajectory[-1]).any(1)[0]
    assert changed.nonzero().tolist() == [[100 // 64, 300 // 64]]


def test_a_picture_may_be_of_any_mode(one: Editor) -> None:
    """Grey and palette pictures are inverted as their RGB."""
    grey = render(SCENE).convert("L")
    for picture in (grey, grey.convert("P")):
        got = one.invert(picture, SOURCE, steps=2, iterations=0)
        same = one.invert(picture.convert("RGB"), SOURCE, steps=2, iterations=0)
        assert torch.equal(got.trajectory.latents, same.trajectory.latents)
        assert isinstance(one.edit(got, SOURCE).image, Image.Image)
