"""Which model a name means, a folder or a repository, and which adapter its pipeline class has."""

from __future__ import annotations

import os
from importlib.resources import files
from pathlib import Path
from typing import Any

from counterflow.backbones.families import ADAPTERS
from counterflow.backbones.unsupported import why_not
from counterflow.errors import InputError, ModelError

BUNDLED = {"toybox": "weights", "toybox-flux": "weights_flux"}
"""The bundled models: in which folder of `counterflow.toybox` each is, with its recipe and log."""


def bundled_folder(name: str) -> Path:
    """The pipeline folder of a bundled model."""
    return Path(str(files("counterflow.toybox") / BUNDLED[name] / "pipeline"))


def toybox_folder() -> Path:
    """The first bundled model, a `StableDiffusion3Pipeline` folder."""
    return bundled_folder("toybox")


def bundled() -> list[tuple[str, Path]]:
    """The bundled models, name and folder, of which toybox must be there."""
    folders = [(name, bundled_folder(name)) for name in BUNDLED]
    return [(name, path) for name, path in folders if name == "toybox" or path.is_dir()]


def cached() -> list[tuple[str, Path]]:
    """Pipelines in the hub's cache: name `owner/name`, with `@commit` if needed, and folder."""
    home = Path(os.environ.get("HF_HOME", "~/.cache/huggingface")).expanduser()
    cache = Path(os.environ.get("HF_HUB_CACHE", home / "hub"))
    folders = [i.parent for i in sorted(cache.glob("models--*/snapshots/*/model_index.json"))]
    names = [f.parents[1].name.removeprefix("models--").replace("--", "/") for f in folders]
    return [
        (name if names.count(name) == 1 else f"{name}@{folder.name[:7]}", folder)
        for name, folder in zip(names, folders, strict=True)
    ]


INDEX = "model_index.json"
"""What makes a folder a diffusers pipeline."""


def check_model(model: str) -> None:
    """Check a model's name without loading anything (imports no torch).

    Raises ModelError for a folder that is no pipeline, whose pipeline class has no adapter, that
    brings code of its own, or that lacks a part's weights.
    """
    folder = local_folder(model)
    if folder is not None:
        if folder.is_file():
            raise ModelError(
                f"{folder} is one file, not a pipeline's folder; {_as_weights(folder)}"
            )
        adapter_of(pipeline_class(folder))
        if coded := parts_with_code(folder):
            raise ModelError(
                f"{folder} brings code of its own ({', '.join(coded)}), which is never run; take a "
                "model that diffusers itself can open"
            )
        if missing := parts_without_weights(folder):
            raise ModelError(
                f"{folder} is incomplete: no .safetensors of {', '.join(missing)} (files of other "
                "forms can hold code and are not read)"
            )


def _as_weights(file: Path) -> str:
    """How a single file can be used."""
    if file.suffix.lower() not in (".safetensors", ".gguf"):
        return "of single files only .safetensors and .gguf are read, as --weights FILE"
    return (
        f"give --weights {file} --model FOLDER, with the folder or repository of the pipeline "
        "whose transformer it is: text encoders and configuration come from there"
    )


def parts_without_weights(folder: Path) -> list[str]:
    """The networks of a pipeline folder that have no weights in it that are read."""
    parts = _index(folder)
    networks = [
        part
        for part, where in parts.items()
        if part.startswith(("transformer", "vae", "text_encoder"))
        and isinstance(where, list)
        and all(isinstance(each, str) for each in where)
    ]
    return [part for part in networks if not list((folder / part).glob("*.safetensors"))]


def parts_with_code(folder: Path) -> list[str]:
    """The files of a pipeline folder that diffusers would take parts' classes from."""
    modules = [
        f"{part}/{where[0]}.py"
        for part, where in _index(folder).items()
        if isinstance(where, list) and where and isinstance(where[0], str)
    ]
    return [name for name in modules if (folder / name).is_file()]


def local_folder(model: str) -> Path | None:
    """The folder of a model name, or None for a hub repository `owner/name`.

    Raises ModelError for a name that is neither, and for a bundled model that is not there.
    """
    if model in BUNDLED:
        folder = bundled_folder(model)
        if not folder.is_dir():
            raise ModelError(f"{model} is not in this installation: there is no {folder}")
        return folder
    try:
        path = Path(model).expanduser()
        if path.exists():
            return path
    except (OSError, RuntimeError) as error:  # no leave to look there; no home of such a user
        raise ModelError(f"{model:.99} cannot be looked into ({error}); check the path") from None
    if repository(model)[0].count("/") == 1 and not model.startswith((".", "/", "~")):
        return None
    ours = ", ".join(BUNDLED)
    raise ModelError(
        f"no model at {model:.99}: give {ours}, a pipeline folder or a repository owner/name"
    )


def pipeline_class(folder: Path) -> str:
    """The pipeline class in a folder's `model_index.json`; ModelError if it cannot be read."""
    name = _index(folder).get("_class_name")
    if not isinstance(name, str):
        raise ModelError(f"{folder / INDEX} names no pipeline class, but {name!r:.60}")
    return name


def _index(folder: Path) -> dict[str, Any]:
    from counterflow.outside import read_dict

    index = folder / INDEX
    try:
        if not index.is_file():
            raise ModelError(f"{folder} is no diffusers pipeline: it has no {INDEX}")
        return read_dict(index, most=1 << 20)
    except (InputError, OSError) as error:
        raise ModelError(f"{folder} cannot be read as a pipeline: {error}") from None


def adapter_of(name: str) -> str:
    """The adapter of a pipeline class; ModelError, with what to take, if there is none."""
    if name not in ADAPTERS:
        said = why_not(name) or f"supported: {', '.join(ADAPTERS)}"
        raise ModelError(f"no adapter for {name}; {said}")
    return ADAPTERS[name]


def repository(model: str) -> tuple[str, str | None]:
    """A hub repository's name and the revision that is asked for: `owner/name@revision`."""
    name, _, revision = model.partition("@")
    return name, revision or None


def known_words(folder: Path) -> frozenset[str] | None:
    """The words that a model learned, from its folder's `words.json`; None without that file."""
    from counterflow.outside import read_json

    path = folder / "words.json"
    try:
        words = read_json(path) if path.is_file() else None
    except InputError as error:
        raise ModelError(f"{path} is no list of words: {error}") from None
    if words is None:
        return None
    if not isinstance(words, list) or not all(isinstance(each, str) for each in words):
        raise ModelError(f"{path} is no list of words")
    return frozenset(words)
