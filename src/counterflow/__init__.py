"""Counterflow edits real pictures with rectified-flow models.

The public names are found on first use, so that `import counterflow` stays light: it loads
neither torch nor diffusers.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from counterflow.backbones.opening import load_backbone
    from counterflow.edit.editor import Edit, Editor, Inversion
    from counterflow.toybox.scene import Scene

__all__ = ["Edit", "Editor", "Inversion", "Scene", "__version__", "load_backbone"]

try:
    __version__ = version("counterflow")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0+unknown"

_HOMES = {
    "Edit": "counterflow.edit.editor",
    "Editor": "counterflow.edit.editor",
    "Inversion": "counterflow.edit.editor",
    "Scene": "counterflow.toybox.scene",
    "load_backbone": "counterflow.backbones.opening",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
