"""What `edit`, `invert` and `reconstruct` tell of their work."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from counterflow.cli import show

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from counterflow.edit.editor import Edit, Inversion


def inversion_figures(inversion: Inversion) -> dict[str, Any]:
    """What an inversion cost and how exact it is, as far as that is known."""
    return {
        "method": inversion.method.name,
        "steps": inversion.method.steps,
        "worked_size": list(inversion.size),
        "forwards": inversion.forwards,
        "seconds": inversion.seconds,
        "residual": inversion.residual,
        "latent_error": inversion.latent_error,
        "check_forwards": inversion.check_forwards,
        "mask_forwards": inversion.mask_forwards,
    }


@dataclass(frozen=True)
class Made:
    """An edit, and what is told of it."""

    edit: Edit
    path: Path
    trust: dict[str, Any]
    """What `counterflow.trust.expecting` says of it."""
    mask: np.ndarray | None = None
    """The mask that was found for it, as it was used."""


def edit_report(inversion: Inversion, made: list[Made], settings: dict[str, Any]) -> dict[str, Any]:
    """What `edit --json` prints."""
    targets = [
        {
            "target": each.edit.target,
            "image": str(each.path),
            "forwards": each.edit.forwards,
            "seconds": each.edit.seconds,
            "found": _share(each.edit.found),
            "cut": each.edit.cut,
            "unknown": list(each.edit.unknown),
            "trust": each.trust,
        }
        for each in made
    ]
    return {"inversion": inversion_figures(inversion), "edits": targets, "settings": settings}


def _share(found: Tensor | None) -> float | None:
    """The share of the cells inside a mask that a method found."""
    return None if found is None else float((found >= 0.5).float().mean())


def print_edits(inversion: Inversion, made: list[Made]) -> None:
    """A line for the inversion and one for each edit."""
    rows: list[list[Any]] = [["inversion", "", inversion.forwards, inversion.seconds]]
    for each in made:
        edit = each.edit
        rows.append([str(each.path), show.brief(edit.target), edit.forwards, edit.seconds])
    show.table(["picture", "target", "forwards", "seconds"], rows)


def print_size(inversion: Inversion) -> None:
    """A line on the working size, where it is smaller than the picture."""
    from counterflow.trust.report import enlarged

    if line := enlarged(inversion.picture.size, inversion.size):
        show.line(line)


def print_trust(made: list[Made]) -> None:
    """A line on the size, and one for each edit or, where they agree, for all."""
    lines = [(m.edit.target, m.trust["sentence"]) for m in made if m.trust["sentence"]]
    sizes = dict.fromkeys(each.trust["size"] for each in made if each.trust["size"])
    same = len({line for _, line in lines}) == 1
    shown = [lines[0][1]] if same else [f"{show.brief(to)}: {line}" for to, line in lines]
    for each in (*sizes, *shown):
        show.line(each)


def save_mask(paths: list[Path], n: int, mask: np.ndarray | None) -> None:
    """Write the mask of target `n` to its file, if there is one: white inside, black outside."""
    if paths and mask is not None:
        from counterflow.edit.pictures import alpha
        from counterflow.images import save_png

        save_png(alpha(mask), paths[n])


def draw_grid(path: Path, inversion: Inversion, made: list[Made]) -> None:
    """Source, edits, and the masks that were found, side by side."""
    from PIL import Image

    from counterflow.edit.pictures import alpha
    from counterflow.images import save_png
    from counterflow.sheet import Cell, sheet

    cells = [Cell(inversion.picture, inversion.prompt)]
    for each in made:
        if each.mask is not None:
            dimmed = Image.blend(inversion.picture, Image.new("RGB", inversion.picture.size), 0.7)
            shown = Image.composite(inversion.picture, dimmed, alpha(each.mask))
            cells.append(Cell(shown, "", title="mask"))
        cells.append(Cell(each.edit.image, each.edit.target, each.edit.changed))
    save_png(sheet(cells, columns=min(len(cells), 4)), path)
