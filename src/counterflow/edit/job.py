"""All that determines a picture: checked before a model loads, stored in its file for replay."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from counterflow.backbones.loading import Loading
from counterflow.edit.checks import adopted, check_fits, check_seed
from counterflow.edit.legacy import ftedit_settings
from counterflow.edit.masks import PIXELS, feather, grow
from counterflow.edit.origin import digest, record
from counterflow.errors import InputError
from counterflow.kinds import Integer, Number
from counterflow.methods.base import Method
from counterflow.methods.registry import from_record
from counterflow.progress import Progress
from counterflow.prompts import check_prompt

if TYPE_CHECKING:
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
        self.loading = editor.loading or self.loading
        editor.rows = self.rows or editor.rows
        editor.keep = editor.keep if self.keep is None else int(self.keep * 2**30)
        backbone = editor.backbone
        if self.identity not in (None, backbone.identity):
            warnings.warn(
                f"the picture was made by {self.identity}, but this model is {backbone.identity}",
                stacklevel=2,
            )
        self.identity = backbone.identity
        return editor

    def record(self) -> dict[str, Any]:
        """The settings for the picture's file."""
        return self.loading.record() | {"identity": self.identity, "seed": self.seed}

    @classmethod
    def from_record(cls, data: Mapping[str, Any]) -> ModelChoice:
        """The choice that `record` wrote, checked."""
        return cls(Loading.from_record(data), data["seed"], data["identity"])


@dataclass
class Job:
    """All that determines the pictures of `edit` and `reconstruct`, as stored in their files."""

    image: Path
    """The picture, or a stored inversion of it; `-` where the picture is `data`."""
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
    mask_grow: int = 0
    """Pixels by which any mask is grown, and then feathered."""
    mask_feather: int = 0
    inversion_seed: int | None = None
    """Seed of the inversion's noise; None for that of the edit."""
    data: bytes | None = None
    """The picture's file, where it was read already."""
    worked_size: tuple[int, int] | None = None
    """Width and height at which the model works; filled in by `inversion`."""
    digests: dict[str, str | None] = field(default_factory=dict)
    """SHA-256 of the picture and the mask by record key; filled in by `open`."""
    picture: Image.Image | None = None
    inside: np.ndarray | None = None
    """The mask, grown and feathered, `[height, width]`, bool or from 0 to 1."""
    plain: np.ndarray | None = None
    """The mask as it was read or last found, bool `[height, width]`."""

    def __post_init__(self) -> None:
        if not self.stored:
            self._method = adopted(self.method_name, self.settings, None, self.texts)
        PIXELS.check("--mask-grow", self.mask_grow)
        PIXELS.check("--mask-feather", self.mask_feather)
        options = ("exact_background", "mask_grow", "mask_feather")
        for name in options if self.mask is None and not self.auto_mask else ():
            if getattr(self, name):
                option = name.replace("_", "-")
                raise InputError(f"--{option} needs a mask: give --mask too")

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
        else:
            check_prompt("--source", self.source or "")
            self.picture = load(self.image if self.data is None else self.data)
        if self.mask is not None and self.picture is not None:
            self.plain = load_mask(self.mask, self.picture.size)
            self.inside = self._shaped(self.plain)
        self.digest()

    def digest(self) -> None:
        """Fill in `digests`, which `record` tells."""
        files = {"image": self.data or self.image.read_bytes()}
        if self.mask is not None:
            files["mask"] = self.mask.read_bytes()
        for name in ("image", "mask"):
            known = hashlib.sha256(files[name]).hexdigest() if name in files else None
            self.digests[f"{name}_sha256"] = known

    def is_recorded(self, name: str, known: str | None) -> bool:
        """Whether the opened `image` or `mask` has a digest that a record tells."""
        own = {"image": self.picture, "mask": self.plain}[name]
        in_memory = known is not None and known.startswith("pixels:") and own is not None
        return known == (digest(np.asarray(own)) if in_memory else self.digests[f"{name}_sha256"])

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
            inversion = editor.open(self.image)
        else:
            assert self.picture is not None and self.source is not None, "open the job first"
            seed = self._inversion_seed
            inversion = editor.invert(self.picture, self.source, self.method, progress, seed)
        self.worked_size = inversion.size
        return inversion

    @property
    def _inversion_seed(self) -> int:
        return self.model.seed if self.inversion_seed is None else self.inversion_seed

    def masked(
        self, editor: Editor, inversion: Inversion, target: str, progress: Progress
    ) -> np.ndarray | None:
        """The mask of an edit as `inside` says it, computed if it is automatic."""
        if not self.auto_mask:
            return self.inside
        self.plain = editor.auto_mask(inversion, target, progress=progress)
        return self._shaped(self.plain)

    def _shaped(self, mask: np.ndarray) -> np.ndarray:
        grown = grow(mask, self.mask_grow) if self.mask_grow else mask
        return feather(grown, self.mask_feather) if self.mask_feather else grown

    def record(self, command: str, output: Path | None, **more: Any) -> dict[str, Any]:
        """The settings for the file `output`; other files are told as `edit.origin.record` does."""
        return record(
            command,
            output,
            str(self.image),
            None if self.mask is None else str(self.mask),
            self.digests,
            self.source,
            self.model.record(),
            self.method,
            auto_mask=self.auto_mask,
            exact_background=self.exact_background,
            mask_grow=self.mask_grow,
            mask_feather=self.mask_feather,
            inversion_seed=self._inversion_seed,
            worked_size=self.worked_size and list(self.worked_size),
            **more,
        )

    @classmethod
    def from_record(
        cls, data: Mapping[str, Any], image: Path, mask: Path | None, model: ModelChoice
    ) -> Job:
        """The job that `record` wrote, checked; old records without a method are FTEdit's."""
        edit, name, settings = data["edit"], data["method"], data["settings"]
        if name is None or settings is None:
            name, settings = "ftedit", ftedit_settings(data["invert"], edit)
        method = from_record(name, settings)
        return cls(
            image,
            data["source"],
            model,
            method.name,
            method.to_dict(),
            mask=mask,
            auto_mask=data["auto_mask"],
            exact_background=data["exact_background"] or edit.get("exact_background") is True,
            mask_grow=data["mask_grow"],
            mask_feather=data["mask_feather"],
            inversion_seed=data["inversion_seed"],
        )
