"""Weights in fewer bits by torchao and bitsandbytes: as a pipeline was saved, or as it is read."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

import torch

from counterflow.backbones.loading import QUANTISED, Loading
from counterflow.errors import InputError

BY = ("torchao", "bitsandbytes", "gguf")
"""Packages that are named for the method by which they quantise weights that are saved then."""
NETWORKS = ("transformer", "text_encoder")


def need(package: str, what: str) -> None:
    """Raise InputError for a package that is not here."""
    if find_spec(package) is None:
        raise InputError(f"{what} needs the package {package}: pip install {package}")


def check(how: Loading, saved: Mapping[str, str], device: str) -> None:
    """Raise InputError, before any weights are read, for quantised ones that cannot be had here.

    `saved` says by which method each part was quantised before it was saved.
    """
    for part, method in saved.items():
        if method in BY:
            need(method, f"the {part} of {how.model}, quantised by {method},")
    on_cpu = device.partition(":")[0] == "cpu"
    if (own := saved.get("transformer")) is not None:
        given = {"--quantize": how.quantize, "--cast": how.cast, "--lora": how.lora}
        if wrong := [name for name, value in given.items() if value]:
            raise InputError(
                f"the transformer of {how.model} is quantised already, by {own}: leave "
                f"{' and '.join(wrong)} out"
            )
        if own == "bitsandbytes" and on_cpu:
            raise InputError(f"the transformer of {how.model}, by bitsandbytes, needs a GPU")
    if how.quantize is not None:
        if how.quantize == "nf4" and on_cpu:
            raise InputError("--quantize nf4 needs a GPU: on a CPU choose int8 or fp8")
        need(QUANTISED[how.quantize], f"--quantize {how.quantize}")


def saved_by(where: str, index: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, str]:
    """By which method each network of a pipeline was quantised before it was saved; those alone.

    Their configurations are read, no weights.
    """
    from diffusers.configuration_utils import ConfigMixin

    class Part(ConfigMixin):  # type: ignore[misc]
        config_name = "config.json"

    methods = {}
    for part, place in index.items():
        named = isinstance(place, list | tuple) and all(isinstance(each, str) for each in place)
        if named and part.startswith(NETWORKS):
            config = Part.load_config(where, subfolder=part, **options).get("quantization_config")
            if config:
                methods[part] = str(config.get("quant_method") or "bitsandbytes")
    return methods


def configuration(kind: str, dtype: torch.dtype) -> Any:
    """What diffusers is told, so that it quantises a pipeline's transformer as it reads it."""
    from diffusers import BitsAndBytesConfig, PipelineQuantizationConfig, TorchAoConfig

    if kind == "nf4":
        told: Any = BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype
        )
    else:
        told = TorchAoConfig(_torchao(kind))
    return PipelineQuantizationConfig(quant_mapping={"transformer": told})


def quantise(transformer: Any, kind: str) -> None:
    """Quantise, by torchao, weights that are in memory already: equal to those that diffusers
    quantises as it reads them.
    """
    from torchao.quantization import quantize_

    quantize_(transformer, _torchao(kind))


def _torchao(kind: str) -> Any:
    """Weights alone, one scale for each row; activations stay as they are."""
    from torchao.quantization import Float8WeightOnlyConfig, Int8WeightOnlyConfig

    return Int8WeightOnlyConfig() if kind == "int8" else Float8WeightOnlyConfig()
