"""Opens a model by name, folder or repository, and chooses its adapter by pipeline class."""

from __future__ import annotations

import importlib
import json
import os
import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

from counterflow.backbones.base import Backbone
from counterflow.backbones.families import ADAPTERS, UNUSED
from counterflow.backbones.identity import fingerprint
from counterflow.errors import InputError, ModelError

DTYPES = ("float32", "bfloat16", "float16")


BUNDLED = {"toybox": "weights", "toybox-flux": "weights_flux"}
"""The bundled models: in which folder of `counterflow.toybox` each is, with its recipe and log."""


def bundled_folder(name: str) -> Path:
    """The pipeline folder of a bundled model."""
    return Path(str(files("counterflow.toybox") / BUNDLED[name] / "pipeline"))


def toybox_folder() -> Path:
    """The first bundled model, a `StableDiffusion3Pipeline` folder."""
    return bundled_folder("toybox")


def check_options(model: str, device: str | None, dtype: str | None) -> None:
    """Check a model's name and options without loading anything (imports no torch).

    Raises InputError for an unknown dtype or device name, and ModelError for a folder that is no
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
    """The folder of a model name, or None for a hub repository `owner/name`.

    Raises ModelError for a name that is neither, and for a bundled model that is not there.
    """
    if model in BUNDLED:
        folder = bundled_folder(model)
        if not folder.is_dir():
            raise ModelError(f"{model} is not in this installation: there is no {folder}")
        return folder
    path = Path(model).expanduser()
    if path.exists():
        return path
    if model.count("/") == 1 and not model.startswith((".", "/", "~")):
        return None
    bundled = ", ".join(BUNDLED)
    raise ModelError(
        f"no model at {model}: give {bundled}, a pipeline folder or a repository owner/name"
    )


def pipeline_class(folder: Path) -> str:
    """The pipeline class in a folder's `model_index.json`; ModelError if it cannot be read."""
    index = folder / "model_index.json"
    if not index.is_file():
        raise ModelError(f"{folder} is no diffusers pipeline: it has no model_index.json")
    try:
        return str(json.loads(index.read_text())["_class_name"])
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise ModelError(f"{index} cannot be read as a pipeline's index: {error}") from None


def adapter_of(name: str) -> str:
    """The adapter of a pipeline class; ModelError, with the supported ones, if there is none."""
    if name not in ADAPTERS:
        raise ModelError(f"no adapter for {name}; supported: {', '.join(ADAPTERS)}")
    return ADAPTERS[name]


def load_backbone(
    model: str = "toybox",
    device: str | None = None,
    dtype: str | None = None,
    compile: bool = False,
) -> Backbone:
    """Load a model and wrap it in its adapter.

    `model` is a name of `BUNDLED`, a pipeline folder or a hub repository. `device` is by default
    a GPU if there is one, `dtype` float32 on a CPU and bfloat16 elsewhere. Only safetensors are
    read and no remote code is run. With `compile` its blocks are compiled, as they are first used.
    Warns (UserWarning) of a model that was distilled for few steps. Raises ModelError if the model
    cannot be opened, does not fit or cannot be compiled here, and InputError for a wrong device or
    dtype.
    """
    os.environ.setdefault("DIFFUSERS_DISABLE_REMOTE_CODE", "1")
    check_options(model, device, dtype)
    import torch

    device = pick_device(device)
    on_cpu = device.partition(":")[0] == "cpu"
    kind = getattr(torch, dtype or ("float32" if on_cpu else "bfloat16"))
    folder, identity = local_folder(model), identify(model)
    with _quiet():
        revision = None if folder else identity.rpartition("@")[2]
        pipeline = _open(str(folder or model), kind, revision, local=folder is not None)
    pipeline.set_progress_bar_config(disable=True)
    try:
        pipeline = pipeline.to(device)
    except torch.OutOfMemoryError:
        raise ModelError(f"{model} does not fit the memory of {device} as {kind}") from None
    words = None if folder is None else known_words(folder)
    adapter = load_adapter(pipeline, identity, words)
    if compile:
        from counterflow.backbones.hooks import compile_blocks

        compile_blocks(adapter)
    if adapter.distilled:
        warnings.warn(adapter.distilled, stacklevel=2)
    return adapter


def load_adapter(
    pipeline: Any, identity: str = "", words: Collection[str] | None = None
) -> Backbone:
    """The adapter over a loaded pipeline; ModelError if its class has none.

    `identity` is for records, `words` are those that the model learned, where that is known.
    """
    module, _, name = adapter_of(type(pipeline).__name__).partition(":")
    adapter: Backbone = getattr(importlib.import_module(module), name)(pipeline, identity, words)
    return adapter


def identify(model: str) -> str:
    """A model's `identity`: `name@digest` of a folder or `name@commit` of a repository."""
    folder = local_folder(model)
    if folder is not None:
        return f"{model}@{fingerprint(folder)}"
    with _quiet():
        return f"{model}@{_check_repository(model)}"


def known_words(folder: Path) -> frozenset[str] | None:
    """The words that a model learned, from its folder's `words.json`; None without that file."""
    path = folder / "words.json"
    try:
        return frozenset(json.loads(path.read_text())) if path.is_file() else None
    except (ValueError, TypeError, OSError) as error:
        raise ModelError(f"{path} is no list of words: {error}") from None


def pick_device(device: str | None) -> str:
    """The given device, or else a GPU if there is one. Raises InputError if it cannot be used."""
    device = device or _default_device()
    _check_device(device)
    return device


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


def _check_repository(model: str) -> str:
    """The commit of a hub repository; checks its pipeline class before the weights are fetched."""
    from diffusers import DiffusionPipeline

    with _refusing(model):
        config, commit = DiffusionPipeline.load_config(model, return_commit_hash=True)
    adapter_of(str(config.get("_class_name")))
    return str(commit)


def _open(where: str, dtype: Any, revision: str | None, local: bool) -> Any:
    from diffusers import DiffusionPipeline

    with _refusing(where):
        config = DiffusionPipeline.load_config(where, revision=revision, local_files_only=local)
        unused = dict.fromkeys(UNUSED.get(str(config.get("_class_name")), ()))
        return DiffusionPipeline.from_pretrained(
            where,
            dtype=dtype,
            revision=revision,
            use_safetensors=True,
            local_files_only=local,
            **unused,
        )


@contextmanager
def _refusing(where: str) -> Iterator[None]:
    """Turn any exception of a loader into a ModelError of one line."""
    try:
        yield
    except Exception as error:
        reason = next((line for line in str(error).splitlines() if line.strip()), repr(error))
        raise ModelError(f"{where} cannot be opened: {reason}") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the loaders' progress bars and messages inside; restore both afterwards."""
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    loggers = (diffusers_logging, transformers_logging)
    before = [(log.get_verbosity(), log.is_progress_bar_enabled()) for log in loggers]
    for log in loggers:
        log.set_verbosity_error()
        log.disable_progress_bar()
    try:
        yield
    finally:
        for log, (level, bars) in zip(loggers, before, strict=True):
            log.set_verbosity(level)
            if bars:
                log.enable_progress_bar()
