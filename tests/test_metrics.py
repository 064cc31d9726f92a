"""Metrics against other libraries, hand-computed cases and independent computations."""

from __future__ import annotations

import hashlib
import math
import shutil
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchmetrics.functional.image.lpips as torch_lpips
from hypothesis import Phase, given, settings
from hypothesis.extra.numpy import arrays
from PIL import Image
from skimage.metrics import mean_squared_error, peak_signal_noise_ratio, structural_similarity
from torch import Tensor, nn
from torch.nn.functional import conv2d, layer_norm, linear, max_pool2d
from torchmetrics import MeanSquaredError
from torchmetrics.functional.image import structural_similarity_index_measure
from torchmetrics.image import PeakSignalNoiseRatio
from transformers import CLIPConfig, CLIPModel, ViTConfig, ViTModel
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from counterflow.errors import ModelError
from counterflow.metrics import clip, lpips, mse, psnr, ssim, structure
from counterflow.metrics.networks import Networks, at_hand
from counterflow.metrics.table import METRICS, PROFILES, measure
from counterflow.toybox.train.text import clip_tokenizer

PUBLISHED = Path(torch_lpips.__file__).parent / "lpips_models"
"""torchmetrics' copies of LPIPS's linear weights."""

STACKS = ("squeeze", "alex", "vgg")
BACKGROUND = ("PSNR", "LPIPS", "MSE", "SSIM")

pictures = arrays(np.uint8, (17, 21, 3))
masks = arrays(bool, (17, 21))
# Shrinking such arrays takes minutes and shows nothing.
quick = settings(max_examples=40, deadline=None, phases=[Phase.explicit, Phase.generate])


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3), dtype=np.uint8)


# --- PSNR, MSE and SSIM


