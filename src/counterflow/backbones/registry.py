"""Opens a model by name, folder or repository, and picks its adapter by pipeline class."""

from __future__ import annotations

import importlib
import json
import os
from importlib.resources import files
from pathlib import Path
from typing import Any

from counterflow.backbones.base import Backbone
from counterflow.errors import InputError, ModelError

ADAPTERS = {"StableDiffusion3Pipeline": "counterflow.backbones.sd3:SD3"}
"""Pipeline class to adapter, as `module:class`."""

DTYPES = ("float32", "bfloat16", "float16")


def toybox_folder() -> Path:
    """The bundled model, a `StableDiffusion3Pipeline` folder."""
    return Path(str(files("counterflow.toybox") / "weights" / "pipeline"))


def check_options(model: str, device: str | None, dtype: str | None) -> None:
    """Refuse what can be refused without loading anything (imports no torch).

    Raises InputError for an unknown dtype or device name, ModelError for a folder that is no
    pipeline or whose pipeline class has no adapter.
    """
    if dtype is not None and dtype not in DTYPES:
        raise InputError(f"dtype is one of {', '.join(DTYPES)}, not {dtype!r}")
    if device is not None and device.partition(":")[0] not in ("cpu", "cuda", "mps", "xpu"):
        raise InputError(f"device is cpu, cuda, cuda:N, mps or xpu, not {device!r}")
    folder = local_folder(model)
    if folder is not None:
        adapter_of(pipeline_class(folder))


def local_folder(model: str) -> Path | None:
    """The folder that a model name means, or None for a hub repository `owner/name`."""
    if model == "toybox":
        return toybox_folder()
    path = Path(model).expanduser()
    if path.exists():
        return path
    if model.count("/") == 1 and not model.startswith((".", "/", "~")):
        return None
    raise ModelError(
        f"no model at {model}: give 'toybox', a pipeline folder or a repository owner/name"
    )


def pipeline_class(folder: Path) -> str:
    """The pipeline class that a folder's `model_index.json` names."""
    index = folder / "model_index.json"
    if not index.is_file():
        raise ModelError(f"{folder} is no diffusers pipeline: it has no model_index.json")
    try:
        return str(json.loads(index.read_text())["_class_name"])
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise ModelError(f"{index} cannot be read as a pipeline's index: {error}") from None


def adapter_of(name: str) -> str:
    """The adapter of a pipeline class; ModelError, naming what there is, when there is none."""
    if name not in ADAPTERS:
        raise ModelError(f"no adapter for {name}; supported: {', '.join(ADAPTERS)}")
    return ADAPTERS[name]


def load_backbone(
    model: str = "toybox", device: str | None = None, dtype: str | None = None
) -> Backbone:
    """Load a model and wrap it in its adapter.

    `model` is `"toybox"`, a pipeline folder or a hub repository; `device` defaults to a GPU
    if there is one; `dtype` to float32 on a CPU and bfloat16 elsewhere. Only safetensors are
    read and no remote code is run. Raises ModelError when the model cannot be had.
    """
    os.environ.setdefault("DIFFUSERS_DISABLE_REMOTE_CODE", "1")
    check_options(model, device, dtype)
    import torch

    device = device or _default_device()
    _check_device(device)
    kind = getattr(torch, dtype or ("float32" if device == "cpu" else "bfloat16"))
    folder = local_folder(model)
    pipeline = _open(str(folder or model), kind, local=folder is not None)
    module, _, name = adapter_of(type(pipeline).__name__).partition(":")
    pipeline.set_progress_bar_config(disable=True)
    adapter: Backbone = getattr(importlib.import_module(module), name)(pipeline.to(device), model)
    return adapter


def _default_device() -> str:
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _check_device(device: str) -> None:
    import torch

    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"device {device} cannot be used here: {reason}") from None


def _open(where: str, dtype: Any, local: bool) -> Any:
    from diffusers import DiffusionPipeline
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    diffusers_logging.disable_progress_bar()
    diffusers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    try:
        return DiffusionPipeline.from_pretrained(
            where, dtype=dtype, use_safetensors=True, local_files_only=local
        )
    except Exception as error:  # the loaders raise dozens of kinds
        reason = next((line for line in str(error).splitlines() if line.strip()), repr(error))
        raise ModelError(f"{where} cannot be opened: {reason}") from error
