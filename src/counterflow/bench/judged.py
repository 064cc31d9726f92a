"""What the judge says of pictures that a model made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image

from counterflow.backbones.base import field_of, stacked
from counterflow.edit.editor import Editor
from counterflow.edit.run import Progress
from counterflow.flow import Field, Grid, Latent, Step, guided
from counterflow.images import from_array
from counterflow.inversion.solvers import Euler
from counterflow.sheet import Cell, sheet
from counterflow.toybox.captions import caption
from counterflow.toybox.edits import SceneEdit
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
    backbone = editor.backbone
    size = editor.square
    grid = backbone.grid(steps, size)
    scenes = [sample(seed + i) for i in range(count)]
    pictures: list[Image.Image] = []
    for start in range(0, count, batch):
        part = scenes[start : start + batch]
        noise = torch.cat([editor.noise(scene.seed, size) for scene in part])
        words = stacked([backbone.embed(caption(scene)) for scene in part])
        velocity = guided(field_of(backbone, words), field_of(backbone, editor.negative), guidance)
        x = generate_batch(velocity, noise, grid)
        pictures += [from_array(pixels.cpu().numpy()) for pixels in backbone.decode(x)]
        if progress is not None:
            progress("generating", len(pictures), count)
    readings = judge.read(pictures)
    return [Obeyed(*one) for one in zip(scenes, pictures, readings, strict=True)]


def generate_batch(velocity: Field, noise: Latent, grid: Grid) -> Latent:
    """From noise to images by Euler steps, several at once; only the last latents are kept."""
    x, solver = noise, Euler()
    for k in grid.toward_image():
        where = Step(k, grid.steps, grid[k], "target", "generate")
        x, _ = solver.step(velocity, x, None, where, grid[k], grid[k + 1])
    return x


def summarise_obeyed(obeyed: Sequence[Obeyed]) -> dict[str, Any]:
    """Accuracy by field with its number of pictures, their mean, and the share all right."""
    fields = {}
    for name in VALUES:
        found = [o.right[name] for o in obeyed if name in o.right]
        fields[name] = {
            "accuracy": sum(found) / len(found) if found else None,
            "pictures": len(found),
        }
    known = [row["accuracy"] for row in fields.values() if row["accuracy"] is not None]
    return {
        "fields": fields,
        "mean": sum(known) / len(known),
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


def judge_edit(edit: SceneEdit, reading: Reading) -> tuple[bool, float]:
    """Edit success and `kept` of an edited picture.

    Success: every field that the edit decides and the target has is read as its target value.
    `kept`: the share of the other fields that are read as they are.
    """
    fields = right(edit.target, reading)
    changed = [ok for name, ok in fields.items() if name in edit.decided]
    kept = [ok for name, ok in fields.items() if name not in edit.decided]
    return all(changed), sum(kept) / len(kept)
