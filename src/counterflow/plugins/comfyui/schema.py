"""ComfyUI's schema (V3): what goes along the wires, and the inputs that several nodes have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from counterflow.edit.checks import SEED
from counterflow.errors import InputError

try:
    from comfy_api.latest import ComfyExtension, io, ui
except ImportError as error:
    raise InputError(
        "Counterflow's nodes run inside ComfyUI, and its comfy_api is not here: put the folder "
        f"plugins/comfyui into ComfyUI's custom_nodes ({error})"
    ) from error

if not hasattr(io, "DynamicCombo"):
    raise InputError("Counterflow's nodes need ComfyUI 0.7 or newer: update ComfyUI")

__all__ = ["ComfyExtension", "io", "ui"]

MODEL = io.Custom("COUNTERFLOW_MODEL")
"""A `counterflow.Editor`."""
INVERSION = io.Custom("COUNTERFLOW_INVERSION")
"""`report.Inverted`."""
EDITS = io.Custom("COUNTERFLOW_EDITS")
"""A list of `report.Edited`."""
CATEGORY = "image/Counterflow"


def combo_input(name: str, first: str, options: Sequence[str], help: str) -> Any:
    """One of some words, `first` by default."""
    return io.Combo.Input(name, options=[first, *options], default=first, tooltip=help)


def sentence_input(name: str, help: str) -> Any:
    """A text of one or more lines."""
    return io.String.Input(name, multiline=True, default="", tooltip=help)


def seed_input() -> Any:
    """The seed of all noise. It stays from run to run, for most methods draw none."""
    return io.Int.Input(
        "seed",
        default=0,
        min=SEED.low,
        max=SEED.high,
        control_after_generate=False,
        tooltip="Seed of the noise of methods that draw any.",
    )


def mask_inputs() -> list[Any]:
    """The mask, and what stands outside it."""
    return [
        io.Mask.Input(
            "mask",
            optional=True,
            tooltip="White where the edit may change the picture, grey where both are mixed.",
        ),
        io.Boolean.Input(
            "exact_background",
            default=False,
            optional=True,
            tooltip="Outside the mask the picture's own pixels, not those of the autoencoder.",
        ),
    ]


def edit_outputs() -> list[Any]:
    """The edited pictures, and what is known of them."""
    images = io.Image.Output("images", display_name="images")
    return [images, EDITS.Output("edits", display_name="edits")]


def lines(text: str) -> list[str]:
    """The lines of a text that say something."""
    return [line.strip() for line in text.splitlines() if line.strip()]


def check_sentences(**sentences: str) -> None:
    """Raise InputError for an empty one."""
    for name, text in sentences.items():
        if not text.strip():
            raise InputError(f"{name} is empty: say in a sentence what the picture shows")
