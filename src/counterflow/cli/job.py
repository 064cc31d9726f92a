"""What a picture is made from: checked before a model loads, recorded in the PNG, replayed."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from counterflow import __version__
from counterflow.cli.options import INVERT
from counterflow.edit.settings import InvertSettings
from counterflow.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

    from counterflow.edit.editor import Editor


@dataclass(frozen=True)
class Job:
    """Everything that decides the pictures of `edit` and `reconstruct`, as recorded in the PNG."""

    image: Path
    source: str
    model: str = "toybox"
    device: str | None = None
    dtype: str | None = None
    mask: Path | None = None
    seed: int = 0
    invert: InvertSettings = INVERT

    def open(self) -> tuple[Image.Image, np.ndarray | None]:
        """The picture and the mask, refused before any model loads."""
        from counterflow.backbones.registry import check_options
        from counterflow.images import load, load_mask

        check_options(self.model, self.device, self.dtype)
        if not self.source.strip():
            raise InputError("--source is empty: say in a sentence what the picture shows")
        picture = load(self.image)
        return picture, None if self.mask is None else load_mask(self.mask, picture.size)

    def editor(self) -> Editor:
        """Load the model."""
        import torch

        from counterflow.edit.editor import Editor

        torch.manual_seed(self.seed)
        return Editor.load(self.model, self.device, self.dtype)

    def record(self, command: str, output: Path, **more: Any) -> dict[str, Any]:
        """Settings for the PNG; files are named relative to its folder."""

        def near(path: Path) -> str:
            return os.path.relpath(path.absolute(), output.absolute().parent)

        return {
            "command": command,
            "counterflow": __version__,
            "image": near(self.image),
            "image_sha256": hashlib.sha256(self.image.read_bytes()).hexdigest(),
            "mask": None if self.mask is None else near(self.mask),
            "source": self.source,
            "model": self.model,
            "device": self.device,
            "dtype": self.dtype,
            "seed": self.seed,
            "invert": self.invert.to_dict(),
            **more,
        }


def save(picture: Image.Image, path: Path, settings: dict[str, Any]) -> None:
    from counterflow.images import save_png

    save_png(picture, path, settings)
