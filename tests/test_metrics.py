"""The table of metrics in its profiles, and which networks are at hand."""

from __future__ import annotations

import math
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis.extra.numpy import arrays
from torch import nn
from torchmetrics import MeanSquaredError
from torchmetrics.image import PeakSignalNoiseRatio

from counterflow.errors import ModelError
from counterflow.metrics import clip, lpips, structure
from counterflow.metrics.networks import Networks, at_hand
from counterflow.metrics.table import METRICS, PROFILES, measure
from metric_networks import (
    all_networks,
    as_tensor,
    noise,
    oracle,
    random_lpips,
    tiny_clip,
    tiny_vit,
    torch_ssim,
)

BACKGROUND = ("PSNR", "LPIPS", "MSE", "SSIM")

pictures = arrays(np.uint8, (17, 21, 3))
masks = arrays(bool, (17, 21))
# Shrinking such arrays takes minutes and shows nothing.
quick = settings(max_examples=40, deadline=None, phases=[Phase.explicit, Phase.generate])


@pytest.fixture(scope="module")
def networks() -> Networks:
    return all_networks()


def published(a: np.ndarray, b: np.ndarray, mask: np.ndarray, network: nn.Module) -> dict[str, Any]:
    """PIE-Bench's background metrics by the library and in the order that its evaluator uses."""
    keep = torch.tensor(1 - mask.astype(np.float32))
    x, y = as_tensor(a) * keep, as_tensor(b) * keep
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