def scikit_ssim(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """scikit-image's map, of the windows that lie within the pictures."""
    how = {"gaussian_weights": True, "use_sample_covariance": False, "full": True}
    return structural_similarity(a / 255, b / 255, channel_axis=2, data_range=1.0, **how)[1][
        5:-5, 5:-5
    ]


def torch_ssim(x: Tensor, y: Tensor) -> Tensor:
    """torchmetrics' value as it was until September 2024: without the reflected borders."""
    full = structural_similarity_index_measure(x, y, data_range=1.0, return_full_image=True)[1]
    return full[..., 5:-5, 5:-5].mean()


@quick
@given(pictures, pictures)
def test_ssim_against_two_libraries(a: np.ndarray, b: np.ndarray) -> None:
    assert ssim(a, b) == pytest.approx(scikit_ssim(a, b).mean(), abs=1e-9)
    x, y = (_tensor(picture).double() for picture in (a, b))
    assert ssim(a, b) == pytest.approx(torch_ssim(x, y).item(), abs=1e-6)


@quick
@given(pictures, pictures, masks)
def test_pixel_metrics_of_a_region(a: np.ndarray, b: np.ndarray, where: np.ndarray) -> None:
    """Equal to other libraries' of the chosen pixels, or windows, alone."""
    where[6, 6] = True
    squared = mean_squared_error(a[where] / 255, b[where] / 255)
    assert mse(a, b, where) == pytest.approx(squared)
    if squared:
        theirs = peak_signal_noise_ratio(a[where], b[where], data_range=255)
        assert psnr(a, b, where) == pytest.approx(theirs)
    windows = scikit_ssim(a, b)[where[5:-5, 5:-5]]
    assert ssim(a, b, where) == pytest.approx(windows.mean(), abs=1e-9)


@quick
@given(pictures, pictures, masks)
def test_pixel_metrics_are_symmetric_and_bounded(
    a: np.ndarray, b: np.ndarray, where: np.ndarray
) -> None:
    for metric in (mse, psnr, ssim):
        assert metric(a, b, where) == pytest.approx(metric(b, a, where))
    assert mse(a, a) == 0 and psnr(a, a) == math.inf and ssim(a, a) == pytest.approx(1)
    assert -1 <= (ssim(a, b) or 0) <= 1 and 0 <= (mse(a, b) or 0) <= 1


def test_ssim_of_a_region_sees_no_further_than_a_window() -> None:
    a = noise(40, 60)
    b = a.copy()
    b[:, 40:] = noise(40, 20, seed=1)
    left = np.zeros((40, 60), bool)
    left[:, :35] = True
    assert ssim(a, b, left) == pytest.approx(1, abs=1e-12)
    left[:, 35] = True
    assert ssim(a, b, left) < 1 - 1e-6  # type: ignore[operator]
    edge = np.zeros((40, 60), bool)
    edge[:5] = True
    assert ssim(a, b, edge) is None  # no window has its middle there
    assert ssim(a[:10], b[:10]) is None  # smaller than a window


def test_a_hand_computed_mask() -> None:
    """Two pixels of four lie outside the mask; one differs by 51 of 255 in every channel."""
    a = np.zeros((2, 2, 3), np.uint8)
    b = a.copy()
    b[0, 0], b[1] = 51, 255
    mask = np.array([[False, False], [True, True]])
    corrected, compat = measure(a, b, mask), measure(a, b, mask, "pie-compat")
    assert corrected["MSE"] == pytest.approx(0.02)
    assert corrected["PSNR"] == pytest.approx(10 * math.log10(50))
    assert compat["MSE"] == pytest.approx(0.01)
    assert compat["PSNR"] == pytest.approx(20)


def test_arrays_that_do_not_fit_are_refused() -> None:
    a, region = noise(12, 14), np.ones((12, 14), bool)
    for metric in (mse, psnr, ssim, lpips.LPIPS().distance):
        with pytest.raises(ValueError, match="14×12 and 12×14"):
            metric(a, a.swapaxes(0, 1))
        with pytest.raises(ValueError, match=r"bool array \[12, 14\]"):
            metric(a, a, region.T)
        # A TypeError from the annotations, where pytest checks them.
        with pytest.raises((ValueError, TypeError)):
            metric(a / 255, a / 255)
        with pytest.raises((ValueError, TypeError)):
            metric(a[..., 0], a[..., 0])
    with pytest.raises(ValueError, match="14×12 and 12×14"):
        measure(a, a.swapaxes(0, 1), region)
    with pytest.raises(ValueError, match="profile is one of"):
        measure(a, a, region, "other")


# --- Profiles


def _tensor(picture: np.ndarray) -> Tensor:
    return torch.tensor(picture.astype(np.float32) / 255).permute(2, 0, 1)[None]


def published(a: np.ndarray, b: np.ndarray, mask: np.ndarray, network: nn.Module) -> dict[str, Any]:
    """PIE-Bench's background metrics by the library and in the order that its evaluator uses."""
    keep = torch.tensor(1 - mask.astype(np.float32))
    x, y = _tensor(a) * keep, _tensor(b) * keep
    return {
        "PSNR": PeakSignalNoiseRatio(data_range=1.0)(x, y).item(),
        "LPIPS": network(x * 2 - 1, y * 2 - 1).item(),
        "MSE": MeanSquaredError()(x[0].contiguous(), y[0].contiguous()).item(),
        "SSIM": torch_ssim(x, y).item(),
    }


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_pie_compat_is_the_published_evaluator(share: float) -> None:
    network = random_lpips("squeeze")
    a, b = noise(48, 56), noise(48, 56, seed=1)
    mask = np.random.default_rng(2).random((48, 56)) < share
    ours = measure(a, b, mask, "pie-compat", networks=Networks(lpips=network))
    theirs = published(a, b, mask, oracle(network, "squeeze"))
    assert {name: ours[name] for name in theirs} == pytest.approx(theirs, rel=2e-5)


@quick
@given(pictures, pictures, pictures, masks, masks)
def test_what_the_profiles_see(
    a: np.ndarray, b: np.ndarray, c: np.ndarray, mask: np.ndarray, more: np.ndarray
) -> None:
    mask[0, 0] = False
    painted = np.where(mask[..., None], c, b)
    corrected, compat = (measure(a, b, mask, profile) for profile in ("corrected", "pie-compat"))
    assert measure(a, painted, mask, "pie-compat") == pytest.approx(compat)
    for name in ("PSNR", "MSE"):
        assert measure(a, painted, mask)[name] == pytest.approx(corrected[name])
    share = (~mask).mean()
    assert compat["MSE"] == pytest.approx(corrected["MSE"] * share)  # type: ignore[operator]
    wider = mask | more
    if not wider.all():  # the flaw: a larger mask never lowers it
        flattered = measure(a, b, wider, "pie-compat")["PSNR"]
        assert flattered >= compat["PSNR"] - 1e-9  # type: ignore[operator]
    everywhere = mask & False
    assert measure(a, b, everywhere, "pie-compat") == pytest.approx(measure(a, b, everywhere))


@pytest.mark.parametrize("profile", PROFILES)
def test_values_that_do_not_exist(profile: str, networks: Networks) -> None:
    a, b = noise(40, 40), noise(40, 40, seed=1)
    none, some, all_ = (np.zeros((40, 40), bool) for _ in range(3))
    some[:20], all_[:] = True, True
    names = [metric.name for metric in METRICS]

    def known(mask: np.ndarray, **extra: Any) -> set[str]:
        values = measure(a, b, mask, profile, **extra)
        assert list(values) == names
        assert all(v is None or math.isfinite(v) for v in values.values())
        return {name for name, value in values.items() if value is not None}

    everything = {"prompt": "a cat", "networks": networks}
    assert known(some, **everything) == set(names)
    assert known(all_, **everything) == set(names) - set(BACKGROUND)
    assert known(none, **everything) == set(names) - {"CLIP edited"}
    assert known(some, networks=networks) == set(names) - {"CLIP whole", "CLIP edited"}
    assert known(some) == {"PSNR", "MSE", "SSIM"}
    assert measure(a, a, some, profile)["PSNR"] == math.inf


def test_structure_distance_is_of_the_whole_in_each_profile(networks: Networks) -> None:
    a, b, mask = noise(64, 64), noise(64, 64, seed=1), np.ones((64, 64), bool)
    for profile in PROFILES:
        expected = networks.structure.distance(a, b, profile == "pie-compat")  # type: ignore[union-attr]
        value = measure(a, b, mask, profile, networks=networks)["structure"]
        assert value == pytest.approx(expected)


def test_directions(networks: Networks) -> None:
    """A slight disturbance is better than a strong one, by each metric of two pictures."""
    rng, a = np.random.default_rng(0), noise(64, 64)
    near, far = (
        np.clip(a + rng.normal(0, sigma, a.shape), 0, 255).astype(np.uint8) for sigma in (4, 90)
    )
    mask = np.zeros((64, 64), bool)
    mask[:20] = True
    for profile in PROFILES:
        better, worse = (measure(a, x, mask, profile, networks=networks) for x in (near, far))
        for metric in METRICS[:5]:
            one, other = better[metric.name], worse[metric.name]
            assert one is not None and other is not None and (one > other) == metric.higher


# --- LPIPS


def random_lpips(stack: Any) -> lpips.LPIPS:
    """Random features, scaled so that no layer fades, and the published linear weights."""
    torch.manual_seed(2)
    features = lpips.LPIPS(stack).features
    for name, weight in features.named_parameters():
        if name.endswith("weight"):
            nn.init.kaiming_normal_(weight)
    state = {f"features.{k}": v for k, v in features.state_dict().items()}
    state["classifier.1.weight"] = torch.zeros(2)
    weights = torch.load(PUBLISHED / f"{stack}.pth", map_location="cpu", weights_only=True)
    return lpips.from_states(stack, state, weights)


Weights = dict[str, Tensor]


def conv(x: Tensor, w: Weights, name: str, **how: int) -> Tensor:
    return conv2d(x, w[f"{name}.weight"], w[f"{name}.bias"], **how).relu()


def squeeze(x: Tensor, w: Weights) -> Iterator[Tensor]:
    def fire(x: Tensor, i: int) -> Tensor:
        x = conv(x, w, f"{i}.squeeze")
        wide = conv(x, w, f"{i}.expand3x3", padding=1)
        return torch.cat([conv(x, w, f"{i}.expand1x1"), wide], 1)

    yield (x := conv(x, w, "0", stride=2))
    for first in (3, 6):
        yield (x := fire(fire(max_pool2d(x, 3, 2, ceil_mode=True), first), first + 1))
    x = max_pool2d(x, 3, 2, ceil_mode=True)
    for i in (9, 10, 11, 12):
        yield (x := fire(x, i))


def alex(x: Tensor, w: Weights) -> Iterator[Tensor]:
    yield (x := conv(x, w, "0", stride=4, padding=2))
    yield (x := conv(max_pool2d(x, 3, 2), w, "3", padding=2))
    yield (x := conv(max_pool2d(x, 3, 2), w, "6", padding=1))
    yield (x := conv(x, w, "8", padding=1))
    yield conv(x, w, "10", padding=1)


def vgg(x: Tensor, w: Weights) -> Iterator[Tensor]:
    for stage in ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28)):
        if stage[0]:
            x = max_pool2d(x, 2)
        for i in stage:
            x = conv(x, w, str(i), padding=1)
        yield x


