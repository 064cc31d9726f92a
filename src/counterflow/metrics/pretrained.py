"""Models of transformers that lie on this machine: safetensors only, never a download."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from counterflow.errors import ModelError


def local_folder(where: str | Path, otherwise: str) -> Path:
    """A folder, or that of a repository in the hub's local cache.

    Raises ModelError, which says `otherwise`, if there is none. Only the disk is looked at.
    """
    from huggingface_hub import try_to_load_from_cache

    if Path(where).is_dir():
        return Path(where)
    with refusing(otherwise):
        found = try_to_load_from_cache(str(where), "config.json")
    if not isinstance(found, str):
        raise ModelError(otherwise)
    return Path(found).parent


def local_model(kind: Any, folder: Path, otherwise: str, **options: Any) -> Any:
    """A model in single precision from a folder.

    Raises ModelError, which says `otherwise`, if it is not there or some of its weights are not.
    """
    with refusing(otherwise):
        model, info = kind.from_pretrained(
            folder,
            dtype=torch.float32,
            local_files_only=True,
            use_safetensors=True,
            output_loading_info=True,
            **options,
        )
    if info["missing_keys"]:  # they would have random values
        raise ModelError(otherwise)
    return model


@contextmanager
def refusing(otherwise: str) -> Iterator[None]:
    """Turn whatever the loaders raise, which is dozens of kinds, into a ModelError."""
    try:
        yield
    except Exception as error:
        raise ModelError(otherwise) from error
