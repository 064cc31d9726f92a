"""LPIPS, structure distance and CLIP against independent computations."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import layer_norm, linear
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from counterflow.errors import ModelError
from counterflow.metrics import clip, lpips, structure
from counterflow.metrics.networks import Networks
from counterflow.metrics.table import PROFILES, measure
from metric_networks import (
    PUBLISHED,
    as_tensor,
    noise,
    oracle,
    random_lpips,
    tiny_clip,
    tiny_vit,
)

STACKS = ("squeeze", "alex", "vgg")


@pytest.mark.parametrize("stack", STACKS)
def test_lpips_against_torchmetrics(stack: Any) -> None:
    network = random_lpips(stack)
    a, b = torch.rand(2, 2, 3, 65, 78) * 2 - 1
    theirs = oracle(network, stack)(a, b).flatten()
    assert network(a, b).tolist() == pytest.approx(theirs.tolist(), rel=1e-5)
    assert theirs.min() > 0.01
    maps = oracle(network, stack, spatial=True)(a, b)[:, 0]
    torch.testing.assert_close(network.maps(a, b), maps, rtol=1e-4, atol=1e-6)
    assert network(a, a).tolist() == pytest.approx([0, 0], abs=1e-9)


@pytest.mark.parametrize(
    ("stack", "published", "classifier"),
    [
        ("squeeze", 1_235_496, (512 + 1) * 1000),
        ("alex", 61_100_840, (9216 + 1) * 4096 + (4096 + 1) * 4096 + (4096 + 1) * 1000),
        ("vgg", 138_357_544, (25088 + 1) * 4096 + (4096 + 1) * 4096 + (4096 + 1) * 1000),
    ],
)
def test_stacks_have_the_published_number_of_weights(
    stack: Any, published: int, classifier: int
) -> None:
    features = lpips.LPIPS(stack).features
    assert sum(p.numel() for p in features.parameters()) + classifier == published


def test_lpips_of_a_region() -> None:
    """The mean of the map there, of whole pictures in −1…1."""
    network = random_lpips("squeeze")
    a, b = noise(64, 80), noise(64, 80, seed=1)
    left = np.zeros((64, 80), bool)
    left[:, :30] = True
    expected = network.maps(as_tensor(a) * 2 - 1, as_tensor(b) * 2 - 1)[0, :, :30].mean()
    assert network.distance(a, b, left) == pytest.approx(float(expected), rel=1e-5)
    whole = network(as_tensor(a) * 2 - 1, as_tensor(b) * 2 - 1)
    assert network.distance(a, b) == pytest.approx(float(whole), rel=1e-5)
    assert network.distance(a, b, left & ~left) is None
    assert network.distance(a[:31], b[:31]) is None  # too small for the stacks


@pytest.mark.parametrize("stack", STACKS)
def test_every_stack_takes_the_smallest_picture(stack: Any) -> None:
    side = lpips.SMALLEST
    distance = random_lpips(stack).distance(noise(side, side), noise(side, side, seed=1))
    assert distance is not None and distance > 0


@pytest.mark.parametrize("stack", STACKS)
def test_lpips_weights_are_asked_for_by_name(stack: Any, tmp_path: Path) -> None:
    features, linear = lpips.FILES[stack]
    with pytest.raises(ModelError) as absent:
        lpips.load(stack, tmp_path)
    for file in (features, linear):
        assert f"{file.name} (absent)" in str(absent.value)
        assert f"-O {file.url}" in str(absent.value)
    shutil.copy(PUBLISHED / f"{stack}.pth", tmp_path)  # its real SHA-256
    (tmp_path / features.name).write_bytes(b"something else")
    with pytest.raises(ModelError, match=r"another file.*curl") as other:
        lpips.load(stack, tmp_path)
    assert features.sha256 in str(other.value) and linear.url not in str(other.value)


def test_lpips_loads_from_the_folder_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = random_lpips("squeeze")
    state = {f"features.{k}": v for k, v in network.features.state_dict().items()}
    features, linear = lpips.FILES["squeeze"]
    torch.save(state, tmp_path / features.name)
    digest = hashlib.sha256((tmp_path / features.name).read_bytes()).hexdigest()
    shutil.copy(PUBLISHED / linear.name, tmp_path)
    pair = (replace(features, sha256=digest[:8]), linear)
    monkeypatch.setitem(lpips.FILES, "squeeze", pair)
    monkeypatch.setenv("COUNTERFLOW_METRICS", str(tmp_path))
    a, b = noise(40, 40), noise(40, 40, seed=1)
    assert lpips.load().distance(a, b) == pytest.approx(network.distance(a, b))


def test_structure_distance_is_its_formula() -> None:
    """Keys computed again from the last layer's input and weights, similarities in numpy."""
    vit = tiny_vit()
    w = dict(vit.layers[-1].named_parameters())
    matrices, sized = [], torch.rand(2, 1, 3, 224, 224)
    for x in sized:
        hidden = vit(x, output_hidden_states=True).hidden_states[1]
        assert hidden.shape == (1, 1 + 16, 24)
        normed = layer_norm(
            hidden, (24,), w["layernorm_before.weight"], w["layernorm_before.bias"], eps=1e-12
        )
        projected = linear(normed, w["attention.k_proj.weight"], w["attention.k_proj.bias"])
        keys = projected[0].detach().numpy().astype(np.float64)
        lengths = np.sqrt((keys**2).sum(1))
        matrices.append(keys @ keys.T / np.outer(lengths, lengths))
    expected = ((matrices[0] - matrices[1]) ** 2).mean()
    network = structure.Structure(vit)
    assert network(*sized).item() == pytest.approx(expected, rel=1e-4)
    assert expected > 1e-4
    assert not network.key._forward_hooks


