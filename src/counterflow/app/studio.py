"""The model behind the page, for one piece of work at a time, and the tabs that are open."""

from __future__ import annotations

import threading
from collections.abc import Collection, Hashable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from counterflow import images
from counterflow.app import sources
from counterflow.app.session import Session, Sessions
from counterflow.backbones.families import FAMILIES
from counterflow.backbones.registry import BUNDLED
from counterflow.edit.editor import Editor
from counterflow.edit.inversion import Inversion
from counterflow.edit.job import Job, ModelChoice
from counterflow.progress import Progress
from counterflow.trust.report import enlarged

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

SHOWN = (
    "stabilityai/stable-diffusion-3.5-medium",
    "black-forest-labs/FLUX.1-dev",
    "Tongyi-MAI/Z-Image",
)
"""Models that the first view names."""


class Studio:
    """An open model; `lock` is held by whoever works with it.

    `folder` is Gradio's: what lies in it is served, and what is uploaded comes to lie there.
    """

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

    def received(self, session: Session, given: str | None) -> sources.Source:
        """A picture from a tab, read by `sources.read`; Gradio's copy of it goes with the tab."""
        self._note(session, given)
        return sources.read(given)

    def mask(self, session: Session, given: str | None, size: tuple[int, int]) -> np.ndarray:
        """The same for a mask of a picture of a size, (width, height): bool `[height, width]`."""
        self._note(session, given)
        return sources.read_mask(given, size)

    def _note(self, session: Session, given: str | None) -> None:
        if given and Path(given).parent.parent == self.folder:
            session.uploads.add(Path(given))

    def unfit(self, picture: Image.Image) -> str:
        """What is to be feared of a picture, as far as that is seen at once; else empty."""
        backbone = self.editor.backbone
        worked = images.fit(picture.size, backbone.area, backbone.multiple)
        if max(worked) > backbone.longest:
            long = (
                f"This model takes at most {backbone.longest} pixels a side, and this shape needs "
                f"{max(worked)}: crop the picture."
            )
            return " ".join(filter(None, [self._unlike(picture), long]))
        return " ".join(filter(None, [self._unlike(picture), enlarged(picture.size, worked)]))

    def _unlike(self, picture: Image.Image) -> str:
        if not self.bundled:
            return ""
        from counterflow.toybox import judge

        if judge.load().energy(picture) >= judge.KNOWN:
            return ""
        return (
            "This is no picture of the toybox's world, the only one that the bundled model knows: "
            "it will be mangled. Take an example, draw a scene, or open another model."
        )
