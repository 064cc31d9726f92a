"""All that determines a generated picture: checked before a model loads, stored in its file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from counterflow import __version__
from counterflow.edit.checks import check_generate
from counterflow.edit.job import ModelChoice
from counterflow.progress import Progress
from counterflow.prompts import check_prompt

if TYPE_CHECKING:
    from PIL import Image

    from counterflow.edit.editor import Editor, Inversion


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
        check_prompt("the prompt", self.prompt)
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
        """The settings for the picture's file."""
        names = ("prompt", "steps", "guidance", "width", "height", "solver")
        settings = {name: getattr(self, name) for name in names}
        version = {"command": "generate", "counterflow": __version__}
        return version | settings | self.model.record()

    @classmethod
    def from_record(cls, data: Mapping[str, Any], model: ModelChoice) -> Generation:
        """The generation that `record` wrote, checked."""
        names = ("prompt", "steps", "guidance", "width", "height", "solver")
        return cls(**{name: data[name] for name in names}, model=model)
