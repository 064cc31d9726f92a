"""Does a model draw what captions say? The judge reads its pictures, field by field."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image

from counterflow.backbones.base import Conditioning
from counterflow.edit.editor import Editor
from counterflow.flow import Latent
from counterflow.images import from_array
from counterflow.methods.run import Run
from counterflow.progress import Progress
from counterflow.sheet import Cell, sheet
from counterflow.solvers import trajectory
from counterflow.solvers.euler import Euler
from counterflow.toybox.captions import caption
from counterflow.toybox.judge import Judge, Reading, right
from counterflow.toybox.scene import VALUES, Scene, sample


@dataclass(frozen=True)
class Obeyed:
    """A caption, the picture made from it, and which fields of the scene it shows."""

    scene: Scene
    picture: Image.Image
    reading: Reading

    @property
    def right(self) -> dict[str, bool]:
        return right(self.scene, self.reading)

    @property
    def wrong(self) -> dict[str, Any]:
        """The fields that are not as the caption says, with what the judge saw."""
        return {
            name: self.reading[name].value if name in self.reading else "none"
            for name, ok in self.right.items()
            if not ok
        }


def obey(
    editor: Editor,
    judge: Judge,
    count: int,
    seed: int,
    steps: int = 28,
    guidance: float = 3.0,
    batch: int = 8,
    progress: Progress | None = None,
) -> list[Obeyed]:
    """Generate from the captions of the scenes `seed`, `seed + 1`, … and judge the pictures.

    Picture i is what `Editor.generate` makes of its caption with seed `seed + i`, to rounding.
    """
    backbone, size = editor.backbone, editor.square
    scenes = [sample(seed + i) for i in range(count)]
    pictures: list[Image.Image] = []
    for start in range(0, count, batch):
        part = scenes[start : start + batch]
        noise = torch.cat([editor.noise(scene.seed, size) for scene in part])
        prompts = [backbone.embed(caption(scene)) for scene in part]
        latents = generate_batch(editor, prompts, noise, steps, guidance)
        pictures += [from_array(pixels.cpu().numpy()) for pixels in backbone.decode(latents)]
        if progress is not None:
            progress("generating", len(pictures), count)
    readings = judge.read(pictures)
    return [Obeyed(*one) for one in zip(scenes, pictures, readings, strict=True)]


def generate_batch(
    editor: Editor, prompts: Sequence[Conditioning], noise: Latent, steps: int, guidance: float
) -> Latent:
    """Latents of pictures of the editor's own size, one for each prompt and row of noise."""
    backbone = editor.backbone
    grid = backbone.grid(steps, editor.square)
    run = Run(backbone, noise[:1], grid, prompts[0], editor.negative, prompts, rows=editor.rows)
    velocity = run.velocity("target", guidance)
    return trajectory.generate(Euler(), velocity, noise, grid)[-1]


def accuracy(obeyed: Sequence[Obeyed]) -> dict[str, Any]:
    """Accuracy by field with its number of pictures, their mean, and the share all right."""
    fields = {}
    for name in VALUES:
        right_ones = [o.right[name] for o in obeyed if name in o.right]
        fields[name] = {
            "accuracy": sum(right_ones) / len(right_ones) if right_ones else None,
            "pictures": len(right_ones),
        }
    accuracies = [row["accuracy"] for row in fields.values() if row["accuracy"] is not None]
    return {
        "fields": fields,
        "mean": sum(accuracies) / len(accuracies),
        "all right": sum(not o.wrong for o in obeyed) / len(obeyed),
        "wrong": [
            {"seed": o.scene.seed, "caption": caption(o.scene), "seen": o.wrong}
            for o in obeyed
            if o.wrong
        ],
    }


def draw_obeyed(obeyed: Sequence[Obeyed], columns: int = 8, width: int = 160) -> Image.Image:
    """Every picture over its caption, those with most fields wrong first."""
    cells = [
        Cell(
            o.picture,
            caption(o.scene),
            title=", ".join(f"{k} {v}" for k, v in o.wrong.items()) or "all right",
        )
        for o in sorted(obeyed, key=lambda o: -len(o.wrong))
    ]
    return sheet(cells, columns, width)