def test_structure_distance_prepares_pictures() -> None:
    """Smoothed when shrunk, against Pillow; in `pie-compat`, at half size, means of two by two."""
    picture = noise(448, 448)
    mean, std = (np.array(v).reshape(3, 1, 1) for v in (structure.MEAN, structure.STD))
    channels = [
        Image.fromarray(picture[..., i].astype(np.float32)).resize(
            (224, 224), Image.Resampling.BILINEAR
        )
        for i in range(3)
    ]
    smooth = (np.stack([np.asarray(c) for c in channels]) / 255 - mean) / std
    np.testing.assert_allclose(structure.prepared(picture, False)[0], smooth, atol=1e-4)
    blocks = picture.reshape(224, 2, 224, 2, 3).mean((1, 3)).transpose(2, 0, 1)
    np.testing.assert_allclose(
        structure.prepared(picture, True)[0], (blocks - mean) / std, rtol=1e-5, atol=1e-3
    )


def test_structure_distance_of_pictures() -> None:
    network = structure.Structure(tiny_vit())
    a, b = noise(100, 150), noise(100, 150, seed=1)
    one, other = (structure.prepared(p, False) for p in (a, b))
    assert one.shape == (1, 3, 224, 336)
    assert network.distance(a, b) == pytest.approx(float(network(one, other)))
    for compat in (False, True):
        assert network.distance(a, a, compat) == pytest.approx(0, abs=1e-9)
    assert network.distance(a, b) != pytest.approx(network.distance(a, b, pie_compat=True))


@pytest.mark.parametrize(
    ("picture", "sized"),
    [((512, 512), (224, 224)), ((100, 150), (224, 336)), ((300, 100), (480, 160))],
)
def test_structure_distance_sizes(picture: tuple[int, int], sized: tuple[int, int]) -> None:
    """Short side 224, unless the long one would exceed 480."""
    assert structure.target_size(*picture) == sized
    assert structure.target_size(*picture[::-1]) == sized[::-1]


@pytest.mark.parametrize("size", [(512, 512), (333, 227), (120, 301), (224, 225)])
def test_clip_prepares_pictures_as_its_processor(size: tuple[int, int]) -> None:
    picture = noise(*size)
    theirs = CLIPImageProcessorPil()(Image.fromarray(picture), return_tensors="pt").pixel_values
    torch.testing.assert_close(clip.prepared(picture), theirs, rtol=0, atol=1e-5)


def test_clip_score_is_the_model_s_own() -> None:
    ours, picture = tiny_clip(), noise(90, 70)
    tokens = ours.tokenizer(["a red cat"], return_tensors="pt")
    logits = ours.model(**tokens, pixel_values=clip.prepared(picture)).logits_per_image
    expected = 100 * float(logits / ours.model.logit_scale.exp())
    assert ours.score(picture, "a red cat") == pytest.approx(expected, rel=1e-4)
    long = " ".join(["a red cat"] * 20)
    assert len(ours.tokenizer(long).input_ids) > 12
    assert ours.score(picture, long) == pytest.approx(ours.score(picture, long + " dog"))


def test_clip_edited_sees_black_outside_the_mask() -> None:
    network, picture = tiny_clip(), noise(64, 64)
    mask = np.zeros((64, 64), bool)
    mask[10:50, 10:30] = True
    cut = np.zeros_like(picture)
    cut[10:50, 10:30] = picture[10:50, 10:30]
    values = measure(picture, picture, mask, prompt="a dog", networks=Networks(clip=network))
    assert values["CLIP edited"] == pytest.approx(network.score(cut, "a dog"), rel=1e-4)
    assert values["CLIP whole"] == pytest.approx(network.score(picture, "a dog"), rel=1e-4)
    assert network.score(cut, "a dog") != pytest.approx(network.score(picture, "a dog"), rel=1e-2)


@pytest.mark.parametrize("cosine", [-0.5, 0.25])
def test_the_published_clip_score_ends_at_0(cosine: float, monkeypatch: pytest.MonkeyPatch) -> None:
    network, picture, mask = tiny_clip(), noise(64, 64), np.ones((64, 64), bool)
    monkeypatch.setattr(network, "seen", lambda pixels: torch.tensor([[1.0, 0.0]]))
    monkeypatch.setattr(
        network, "read", lambda prompt: torch.tensor([[cosine, (1 - cosine**2) ** 0.5]])
    )
    values = {
        profile: measure(picture, picture, mask, profile, "a dog", Networks(clip=network))
        for profile in PROFILES
    }
    assert values["corrected"]["CLIP edited"] == pytest.approx(100 * cosine)
    assert values["pie-compat"]["CLIP edited"] == pytest.approx(max(0, 100 * cosine))
