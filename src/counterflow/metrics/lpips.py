"""LPIPS (Zhang et al. 2018, arXiv:1801.03924), version 0.1: three feature networks in plain torch.

A "stack" is the network whose features are compared. `load` reads its published weights from one
folder and never downloads them: torchvision's ImageNet weights of the stack and the linear weights
of the lpips package.
"""

from __future__ import annotations

import hashlib
import os
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from counterflow.errors import ModelError
from counterflow.metrics.pixels import Picture, Region, check

Stack = Literal["squeeze", "alex", "vgg"]

MEAN, STD = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
SMALLEST = 32
"""Smallest side in pixels; below it the last layers have no output."""


class Fire(nn.Module):
    """SqueezeNet's block: a 1×1 convolution, then two convolutions whose outputs are joined."""

    def __init__(self, inputs: int, squeeze: int, expand: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(inputs, squeeze, 1)
        self.expand1x1 = nn.Conv2d(squeeze, expand, 1)
        self.expand3x3 = nn.Conv2d(squeeze, expand, 3, padding=1)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d h w"]:
        x = self.squeeze(x).relu()
        return torch.cat([self.expand1x1(x).relu(), self.expand3x3(x).relu()], dim=1)


def squeeze_layers() -> list[nn.Module]:
    """The `features` of SqueezeNet 1.1; here and below, layers are numbered as in torchvision."""
    pool = nn.MaxPool2d(3, 2, ceil_mode=True)
    return [
        *(nn.Conv2d(3, 64, 3, stride=2), nn.ReLU(), pool),
        *(Fire(64, 16, 64), Fire(128, 16, 64), pool),
        *(Fire(128, 32, 128), Fire(256, 32, 128), pool),
        *(Fire(256, 48, 192), Fire(384, 48, 192), Fire(384, 64, 256), Fire(512, 64, 256)),
    ]


def alex_layers() -> list[nn.Module]:
    """The `features` of AlexNet, up to the last activation."""
    pool = nn.MaxPool2d(3, 2)
    return [
        *(nn.Conv2d(3, 64, 11, stride=4, padding=2), nn.ReLU(), pool),
        *(nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), pool),
        *(nn.Conv2d(192, 384, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(384, 256, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(256, 256, 3, padding=1), nn.ReLU()),
    ]


def vgg_layers() -> list[nn.Module]:
    """The `features` of VGG-16, up to the last activation."""
    layers: list[nn.Module] = []
    inputs = 3
    for stage in ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512)):
        if layers:
            layers.append(nn.MaxPool2d(2))
        for width in stage:
            layers += [nn.Conv2d(inputs, width, 3, padding=1), nn.ReLU()]
            inputs = width
    return layers


STACKS: dict[str, tuple[Callable[[], list[nn.Module]], dict[int, int]]] = {
    "squeeze": (squeeze_layers, {1: 64, 4: 128, 7: 256, 9: 384, 10: 384, 11: 512, 12: 512}),
    "alex": (alex_layers, {1: 64, 4: 192, 7: 384, 9: 256, 11: 256}),
    "vgg": (vgg_layers, {3: 64, 8: 128, 15: 256, 22: 512, 29: 512}),
}
"""By stack: its layers, and the width of each layer whose output is compared."""


class LPIPS(nn.Module):
    """Distance between the features of two pictures; 0 for equal ones, lower is more alike."""

    mean: Tensor
    std: Tensor

    def __init__(self, stack: Stack = "squeeze") -> None:
        super().__init__()
        layers, self.taps = STACKS[stack]
        self.features = nn.Sequential(*layers())
        self.linear = nn.ParameterList([torch.ones(width) for width in self.taps.values()])
        self.register_buffer("mean", torch.tensor(MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).view(3, 1, 1), persistent=False)
        self.requires_grad_(False).eval()

    def forward(
        self, a: Float[Tensor, "n 3 h w"], b: Float[Tensor, "n 3 h w"]
    ) -> Float[Tensor, " n"]:
        """Distances of pictures in −1…1: the sum of each layer's mean over its positions."""
        return torch.stack([each.mean((1, 2, 3)) for each in self._layers(a, b)]).sum(0)

    def maps(
        self, a: Float[Tensor, "n 3 h w"], b: Float[Tensor, "n 3 h w"]
    ) -> Float[Tensor, "n h w"]:
        """Where pictures in −1…1 differ: the sum of each layer's map, resized to the pictures."""
        size = tuple(a.shape[2:])
        layers = self._layers(a, b)
        sized = [nn.functional.interpolate(each, size, mode="bilinear") for each in layers]
        return torch.cat(sized, dim=1).sum(1)

    @torch.no_grad()
    def distance(self, a: Picture, b: Picture, where: Region | None = None) -> float | None:
        """Distance of two pictures; over a region, the mean of `maps` there.

        The features are still computed from the whole pictures. None for a region without pixels
        and for pictures with a side under 32 pixels. Raises ValueError for arrays of another type
        or size.
        """
        check(a, b, where)
        if min(a.shape[:2]) < SMALLEST or (where is not None and not where.any()):
            return None
        one, other = self._pixels(a), self._pixels(b)
        if where is None:
            return float(self(one, other))
        return float(self.maps(one, other)[0][torch.tensor(where, device=one.device)].mean())

    def _pixels(self, picture: Picture) -> Float[Tensor, "1 3 _ _"]:
        pixels = torch.from_numpy(picture.astype(np.float32)).permute(2, 0, 1)[None]
        return (pixels / 255 * 2 - 1).to(self.mean.device)

    def _layers(self, a: Tensor, b: Tensor) -> list[Float[Tensor, "n 1 _ _"]]:
        """For each compared layer, the weighted squared difference of its unit features."""
        differences: list[Tensor] = []
        a, b = ((x - self.mean) / self.std for x in (a, b))
        for i, layer in enumerate(self.features):
            a, b = layer(a), layer(b)
            if i in self.taps:
                weight = self.linear[len(differences)].view(-1, 1, 1)
                difference = (_unit(a) - _unit(b)).square()
                differences.append((difference * weight).sum(1, keepdim=True))
        return differences


