"""The judge: predicts every field of a toybox picture's scene, each with a probability.

A small classifier of five strided convolutions. It is trained on rendered pictures and on the same
pictures encoded and decoded by the autoencoder, never on generated ones: see
`counterflow.toybox.train.judge`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn

from counterflow.errors import ModelError
from counterflow.toybox.board import BOARD
from counterflow.toybox.scene import VALUES, Scene, fields_said

WIDTHS = (3, 32, 64, 128, 192, 256)

KNOWN = 7.0
"""Energy below which a picture is none that the judge learned to read: renders and their round
trips have 7.4 and more, photographs and others' drawings less than 5."""


@dataclass(frozen=True)
class Prediction:
    """A field's most probable value, and its probability in 0..1."""

    value: Any
    probability: float


Reading = dict[str, Prediction]
"""A prediction by field; without a thing, its count and colour are left out."""


class Judge(nn.Module):
    """A classifier of pictures of 128×128 in −1…1: logits for every field."""

    def __init__(self) -> None:
        super().__init__()
        stages: list[nn.Module] = []
        for before, after in pairwise(WIDTHS):
            size = 5 if before == 3 else 3
            stages += [
                nn.Conv2d(before, after, size, stride=2, padding=size // 2, bias=False),
                nn.BatchNorm2d(after),
                nn.SiLU(),
            ]
        self.body = nn.Sequential(*stages, nn.Flatten())
        features = WIDTHS[-1] * (BOARD // 2 ** (len(WIDTHS) - 1)) ** 2
        self.heads = nn.ModuleDict({k: nn.Linear(features, len(v)) for k, v in VALUES.items()})

    def forward(self, pictures: Float[Tensor, "n 3 128 128"]) -> dict[str, Tensor]:
        """Logits `[n, values]` by field; the values are in the order of `VALUES`."""
        features = self.body(pictures)
        return {name: head(features) for name, head in self.heads.items()}

    @torch.no_grad()
    def read(self, pictures: Sequence[Image.Image], batch: int = 64) -> Iterator[Reading]:
        """Read pictures of any size, `batch` at a time. The judge must be in `eval` mode."""
        for start in range(0, len(pictures), batch):
            part = [_pixels(picture) for picture in pictures[start : start + batch]]
            yield from self.read_pixels(torch.stack(part))

    @torch.no_grad()
    def read_pixels(self, pictures: Float[Tensor, "n 3 128 128"]) -> list[Reading]:
        """Read pictures in −1…1. The judge must be in `eval` mode."""
        best = {k: logits.softmax(-1).max(-1) for k, logits in self(pictures).items()}
        readings = []
        for i in range(len(pictures)):
            reading = {
                name: Prediction(VALUES[name][int(index[i])], float(probability[i]))
                for name, (probability, index) in best.items()
            }
            if reading["thing"].value == "none":
                del reading["count"], reading["thing_color"]
            readings.append(reading)
        return readings

    @torch.no_grad()
    def energy(self, picture: Image.Image) -> float:
        """How surely anything is read: `log sum exp` of a field's logits, the mean over fields.

        The energy score of Liu et al. (NeurIPS 2020, arXiv 2010.03759); it is low for a picture
        that is none of the bundled world, to which softmax gives probabilities near one all the
        same. The judge must be in `eval` mode.
        """
        scores = [logits.logsumexp(-1) for logits in self(_pixels(picture)[None]).values()]
        return float(torch.cat(scores).mean())


def _pixels(picture: Image.Image) -> Tensor:
    sized = picture.convert("RGB")
    if sized.size != (BOARD, BOARD):
        sized = sized.resize((BOARD, BOARD), Image.Resampling.BOX)
    return torch.from_numpy(np.array(sized)).permute(2, 0, 1).float() / 127.5 - 1


def right(scene: Scene, reading: Reading) -> dict[str, bool]:
    """For each field of the scene, whether the reading has its value."""
    return {
        name: name in reading and reading[name].value == getattr(scene, name)
        for name in fields_said(scene)
    }


def folder() -> Path:
    """The folder of the bundled judge: its weights and its accuracy on held-out scenes."""
    return Path(str(files("counterflow.toybox") / "weights" / "judge"))


@cache
def load(where: Path | None = None) -> Judge:
    """Load the bundled judge, or the one in the folder `where`. Raises ModelError if absent."""
    path = (where or folder()) / "judge.safetensors"
    if not path.is_file():
        raise ModelError(f"no judge at {path}; give a folder that holds judge.safetensors")
    judge = Judge()
    judge.load_state_dict({k: v.float() for k, v in load_file(path).items()})
    return judge.eval()


def accuracy(where: Path | None = None) -> dict[str, dict[str, float]]:
    """The judge's accuracy on held-out scenes, 0..1, by kind of picture and then by field.

    The kinds are `renders` and `round_trips` (encoded and decoded by the autoencoder).
    """
    path = (where or folder()) / "accuracy.json"
    accuracies: dict[str, dict[str, float]] = json.loads(path.read_text())
    return accuracies
