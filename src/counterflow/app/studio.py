"""The model behind the page, for one piece of work at a time, and the tabs that are open."""

from __future__ import annotations

import threading
from collections.abc import Collection, Hashable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from counterflow.app.session import Sessions
from counterflow.backbones.families import FAMILIES
from counterflow.backbones.registry import BUNDLED
from counterflow.edit.editor import Editor
from counterflow.edit.inversion import Inversion
from counterflow.edit.job import Job, ModelChoice
from counterflow.progress import Progress

if TYPE_CHECKING:
    from PIL import Image

SHOWN = (
    "stabilityai/stable-diffusion-3.5-medium",
    "black-forest-labs/FLUX.1-dev",
    "Tongyi-MAI/Z-Image",
)
"""Models that the first view names."""


class Studio:
    """An open model; `lock` is held by whoever works with it."""

    def __init__(self, editor: Editor, choice: ModelChoice, folder: Path) -> None:
        self.editor, self.choice, self.folder = editor, choice, folder
        self.sessions = Sessions(folder / "sessions")
        self.lock = threading.Lock()
        self._latest: tuple[Hashable, Inversion] | None = None

    @property
    def bundled(self) -> bool:
        """Whether the model is one of the bundled world."""
        return self.choice.loading.model in BUNDLED

    @property
    def title(self) -> str:
        """The model by its name and its family."""
        family = FAMILIES.get(self.editor.backbone.family)
        return f"{self.choice.loading.model} ({family.title if family else 'a family unknown'})"

    @property
    def words(self) -> Collection[str] | None:
        """The words that the model learned, if it says which."""
        return getattr(self.editor.backbone, "words", None)

    def seeded(self, seed: int) -> ModelChoice:
        """The model with another seed of random draws."""
        return replace(self.choice, seed=seed)

    def inversion(self, job: Job, progress: Progress) -> tuple[Inversion, bool]:
        """Invert a job's picture, or take the last inversion where it is the same; which it was.

        The lock must be held. An inversion serves the picture's next targets, and what it keeps
        spares them forwards.
        """
        key = (
            job.digests["image_sha256"],
            job.source,
            job.method.sharing_key,
            job.model.seed,
        )
        if self._latest is not None and self._latest[0] == key:
            return self._latest[1], False
        self._latest = None  # its memory goes before the next one's comes
        inversion = job.inversion(self.editor, progress)
        self._latest = key, inversion
        return inversion, True

    def forget(self) -> None:
        """Let the last inversion go, as after work that ended in the midst of it."""
        self._latest = None

    def unlike(self, picture: Image.Image) -> str:
        """Why a picture is unfit for the model, as far as that is seen at once; else empty."""
        if not self.bundled:
            return ""
        from counterflow.toybox import judge

        if judge.load().energy(picture) >= judge.KNOWN:
            return ""
        return (
            "This is no picture of the toybox's world, the only one that the bundled model knows: "
            "it will be mangled. Take an example, draw a scene, or open another model."
        )