def _unit(x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
    norm: Tensor = torch.linalg.vector_norm(x, dim=1, keepdim=True)
    return x / (norm + 1e-10)


@dataclass(frozen=True)
class Published:
    """A file of weights: where it is published, and the first digits of its SHA-256."""

    url: str
    sha256: str

    @property
    def name(self) -> str:
        """The file's name."""
        return self.url.rpartition("/")[2]

    def fault(self, folder: Path) -> str:
        """What is wrong with the file in a folder; empty if nothing is."""
        path = folder / self.name
        if not path.is_file():
            return "absent"
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        wrong = f"another file, its SHA-256 begins {digest[:8]} and not {self.sha256[:8]}"
        return "" if digest.startswith(self.sha256) else wrong


TORCH = "https://download.pytorch.org/models"
LINEAR = "https://github.com/richzhang/PerceptualSimilarity/raw/master/lpips/weights/v0.1"

FILES: dict[str, tuple[Published, Published]] = {
    "squeeze": (
        Published(f"{TORCH}/squeezenet1_1-b8a52dc0.pth", "b8a52dc0"),
        Published(
            f"{LINEAR}/squeeze.pth",
            "4a5350f23600cb79923ce65bb07cbf57dca461329894153e05a1346bd531cf76",
        ),
    ),
    "alex": (
        Published(f"{TORCH}/alexnet-owt-7be5be79.pth", "7be5be79"),
        Published(
            f"{LINEAR}/alex.pth",
            "df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0",
        ),
    ),
    "vgg": (
        Published(f"{TORCH}/vgg16-397923af.pth", "397923af"),
        Published(
            f"{LINEAR}/vgg.pth",
            "a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868",
        ),
    ),
}
"""By stack: its features and its linear weights. torchvision's file names hold the first digits."""


def default_folder() -> Path:
    """The folder of the files: COUNTERFLOW_METRICS, or else one in the user's cache."""
    named = os.environ.get("COUNTERFLOW_METRICS")
    return Path(named or "~/.cache/counterflow/metrics").expanduser()


def load(stack: Stack = "squeeze", folder: Path | None = None) -> LPIPS:
    """Load LPIPS with its published weights.

    Raises ModelError, with the command that downloads them, if a file is absent or another one.
    """
    where = folder or default_folder()
    faults = {file: fault for file in FILES[stack] if (fault := file.fault(where))}
    if faults:
        what = " and ".join(f"{file.name} ({fault})" for file, fault in faults.items())
        home = str(Path.home())
        place = shlex.quote(str(where)).replace(home, "~", 1)
        fetch = f"mkdir -p {place} && cd {place} && curl -fL"
        urls = " ".join(f"-O {file.url}" for file in faults)
        raise ModelError(f"LPIPS ({stack}) needs {what} in {place}; get it with: {fetch} {urls}")
    features, linear = (
        torch.load(where / file.name, map_location="cpu", weights_only=True)
        for file in FILES[stack]
    )
    return from_states(stack, features, linear)


def from_states(
    stack: Stack, features: Mapping[str, Tensor], linear: Mapping[str, Tensor]
) -> LPIPS:
    """LPIPS from two state dicts: torchvision's of the stack, and the published linear weights."""
    network = LPIPS(stack)
    named = {k: v for k, v in features.items() if k.startswith("features.")}
    network.features.load_state_dict({k.removeprefix("features."): v for k, v in named.items()})
    for i, weight in enumerate(network.linear):
        weight.copy_(linear[f"lin{i}.model.1.weight"].flatten())
    return network