FORWARD: dict[str, Callable[[Tensor, Weights], Iterator[Tensor]]]
FORWARD = {"squeeze": squeeze, "alex": alex, "vgg": vgg}


def oracle(network: lpips.LPIPS, stack: Any, spatial: bool = False) -> nn.Module:
    """torchmetrics' LPIPS, its linear weights as it ships them, over features computed here."""

    class Features(nn.Module):
        def __init__(self, **_: Any) -> None:
            super().__init__()

        def forward(self, x: Tensor) -> list[Tensor]:
            return list(FORWARD[stack](x, network.features.state_dict()))

    with pytest.MonkeyPatch.context() as patch:
        for name in ("SqueezeNet", "Alexnet", "Vgg16"):
            patch.setattr(torch_lpips, name, Features)
        return torch_lpips._LPIPS(net=stack, spatial=spatial)


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
    expected = network.maps(_tensor(a) * 2 - 1, _tensor(b) * 2 - 1)[0, :, :30].mean()
    assert network.distance(a, b, left) == pytest.approx(float(expected), rel=1e-5)
    whole = network(_tensor(a) * 2 - 1, _tensor(b) * 2 - 1)
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


# --- Structure distance and CLIP


def tiny_vit() -> Any:
    torch.manual_seed(3)
    shape = {"hidden_size": 24, "num_attention_heads": 3, "intermediate_size": 48}
    config = ViTConfig(**shape, num_hidden_layers=2, patch_size=56, initializer_range=0.4)
    return ViTModel(config, add_pooling_layer=False).eval()


