"""Loads models of transformers from this machine: safetensors only, never a download."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from counterflow.errors import ModelError


def local_folder(where: str | Path, otherwise: str) -> Path:
    """The folder `where`, or the folder of the repository `where` in the hub's local cache.

    Only the disk is read. Raises ModelError with the message `otherwise` if there is none.
    """
    from huggingface_hub import try_to_load_from_cache

    if Path(where).is_dir():
        return Path(where)
    with refusing(otherwise):
        config = try_to_load_from_cache(str(where), "config.json")
    if not isinstance(config, str):
        raise ModelError(otherwise)
    return Path(config).parent


def local_model(kind: Any, folder: Path, otherwise: str, **options: Any) -> Any:
    """Load a model from a folder, in single precision.

    Raises ModelError with the message `otherwise` if it, or some of its weights, are absent.
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
    """Turn any exception of a loader into a ModelError with the message `otherwise`."""
    try:
        yield
    except Exception as error:
        raise ModelError(otherwise) from error
