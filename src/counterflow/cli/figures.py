"""What `edit`, `invert` and `reconstruct` tell of their work."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from counterflow.cli import show

if TYPE_CHECKING:
    import numpy as np

    from counterflow.edit.editor import Edit, Inversion


def inversion_figures(inversion: Inversion) -> dict[str, Any]:
    """What an inversion cost and how exact it is, as far as that is known."""
    return {
        "method": inversion.method.name,
        "steps": inversion.method.steps,
        "forwards": inversion.forwards,
        "seconds": inversion.seconds,
        "residual": inversion.residual,
        "latent_error": inversion.latent_error,
        "check_forwards": inversion.check_forwards,
        "mask_forwards": inversion.mask_forwards,
    }


Trust = dict[str, Any]
"""What `counterflow.trust.expecting` says of an edit."""


def edit_report(
    inversion: Inversion,
    edits: list[Edit],
    outputs: list[Path],
    trust: list[Trust],
    settings: dict[str, Any],
) -> dict[str, Any]:
    """What `edit --json` prints."""
    targets = [
        {
            "target": e.target,
            "image": str(path),
            "forwards": e.forwards,
            "seconds": e.seconds,
            "found": None if e.found is None else float((e.found >= 0.5).float().mean()),
            "cut": e.cut,
            "unknown": list(e.unknown),
            "trust": each,
        }
        for e, path, each in zip(edits, outputs, trust, strict=True)
    ]
    return {"inversion": inversion_figures(inversion), "edits": targets, "settings": settings}


def print_edits(inversion: Inversion, edits: list[Edit], outputs: list[Path]) -> None:
    """A line for the inversion and one for each edit."""
    rows: list[list[Any]] = [["inversion", "", inversion.forwards, inversion.seconds]]
    rows += [
        [str(path), e.target, e.forwards, e.seconds] for e, path in zip(edits, outputs, strict=True)
    ]
    show.table(["picture", "target", "forwards", "seconds"], rows)


def print_trust(edits: list[Edit], trust: list[Trust]) -> None:
    """A line on the size, and one for each edit or, where they agree, for all."""
    told = [(e.target, each) for e, each in zip(edits, trust, strict=True)]
    lines = [(target, each["sentence"]) for target, each in told if each["sentence"]]
    sizes = dict.fromkeys(each["size"] for _, each in told if each["size"])
    same = len({line for _, line in lines}) == 1
    shown = [lines[0][1]] if same else [f"{target}: {line}" for target, line in lines]
    print(*sizes, *shown, sep="\n", end="\n" if sizes or shown else "")


def draw_grid(
    path: Path, inversion: Inversion, edits: list[Edit], masks: list[np.ndarray | None]
) -> None:
    """Source, edits, and the masks that were found, side by side."""
    from PIL import Image

    from counterflow.images import save_png
    from counterflow.sheet import Cell, sheet

    cells = [Cell(inversion.picture, inversion.prompt)]
    for edit, mask in zip(edits, masks, strict=True):
        if mask is not None:
            dimmed = Image.blend(inversion.picture, Image.new("RGB", inversion.picture.size), 0.7)
            shown = Image.composite(inversion.picture, dimmed, Image.fromarray(mask))
            cells.append(Cell(shown, "", title="mask"))
        cells.append(Cell(edit.image, edit.target, edit.changed))
    save_png(sheet(cells, columns=min(len(cells), 4)), path, None)