def tiny_clip() -> clip.Clip:
    torch.manual_seed(4)
    tokenizer = clip_tokenizer(["a cat on the grass", "a red dog"], "<|endoftext|>")
    width = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    width |= {"intermediate_size": 32}
    text = {**width, "vocab_size": len(tokenizer), "max_position_embeddings": 12}
    text |= {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    vision = {**width, "patch_size": 32}
    return clip.Clip(
        CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=8)), tokenizer
    )


@pytest.fixture(scope="module")
def networks() -> Networks:
    """All of them, of random weights."""
    return Networks(random_lpips("squeeze"), structure.Structure(tiny_vit()), tiny_clip())


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


# --- What is at hand


@pytest.fixture
def empty_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """No weights anywhere, and no network asked for; the folder of the hub's cache."""
    asked = []

    def refuse(*where: Any, **_: Any) -> None:
        asked.append(where)
        raise OSError("no network")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("COUNTERFLOW_METRICS", str(tmp_path / "metrics"))
    yield tmp_path / "hub"
    assert not asked


def snapshot(hub: Path, name: str) -> Path:
    """A repository's folder in the hub's cache."""
    repository = hub / f"models--{name.replace('/', '--')}"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("0" * 40)
    folder = repository / "snapshots" / ("0" * 40)
    folder.mkdir(parents=True)
    return folder


@pytest.mark.usefixtures("empty_machine")
def test_what_is_missing_is_said_in_one_line() -> None:
    found = at_hand()
    assert found.lpips is None and found.structure is None and found.clip is None
    assert set(found.missing) == {metric.needs for metric in METRICS if metric.needs}
    for name, load in {"lpips": lpips.load, "structure": structure.load, "clip": clip.load}.items():
        with pytest.raises(ModelError) as error:
            load()
        line = str(error.value)
        assert line == found.missing[name] and "\n" not in line
    assert "curl -fL -O https://" in found.missing["lpips"]
    assert "hf download facebook/dino-vitb8 " in found.missing["structure"]
    assert "hf download openai/clip-vit-large-patch14 " in found.missing["clip"]


def test_what_the_hub_has_left_is_found(empty_machine: Path) -> None:
    vit, scorer = tiny_vit(), tiny_clip()
    vit.save_pretrained(snapshot(empty_machine, structure.NAME))
    folder = snapshot(empty_machine, clip.NAME)
    scorer.model.save_pretrained(folder)
    scorer.tokenizer.save_pretrained(folder)
    found = at_hand()
    assert list(found.missing) == ["lpips"]
    assert found.structure is not None and found.clip is not None
    a, b = noise(64, 64), noise(64, 64, seed=1)
    theirs = structure.Structure(vit).distance(a, b)
    assert found.structure.distance(a, b) == pytest.approx(theirs)
    assert found.clip.score(a, "a cat") == pytest.approx(scorer.score(a, "a cat"))


def test_a_model_that_is_not_whole_is_refused(tmp_path: Path) -> None:
    """transformers would draw what weights are missing, and make up an empty tokenizer."""
    vit, scorer = tiny_vit(), tiny_clip()
    state = {k: v for k, v in vit.state_dict().items() if "k_proj" not in k}
    vit.save_pretrained(tmp_path / "vit", state_dict=state)
    with pytest.raises(ModelError, match=r"DINO ViT-B/8, absent or not whole"):
        structure.load(tmp_path / "vit")
    (tmp_path / "vit" / "model.safetensors").write_bytes(b"cut off")
    with pytest.raises(ModelError, match=r"DINO ViT-B/8, absent or not whole"):
        structure.load(tmp_path / "vit")
    scorer.model.save_pretrained(tmp_path / "clip")
    with pytest.raises(ModelError, match=r"CLIP ViT-L/14, absent or not whole"):
        clip.load(tmp_path / "clip")
