"""Opens a pipeline: its own weights, others in place of them or added, on the device it runs on."""

from __future__ import annotations

import importlib
import logging
import os
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from counterflow.backbones import quantised
from counterflow.backbones.base import Backbone
from counterflow.backbones.encoders import Freed, check_untouched
from counterflow.backbones.families import UNUSED
from counterflow.backbones.hub import is_here
from counterflow.backbones.identity import identify
from counterflow.backbones.loading import IMPORTED, Loading, choice
from counterflow.backbones.memory import place
from counterflow.backbones.registry import adapter_of, known_words, local_folder, repository
from counterflow.errors import CounterflowError, InputError, ModelError


def load_backbone(model: Any = "toybox", *given: Any, **options: Any) -> Backbone:
    """Load a model and wrap it in its adapter.

    `model` is a name, with `given` and `options` as the further fields of `Loading`; a `Loading`;
    or a pipeline in memory, which is taken as it is, without options. Only safetensors and GGUF are
    read and no remote code is run. Of a model that was made for few steps the backbone's
    `distilled` says what to know. Raises ModelError if the model cannot be opened, does not fit or
    cannot be compiled here, and InputError for a wrong value.
    """
    how = choice(model, given, options)
    if how is None:
        return load_adapter(model, f"{type(model).__name__}@memory")
    how.check()
    return _opened(how)


def load_adapter(
    pipeline: Any, identity: str = "", words: Collection[str] | None = None
) -> Backbone:
    """The adapter over a loaded pipeline; ModelError if its class has none.

    `identity` is for records, `words` are those that the model learned, where that is known.
    """
    module, _, name = adapter_of(type(pipeline).__name__).partition(":")
    adapter: Backbone = getattr(importlib.import_module(module), name)(pipeline, identity, words)
    return adapter


def _opened(how: Loading) -> Backbone:
    os.environ.setdefault("DIFFUSERS_DISABLE_REMOTE_CODE", "1")
    device = pick_device(how.device)
    kind = how.dtype or ("float32" if device.partition(":")[0] == "cpu" else "bfloat16")
    dtype = getattr(torch, kind)
    folder, identity = local_folder(how.model), identify(how)
    with _quiet(), refusing(how.model):
        if folder is not None:
            where: str = str(folder)
            options: dict[str, Any] = {"local_files_only": True}
        else:
            where, _ = repository(how.model)
            revision = identity.rpartition("@")[2].partition("+")[0]
            options = {"revision": revision, "local_files_only": is_here(where, revision)}
        pipeline = _pipeline(where, how, device, dtype, options)
        for n, (path, weight) in enumerate(how.loras()):
            _add_lora(pipeline, path, weight, f"lora{n}", how.free_text)
        if how.quantize and (how.lora or how.weights):
            quantised.quantise(pipeline.transformer, how.quantize)
        pipeline.set_progress_bar_config(disable=True)
        pipeline = place(pipeline, how, torch.device(device), dtype)
    adapter = load_adapter(pipeline, identity, None if folder is None else known_words(folder))
    if how.free_text:
        Freed(adapter, lambda names: _read_again(where, pipeline, names, dtype, options))
    if how.compile:
        from counterflow.backbones.hooks import compile_blocks

        compile_blocks(adapter)
    return adapter


def _pipeline(
    where: str, how: Loading, device: str, dtype: torch.dtype, options: dict[str, Any]
) -> Any:
    """The pipeline; its transformer's weights are those of a file if one is given.

    They are quantised as they are read, but not where others come first: those of a file or a LoRA.
    """
    import diffusers

    config = diffusers.DiffusionPipeline.load_config(where, **options)
    name = str(config.get("_class_name"))
    adapter_of(name)
    parts: dict[str, Any] = dict.fromkeys(UNUSED.get(name, ()))
    own = how.weights_file()
    read = {part: place for part, place in config.items() if part not in parts}
    if own is not None:
        del read["transformer"]
    quantised.check(how, quantised.saved_by(where, read, options), device)
    if own is not None:
        kind = getattr(diffusers, config["transformer"][1])
        parts["transformer"] = _transformer(kind, own, where, dtype, options)
    elif how.quantize and not how.lora:
        parts["quantization_config"] = quantised.configuration(how.quantize, dtype)
    return diffusers.DiffusionPipeline.from_pretrained(
        where, dtype=dtype, use_safetensors=True, **options, **parts
    )


def _read_again(
    where: str, pipeline: Any, names: Sequence[str], dtype: torch.dtype, options: dict[str, Any]
) -> dict[str, torch.nn.Module]:
    """Parts of a pipeline as they were opened with it; its other parts are those that it has."""
    parts = {name: part for name, part in pipeline.components.items() if name not in names}
    here = options | {"local_files_only": True}
    with _quiet(), refusing(where):
        again = type(pipeline).from_pretrained(
            where, dtype=dtype, use_safetensors=True, **here, **parts
        )
        again.to(pipeline.device)
    return {name: getattr(again, name) for name in names}


def _transformer(
    kind: Any, path: Path, where: str, dtype: torch.dtype, options: dict[str, Any]
) -> Any:
    """A transformer from one file, by the pipeline's own configuration of it."""
    from diffusers.loaders.single_file_model import SINGLE_FILE_LOADABLE_CLASSES

    if not any(each.__name__ in SINGLE_FILE_LOADABLE_CLASSES for each in kind.__mro__):
        raise InputError(f"diffusers reads no single file of a {kind.__name__}")
    more = dict(options)
    if path.suffix.lower() == ".gguf":
        quantised.need("gguf", "a .gguf file")
        from diffusers import GGUFQuantizationConfig

        more["quantization_config"] = GGUFQuantizationConfig(compute_dtype=dtype)
    return kind.from_single_file(
        str(path), config=where, subfolder="transformer", dtype=dtype, **more
    )


def _add_lora(pipeline: Any, path: Path, weight: float, name: str, alone: bool) -> None:
    """Add a LoRA's matrices to the weights, so that hooks see plain modules; if `alone`, it may
    change the transformer alone.
    """
    if not hasattr(pipeline, "load_lora_weights"):
        raise InputError(f"diffusers adds no LoRA to a {type(pipeline).__name__}")
    quantised.need("peft", "--lora")
    pipeline.load_lora_weights(str(path.parent), weight_name=path.name, adapter_name=name)
    if alone:
        check_untouched(pipeline, path)
    pipeline.fuse_lora(lora_scale=weight, adapter_names=[name])
    pipeline.unload_lora_weights()


def pick_device(device: str | None) -> str:
    """The given device, or else a GPU if there is one. Raises InputError if it cannot be used."""
    device = device or _default_device()
    _check_device(device)
    return device


def _default_device() -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _check_device(device: str) -> None:
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"device {device} cannot be used here: {reason}") from None


@contextmanager
def refusing(where: str) -> Iterator[None]:
    """Turn any exception of a loader into a ModelError of one line."""
    try:
        yield
    except CounterflowError:
        raise
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
    others = [logging.getLogger(name) for name in IMPORTED]
    levels = [each.level for each in others]
    for each in others:
        each.setLevel(logging.ERROR)
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
        for each, level in zip(others, levels, strict=True):
            each.setLevel(level)
