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

    from counterflow.cli.show import Progress
    from counterflow.edit.editor import Editor, Inversion


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
    """The picture, or an inversion of it that was stored."""
    source: str | None
    """What the picture shows; None for a stored inversion, which says it itself."""
    model: ModelChoice
    mask: Path | None = None
    auto_mask: bool = False
    invert: InvertSettings = INVERT
    digests: dict[str, str | None] = field(default_factory=dict)
    """SHA-256 of the files, taken when they are opened."""
    opened: Image.Image | None = None
    inside: np.ndarray | None = None
    """The mask, bool `[height, width]`."""

    def open(self) -> None:
        """Read the picture and the mask; whatever is wrong is refused before a model loads."""
        from counterflow.images import load, load_mask

        self.model.check()
        if self.stored:
            self._open_stored()
        elif not (self.source or "").strip():
            raise InputError("--source is empty: say in a sentence what the picture shows")
        else:
            self.opened = load(self.image)
        if self.mask is not None and self.opened is not None:
            self.inside = load_mask(self.mask, self.opened.size)
        for name, path in (("image", self.image), ("mask", self.mask)):
            known = None if path is None else hashlib.sha256(path.read_bytes()).hexdigest()
            self.digests[f"{name}_sha256"] = known

    @property
    def stored(self) -> bool:
        """Whether the picture comes as a stored inversion."""
        return self.image.suffix.lower() == ".safetensors"

    def _open_stored(self) -> None:
        from counterflow.edit import store

        known = store.read(self.image)
        if self.source not in (None, known.prompt):
            raise InputError(f"{self.image} was inverted as {known.prompt!r}; leave --source out")
        if self.invert not in (INVERT, known.settings):
            raise InputError(f"{self.image} is inverted already; leave its settings out")
        self.source, self.invert, self.opened = known.prompt, known.settings, known.picture

    def inversion(self, editor: Editor, progress: Progress) -> Inversion:
        """Invert the picture that was opened, or take the stored inversion."""
        from counterflow.edit.editor import Inversion

        if self.stored:
            return Inversion.load(self.image, editor.backbone)
        assert self.opened is not None and self.source is not None, "open the job first"
        return editor.invert(self.opened, self.source, self.invert, progress)

    def masked(self, inversion: Inversion, target: str, progress: Progress) -> np.ndarray | None:
        """The mask of an edit: the one that was read, or the one that is found."""
        if self.auto_mask:
            return inversion.auto_mask(target, progress=progress)
        return self.inside

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
            "auto_mask": self.auto_mask,
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
