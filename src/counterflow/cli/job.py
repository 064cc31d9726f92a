"""What a picture is made from: checked before a model loads, recorded in the PNG, replayed."""

from __future__ import annotations

import hashlib
import os
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from counterflow import __version__
from counterflow.cli.options import INVERT
from counterflow.edit.settings import InvertSettings, check_seed
from counterflow.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

    from counterflow.edit.editor import Editor


@dataclass
class ModelChoice:
    """Which model runs where; once loaded, what the defaults came to and which weights it has."""

    name: str = "toybox"
    device: str | None = None
    dtype: str | None = None
    seed: int = 0
    identity: str | None = None
    """Of a replayed picture, the weights that made it."""

    def check(self) -> None:
        """Refuse what can be refused without loading."""
        from counterflow.backbones.registry import check_options

        check_seed(self.seed)
        check_options(self.name, self.device, self.dtype)

    def load(self) -> Editor:
        """Load the model; warns if it has other weights than those recorded."""
        import torch

        from counterflow.edit.editor import Editor

        torch.manual_seed(self.seed)
        editor = Editor.load(self.name, self.device, self.dtype)
        backbone = editor.backbone
        if self.identity not in (None, backbone.identity):
            warnings.warn(
                f"the picture was made by {self.identity}, this is {backbone.identity}",
                stacklevel=2,
            )
        self.identity = backbone.identity
        self.device, self.dtype = str(backbone.device), str(backbone.dtype).removeprefix("torch.")
        return editor

    def record(self) -> dict[str, Any]:
        """For the PNG; a folder by its full path."""
        folder = self.name != "toybox" and Path(self.name).expanduser().is_dir()
        return {
            "model": str(Path(self.name).expanduser().resolve()) if folder else self.name,
            "identity": self.identity,
            "device": self.device,
            "dtype": self.dtype,
            "seed": self.seed,
        }

    @classmethod
    def from_record(cls, data: dict[str, Any]) -> ModelChoice:
        """What `record` wrote."""
        return cls(data["model"], data["device"], data["dtype"], data["seed"], data["identity"])


@dataclass
class Job:
    """Everything that decides the pictures of `edit` and `reconstruct`, as recorded in the PNG."""

    image: Path
    source: str
    model: ModelChoice
    mask: Path | None = None
    invert: InvertSettings = INVERT
    digests: dict[str, str | None] = field(default_factory=dict)
    """SHA-256 of the files, taken when they are opened."""

    def open(self) -> tuple[Image.Image, np.ndarray | None]:
        """The picture and the mask; everything that is wrong is refused before a model loads."""
        from counterflow.images import load, load_mask

        self.model.check()
        if not self.source.strip():
            raise InputError("--source is empty: say in a sentence what the picture shows")
        picture = load(self.image)
        inside = None if self.mask is None else load_mask(self.mask, picture.size)
        for name, path in (("image", self.image), ("mask", self.mask)):
            known = None if path is None else hashlib.sha256(path.read_bytes()).hexdigest()
            self.digests[f"{name}_sha256"] = known
        return picture, inside

    def record(self, command: str, output: Path | None, **more: Any) -> dict[str, Any]:
        """Settings for the PNG, which names files relative to its folder (or as given)."""

        def near(path: Path) -> str:
            if output is None:
                return str(path)
            return os.path.relpath(path.absolute(), output.absolute().parent)

        return {
            "command": command,
            "counterflow": __version__,
            "image": near(self.image),
            "mask": None if self.mask is None else near(self.mask),
            **self.digests,
            "source": self.source,
            **self.model.record(),
            "invert": self.invert.to_dict(),
            **more,
        }


def save(picture: Image.Image, path: Path, settings: dict[str, Any]) -> None:
    """Write a result, whole or not at all."""
    from counterflow.images import save_png

    save_png(picture, path, settings)
