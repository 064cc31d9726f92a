"""Networks of random weights, and LPIPS computed apart from ours, for the tests of metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchmetrics.functional.image.lpips as torch_lpips
from torch import Tensor, nn
from torch.nn.functional import conv2d, max_pool2d
from torchmetrics.functional.image import structural_similarity_index_measure
from transformers import CLIPConfig, CLIPModel, ViTConfig, ViTModel

from counterflow.metrics import clip, lpips, structure
from counterflow.metrics.networks import Networks
from counterflow.toybox.train.text import clip_tokenizer

PUBLISHED = Path(torch_lpips.__file__).parent / "lpips_models"
"""torchmetrics' copies of LPIPS's linear weights."""


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3), dtype=np.uint8)


def as_tensor(picture: np.ndarray) -> Tensor:
    return torch.tensor(picture.astype(np.float32) / 255).permute(2, 0, 1)[None]


def torch_ssim(x: Tensor, y: Tensor) -> Tensor:
    """torchmetrics' value as it was until September 2024: without the reflected borders."""
    full = structural_similarity_index_measure(x, y, data_range=1.0, return_full_image=True)[1]
    return full[..., 5:-5, 5:-5].mean()


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


def all_networks() -> Networks:
    """All of them, of random weights."""
    return Networks(random_lpips("squeeze"), structure.Structure(tiny_vit()), tiny_clip())
