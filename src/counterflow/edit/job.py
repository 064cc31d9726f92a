"""All that determines a picture: checked before a model loads, and stored in the PNG for replay."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from counterflow import __version__
from counterflow.backbones.loading import Loading
from counterflow.edit.checks import adopted, check_fits, check_generate, check_seed
from counterflow.edit.legacy import ftedit_settings
from counterflow.errors import InputError
from counterflow.kinds import Integer, Number
from counterflow.methods.base import Method
from counterflow.methods.registry import from_record
from counterflow.progress import Progress

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

    from counterflow.edit.editor import Editor, Inversion


ROW_COUNT = Integer(1, 1024)
GIBIBYTES = Number(0, 1024)


@dataclass
class ModelChoice:
    """The model and the random seed; `load` fills in the device and the identity of the weights."""

    loading: Loading = field(default_factory=Loading)
    seed: int = 0
    identity: str | None = None
    """`Backbone.identity`; before `load`, that of the recorded weights or None."""
    rows: int | None = None
    """Most samples in one forward; it changes memory, and the picture only by rounding."""
    keep: float | None = None
    """GiB that a picture's features and velocities may take; it changes the cost of next edits."""

    def check(self) -> None:
        """Check all options without loading; raises InputError or ModelError."""
        check_seed(self.seed)
        if self.rows is not None:
            ROW_COUNT.check("--rows", self.rows)
        if self.keep is not None:
            GIBIBYTES.check("--keep", self.keep)
        self.loading.check()

    def load(self) -> Editor:
        """Load the model; warns if its weights are not the recorded ones."""
        import torch

        from counterflow.edit.editor import Editor

        torch.manual_seed(self.seed)
        editor = Editor.load(self.loading)
        editor.rows = self.rows or editor.rows
        editor.keep = editor.keep if self.keep is None else int(self.keep * 2**30)
        backbone = editor.backbone
        if self.identity not in (None, backbone.identity):
            warnings.warn(
                f"the picture was made by {self.identity}, but this model is {backbone.identity}",
                stacklevel=2,
            )
        self.identity = backbone.identity
        dtype = str(backbone.dtype).removeprefix("torch.")
        self.loading = replace(self.loading, device=str(backbone.device), dtype=dtype)
        return editor

    def record(self) -> dict[str, Any]:
        """The settings for the PNG."""
        return self.loading.record() | {"identity": self.identity, "seed": self.seed}

    @classmethod
    def from_record(cls, data: Mapping[str, Any]) -> ModelChoice:
        """The choice that `record` wrote."""
        return cls(Loading.from_record(data), data["seed"], data["identity"])


@dataclass
class Job:
    """All that determines the pictures of `edit` and `reconstruct`, as stored in the PNG."""

    image: Path
    """The picture, or a stored inversion of it."""
    source: str | None
    """The source prompt; None for a stored inversion, whose file has it."""
    model: ModelChoice
    method_name: str | None = None
    """None for the stored inversion's method, or else FTEdit."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Settings that differ from the method's defaults."""
    texts: Mapping[str, str] = field(default_factory=dict)
    """Further settings as text, as `--set` gives them."""
    mask: Path | None = None
    auto_mask: bool = False
    exact_background: bool = False
    digests: dict[str, str | None] = field(default_factory=dict)
    """SHA-256 of the picture and the mask by record key; filled in by `open`."""
    picture: Image.Image | None = None
    inside: np.ndarray | None = None
    """The mask, bool `[height, width]`."""

    def __post_init__(self) -> None:
        if not self.stored:
            self._method = adopted(self.method_name, self.settings, None, self.texts)
        if self.exact_background and self.mask is None and not self.auto_mask:
            raise InputError("--exact-background needs a mask: give --mask too")

    @property
    def method(self) -> Method:
        """The method; of a stored inversion only after `open`."""
        return self._method

    @property
    def stored(self) -> bool:
        """Whether `image` is a stored inversion."""
        return self.image.suffix.lower() == ".safetensors"

    def open(self) -> None:
        """Read the picture and the mask, before a model loads; InputError if one is wrong."""
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
        self.digest()

    def digest(self) -> None:
        """Fill in `digests`, which `record` tells."""
        for name, path in (("image", self.image), ("mask", self.mask)):
            digest = None if path is None else hashlib.sha256(path.read_bytes()).hexdigest()
            self.digests[f"{name}_sha256"] = digest

    def _open_stored(self) -> None:
        from counterflow.edit import store

        stored = store.read(self.image)
        if self.source not in (None, stored.prompt):
            raise InputError(f"{self.image} was inverted as {stored.prompt!r}; leave --source out")
        self._method = adopted(self.method_name, self.settings, stored.method, self.texts)
        check_fits(self._method, stored.method, stored.trajectory, stored.recorded)
        self.source, self.picture = stored.prompt, stored.picture

    def inversion(self, editor: Editor, progress: Progress) -> Inversion:
        """Invert the opened picture, or read the stored inversion."""
        if self.stored:
            return editor.open(self.image)
        assert self.picture is not None and self.source is not None, "open the job first"
        return editor.invert(self.picture, self.source, self.method, progress, self.model.seed)

    def masked(
        self, editor: Editor, inversion: Inversion, target: str, progress: Progress
    ) -> np.ndarray | None:
        """The mask of an edit, bool `[height, width]`: computed if automatic, else as read."""
        if self.auto_mask:
            return editor.auto_mask(inversion, target, progress=progress)
        return self.inside

    def record(self, command: str, output: Path | None, **more: Any) -> dict[str, Any]:
        """The settings for the PNG `output`; files are relative to its folder, or as given."""

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
        """The job that `record` wrote; old records without a method are FTEdit's."""
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
    """All that determines a generated picture."""

    prompt: str
    steps: int
    guidance: float
    width: int | None
    height: int | None
    model: ModelChoice
    solver: str = "euler"

    def check(self) -> None:
        """Check all options without loading the model; raises InputError or ModelError."""
        check_generate(
            self.steps, self.guidance, self.model.seed, self.width, self.height, self.solver
        )
        self.model.check()

    def run(
        self, progress: Progress, keep: bool = False
    ) -> tuple[Image.Image, Editor, Inversion | None]:
        """Load the model and make the picture; with `keep`, return its inversion for edits too."""
        editor = self.model.load()
        width, height = editor.square
        size = (self.width or width, self.height or height)
        picture, trajectory = editor.generate(
            self.prompt, self.steps, self.guidance, self.model.seed, size, progress, self.solver
        )
        kept = editor.from_trajectory(picture, self.prompt, trajectory) if keep else None
        return picture, editor, kept

    def record(self) -> dict[str, Any]:
        """The settings for the PNG."""
        names = ("prompt", "steps", "guidance", "width", "height", "solver")
        settings = {name: getattr(self, name) for name in names}
        version = {"command": "generate", "counterflow": __version__}
        return version | settings | self.model.record()

    @classmethod
    def from_record(cls, data: Mapping[str, Any], model: ModelChoice) -> Generation:
        """The generation that `record` wrote."""
        names = ("prompt", "steps", "guidance", "width", "height")
        values = {name: data[name] for name in names}
        return cls(**values, model=model, solver=data.get("solver", "euler"))
