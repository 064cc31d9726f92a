"""What decides a picture: checked before a model loads, recorded in the PNG, made again from it."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from counterflow import __version__
from counterflow.edit.checks import adopted, check_generate, check_seed
from counterflow.edit.legacy import ftedit_settings
from counterflow.errors import InputError
from counterflow.kinds import Integer
from counterflow.methods.base import Method
from counterflow.methods.registry import from_record
from counterflow.methods.run import ROWS
from counterflow.progress import Progress

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

    from counterflow.edit.editor import Editor, Inversion


ROW_COUNT = Integer(1, 1024)


@dataclass
class ModelChoice:
    """Which model runs where; once loaded, what the defaults came to and which weights it has."""

    name: str = "toybox"
    device: str | None = None
    dtype: str | None = None
    seed: int = 0
    identity: str | None = None
    """Of a replayed picture, the weights that made it."""
    rows: int = ROWS
    """Most samples in one forward; it decides memory, and the picture only to rounding."""

    def check(self) -> None:
        """Refuse what can be refused without loading."""
        from counterflow.backbones.registry import check_options

        check_seed(self.seed)
        ROW_COUNT.check("--rows", self.rows)
        check_options(self.name, self.device, self.dtype)

    def load(self) -> Editor:
        """Load the model; warns if it has other weights than those recorded."""
        import torch

        from counterflow.edit.editor import Editor

        torch.manual_seed(self.seed)
        editor = Editor.load(self.name, self.device, self.dtype)
        editor.rows = self.rows
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
    def from_record(cls, data: Mapping[str, Any]) -> ModelChoice:
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
    method_name: str | None = None
    """None for the stored inversion's own, or FTEdit."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """What differs from the method's defaults."""
    texts: Mapping[str, str] = field(default_factory=dict)
    """The same as text, as `--set` gives it."""
    mask: Path | None = None
    auto_mask: bool = False
    exact_background: bool = False
    digests: dict[str, str | None] = field(default_factory=dict)
    """SHA-256 of the files, taken when they are opened."""
    picture: Image.Image | None = None
    inside: np.ndarray | None = None
    """The mask, bool `[height, width]`."""

    def __post_init__(self) -> None:
        if not self.stored:
            self._method = adopted(self.method_name, self.settings, None, self.texts)
        if self.exact_background and self.mask is None and not self.auto_mask:
            raise InputError("--exact-background needs a --mask: without one all may change")

    @property
    def method(self) -> Method:
        """The method, once the job is open."""
        return self._method

    @property
    def stored(self) -> bool:
        """Whether the picture comes as a stored inversion."""
        return self.image.suffix.lower() == ".safetensors"

    def open(self) -> None:
        """Read the picture and the mask; whatever is wrong is refused before a model loads."""
        from counterflow.images import load, load_mask

        self.model.check()
        if self.stored:
            self._open_stored()
        elif not (self.source or "").strip():
            raise InputError("--source is empty: say in a sentence what the picture shows")
        else:
            self.picture = load(self.image)
        if self.mask is not None and self.picture is not None:
            self.inside = load_mask(self.mask, self.picture.size)
        for name, path in (("image", self.image), ("mask", self.mask)):
            digest = None if path is None else hashlib.sha256(path.read_bytes()).hexdigest()
            self.digests[f"{name}_sha256"] = digest

    def _open_stored(self) -> None:
        from counterflow.edit import store

        stored = store.read(self.image)
        if self.source not in (None, stored.prompt):
            raise InputError(f"{self.image} was inverted as {stored.prompt!r}; leave --source out")
        self._method = adopted(self.method_name, self.settings, stored.method, self.texts)
        if self._method.inversion not in (None, stored.method.inversion):
            raise InputError(f"{self.image} is inverted already; leave its settings out")
        self.source, self.picture = stored.prompt, stored.picture

    def inversion(self, editor: Editor, progress: Progress) -> Inversion:
        """Invert the picture that was opened, or take the stored inversion."""
        if self.stored:
            return editor.open(self.image)
        assert self.picture is not None and self.source is not None, "open the job first"
        return editor.invert(self.picture, self.source, self.method, progress, self.model.seed)

    def masked(
        self, editor: Editor, inversion: Inversion, target: str, progress: Progress
    ) -> np.ndarray | None:
        """The mask of an edit: the one that was read, or the one that is found."""
        if self.auto_mask:
            return editor.auto_mask(inversion, target, progress=progress)
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
            "exact_background": self.exact_background,
            **self.digests,
            "source": self.source,
            **self.model.record(),
            "method": self.method.name,
            "settings": self.method.to_dict(),
            **more,
        }

    @classmethod
    def from_record(
        cls, data: Mapping[str, Any], image: Path, mask: Path | None, model: ModelChoice
    ) -> Job:
        """The job that `record` wrote; records of before methods are FTEdit's."""
        edit = data.get("edit", {})
        if "method" in data:
            name, settings = data["method"], data["settings"]
        else:
            name, settings = "ftedit", ftedit_settings(data["invert"], edit)
        method = from_record(str(name), settings)
        auto, exact = bool(data.get("auto_mask", False)), data.get("exact_background", False)
        exact = bool(exact or edit.get("exact_background", False))
        return cls(
            image,
            data["source"],
            model,
            method.name,
            method.to_dict(),
            mask=mask,
            auto_mask=auto,
            exact_background=exact,
        )


@dataclass
class Generation:
    """Everything that decides a generated picture."""

    prompt: str
    steps: int
    guidance: float
    width: int | None
    height: int | None
    model: ModelChoice
    solver: str = "euler"

    def check(self) -> None:
        """Refuse what can be refused without loading the model."""
        check_generate(
            self.steps, self.guidance, self.model.seed, self.width, self.height, self.solver
        )
        self.model.check()

    def run(
        self, progress: Progress, keep: bool = False
    ) -> tuple[Image.Image, Editor, Inversion | None]:
        """Load the model and make the picture; with `keep`, also what an edit of it starts from."""
        editor = self.model.load()
        width, height = editor.square
        size = (self.width or width, self.height or height)
        picture, trajectory = editor.generate(
            self.prompt, self.steps, self.guidance, self.model.seed, size, progress, self.solver
        )
        kept = editor.from_trajectory(picture, self.prompt, trajectory) if keep else None
        return picture, editor, kept

    def record(self) -> dict[str, Any]:
        """For the PNG."""
        names = ("prompt", "steps", "guidance", "width", "height", "solver")
        settings = {name: getattr(self, name) for name in names}
        version = {"command": "generate", "counterflow": __version__}
        return version | settings | self.model.record()

    @classmethod
    def from_record(cls, data: Mapping[str, Any], model: ModelChoice) -> Generation:
        """What `record` wrote."""
        names = ("prompt", "steps", "guidance", "width", "height")
        values = {name: data[name] for name in names}
        return cls(**values, model=model, solver=data.get("solver", "euler"))
